// The recurrence of RWKV-7 token by token, in f32 whatever is stored. Maths: mod.rs, in whose words
// S is the state and G its gradient, dL/dS after a token; a = -kk, b = kk * alpha.
//
// A matrix is carried along a sequence in registers, in four sweeps. Two of them go by values: their
// sums are over keys, and one of these comes back into the next step.
//
//               step at token t                           sums                              carried back
//     forward   S = diag(w_t) S + b_t^T sa_t + k_t^T v_t  y_t = r_t S                       sa_{t+1} = -kk_{t+1} S
//     backward  G = diag(w_{t+1}) G + a_{t+1}^T dsa_{t+1} + r_t^T dy_t
//                                                         dv_t = k_t G                      dsa_t = b_t G
//
// The other two go by keys: their sums are over values, and with sa and dsa known nothing comes back.
//
//     backward  G as above                                G v_t, and db_t = G sa_t
//     forward   S as above                                S dy_t, and da_t = S_{t-1} dsa_t
//
// What is left is a number for each key and token, from the end of each sequence:
//
//     dlogw_t = E + r_t (S dy_t) - b_t db_t - k_t (G v_t)          E = dlogw_t + a_t da_t          E = 0 at the end
//
// Its terms are f32 from end to end: rounded to bf16, their errors would add up along a sequence.
//
// Launches (T is f32 or bf16, K = 32, 64 or 128; [N, H K] but for q and dq [N, H], state [H, K, K],
// ends and starts [sequences, H, K, K]):
//
//     kernel                           grid                               block   dynamic shared bytes
//     delta_forward_{T}_{K}            (sequences, H)                     4 K     392 K
//     delta_backward_values_{T}_{K}    (sequences, H)                     4 K     392 K
//     delta_backward_keys_{T}_{K}      (sequences, H, 2)                  4 K     448 K
//     delta_gradients_{T}              (sequences, ceil(H K / 64))        64      0
#include "../cuda/common.cuh"

namespace delta {

// Neighbouring threads that share one sum.
constexpr int PARTS = 4;
// Tokens that are brought to shared memory at a time.
constexpr int STEP = 16;
// Channels of a block of delta_gradients, and tokens that its threads read at a time.
constexpr int GRADIENT_THREADS = 64;
constexpr int READ_AHEAD = 4;

// c: e^-0.5.
constexpr float STRONGEST = 0.60653066f;

__device__ inline float decay(float w) { return expf(-STRONGEST * logistic(w)); }

enum class Direction { FORWARD, BACKWARD };

// What a layer's recurrence is made of.
template <typename T> struct Inputs {
    const T* r;
    const float* w;
    const T *k, *v;
    const float *kk, *alpha;
    // w0 [H K].
    const float* w0;
    const int* offsets;
};

// The sequence and head of a block, and how its threads share the head's matrix: neighbours share one
// row or column, and take the other dimension in turns of four, so that together they read shared
// memory in one go.
template <int K> struct Place {
    static constexpr int SHARE = K / PARTS;
    int begin, rows, sequence, head, heads, own, part;

    __device__ explicit Place(const int* offsets)
        : begin(offsets[blockIdx.x]), rows(offsets[blockIdx.x + 1] - begin), sequence(blockIdx.x), head(blockIdx.y),
          heads(gridDim.y), own(threadIdx.x / PARTS), part(threadIdx.x % PARTS) {}

    // Where the head's numbers of a token lie.
    __device__ long long at(int token) const { return (static_cast<long long>(begin + token) * heads + head) * K; }
    __device__ int other(int i) const { return (i / 4 * PARTS + part) * 4 + i % 4; }
    // Where the head's matrix lies in [H, K, K], and in [sequences, H, K, K].
    __device__ long long matrix() const { return static_cast<long long>(head) * K * K; }
    __device__ long long matrix_of_sequence() const {
        return (static_cast<long long>(sequence) * heads + head) * K * K;
    }
};

// The sum over the neighbours that share one.
__device__ inline float shared_sum(float x) {
    for (int lane = 1; lane < PARTS; lane *= 2) x += __shfl_xor_sync(0xffffffffu, x, lane);
    return x;
}

__device__ inline const Pack<float>& four_at(const float* from) { return *reinterpret_cast<const Pack<float>*>(from); }

// Calls `each` with the number of an eight among `count` tokens' numbers, the token, and the eight's
// number within the token's.
template <int K, typename F> __device__ inline void each_eight(int count, F each) {
    for (int i = threadIdx.x; i < count * (K / 8); i += blockDim.x) each(i, i / (K / 8), i % (K / 8));
}

// ---- By values: forward with S, or backward with G

template <typename O> struct ValueOutputs {
    // y, or dv.
    O* sums;
    // sa, or dsa.
    float* back;
    // S after the sequence, or the gradient of S before it.
    float* after;
};

template <Direction WALK, int K, typename T, typename O>
__device__ inline void walk_values(const Inputs<T>& in, const T* values, const float* state, const float* bonus,
                                   const ValueOutputs<O>& out, float* q) {
    constexpr bool FORWARD = WALK == Direction::FORWARD;
    const Place<K> place(in.offsets);
    // By token, and of w and kk one token more.
    float* r = reinterpret_cast<float*>(dynamic_shared);
    float *k = r + STEP * K, *b = k + STEP * K, *value = b + STEP * K, *w = value + STEP * K, *kk = w + (STEP + 1) * K;

    auto cell = [&](int i) { return place.other(i) * K + place.own; };
    float matrix[Place<K>::SHARE];
    // What comes back, with its sign turned: -sa_t or -dsa_t.
    float back = 0.0f;
#pragma unroll
    for (int i = 0; i < Place<K>::SHARE; i++) {
        matrix[i] = FORWARD ? state[place.matrix() + cell(i)] : 0.0f;
        if (FORWARD) back += in.kk[place.at(0) + place.other(i)] * matrix[i];
    }
    back = shared_sum(back);

    for (int done = 0; done < place.rows; done += STEP) {
        const int count = min(STEP, place.rows - done), low = FORWARD ? done : place.rows - done - count;
        __syncthreads();
        each_eight<K>(count + 1, [&](int i, int token, int piece) {
            const bool exists = low + token < place.rows;
            const long long at = place.at(low + token);
            Eight decays = {}, kks = {}, bs = {};
            if (exists) {
                decays = eight_at(in.w + at, piece);
                kks = eight_at(in.kk + at, piece);
                const Eight biases = eight_at(in.w0 + place.head * K, piece), alphas = eight_at(in.alpha + at, piece);
                for (int j = 0; j < 8; j++) {
                    decays.at[j] = decay(decays.at[j] + biases.at[j]);
                    bs.at[j] = kks.at[j] * alphas.at[j];
                }
            }
            put_eight(w, i, decays);
            put_eight(kk, i, kks);
            if (token == count) return;
            put_eight(b, i, bs);
            put_eight(r, i, eight_at(in.r + at, piece));
            put_eight(k, i, eight_at(in.k + at, piece));
            put_eight(value, i, eight_at(values + at, piece));
        });
        __syncthreads();

        if (FORWARD) {
            for (int token = threadIdx.x / 32; token < count; token += blockDim.x / 32) {
                float sum = 0.0f;
                for (int i = threadIdx.x % 32; i < K; i += 32)
                    sum += r[token * K + i] * k[token * K + i] * bonus[place.head * K + i];
                sum = warp_sum(sum);
                if (threadIdx.x % 32 == 0)
                    q[static_cast<long long>(place.begin + low + token) * place.heads + place.head] = sum;
            }
        }
        for (int step = 0; step < count; step++) {
            const int token = FORWARD ? step : count - 1 - step, after = token + 1;
            const float* decays = w + (FORWARD ? token : after) * K;
            const float* under_back = FORWARD ? b + token * K : kk + after * K;
            const float* under_value = (FORWARD ? k : r) + token * K;
            const float* for_sum = (FORWARD ? r : k) + token * K;
            const float* for_back = FORWARD ? kk + after * K : b + token * K;
            const float mine = value[token * K + place.own];
            if (FORWARD && place.part == 0) out.back[place.at(low + token) + place.own] = -back;
            float sum = 0.0f, next = 0.0f;
#pragma unroll
            for (int i = 0; i < Place<K>::SHARE; i += 4) {
                const int at = place.other(i);
                const Pack<float> ws = four_at(decays + at), backs = four_at(under_back + at), adds = four_at(under_value + at);
                const Pack<float> sums = four_at(for_sum + at), nexts = four_at(for_back + at);
#pragma unroll
                for (int j = 0; j < 4; j++) {
                    float& m = matrix[i + j];
                    m = ws.at[j] * m - backs.at[j] * back + adds.at[j] * mine;
                    sum += sums.at[j] * m;
                    next += nexts.at[j] * m;
                }
            }
            sum = shared_sum(sum);
            back = shared_sum(next);
            if (place.part == 0) {
                from_float(out.sums[place.at(low + token) + place.own], sum);
                if (!FORWARD) out.back[place.at(low + token) + place.own] = back;
            }
        }
    }

    for (int i = 0; i < Place<K>::SHARE; i++) {
        // Backward, the first token's own decay and key are still to come.
        if (!FORWARD) matrix[i] = w[place.other(i)] * matrix[i] - kk[place.other(i)] * back;
        out.after[place.matrix_of_sequence() + cell(i)] = matrix[i];
    }
}

// ---- By keys: backward with G, or forward with S

// Of each token, f32.
struct KeySums {
    // G v and G sa.
    float *gv, *gsa;
    // S dsa and S dy.
    float *sdsa, *sdy;
};

template <Direction WALK, int K, typename T>
__device__ inline void walk_keys(const Inputs<T>& in, const T* dy_in, const float* sa_in, const float* dsa_in,
                                 const float* state, const KeySums& out) {
    constexpr bool FORWARD = WALK == Direction::FORWARD;
    const Place<K> place(in.offsets);
    float* dsa = reinterpret_cast<float*>(dynamic_shared);
    float *sa = dsa + STEP * K, *v = sa + STEP * K, *dy = v + STEP * K, *w = dy + STEP * K;
    // b and k, or kk and r.
    float *x = w + STEP * K, *z = x + STEP * K;

    auto cell = [&](int i) { return place.own * K + place.other(i); };
    float matrix[Place<K>::SHARE];
#pragma unroll
    for (int i = 0; i < Place<K>::SHARE; i++) matrix[i] = FORWARD ? state[place.matrix() + cell(i)] : 0.0f;

    for (int done = 0; done < place.rows; done += STEP) {
        const int count = min(STEP, place.rows - done), low = FORWARD ? done : place.rows - done - count;
        __syncthreads();
        each_eight<K>(count, [&](int i, int token, int piece) {
            const long long at = place.at(low + token);
            put_eight(dsa, i, eight_at(dsa_in + at, piece));
            put_eight(sa, i, eight_at(sa_in + at, piece));
            put_eight(v, i, eight_at(in.v + at, piece));
            put_eight(dy, i, eight_at(dy_in + at, piece));
            Eight decays = eight_at(in.w + at, piece), kks = eight_at(in.kk + at, piece);
            const Eight biases = eight_at(in.w0 + place.head * K, piece);
            for (int j = 0; j < 8; j++) decays.at[j] = decay(decays.at[j] + biases.at[j]);
            if (FORWARD) {
                const Eight alphas = eight_at(in.alpha + at, piece);
                for (int j = 0; j < 8; j++) kks.at[j] *= alphas.at[j];
            }
            put_eight(w, i, decays);
            put_eight(x, i, kks);
            put_eight(z, i, eight_at((FORWARD ? in.k : in.r) + at, piece));
        });
        __syncthreads();

        for (int step = 0; step < count; step++) {
            const int token = FORWARD ? step : count - 1 - step, first = token * K;
            const float own_w = w[first + place.own], own_x = x[first + place.own], own_z = z[first + place.own];
            float sums[2] = {};
#pragma unroll
            for (int i = 0; i < Place<K>::SHARE; i += 4) {
                const int at = first + place.other(i);
                const Pack<float> dsas = four_at(dsa + at), sas = four_at(sa + at), vs = four_at(v + at), dys = four_at(dy + at);
#pragma unroll
                for (int j = 0; j < 4; j++) {
                    float& m = matrix[i + j];
                    if (FORWARD) {
                        sums[0] += dsas.at[j] * m;
                        m = own_w * m + own_x * sas.at[j] + own_z * vs.at[j];
                        sums[1] += dys.at[j] * m;
                    } else {
                        m += own_z * dys.at[j];
                        sums[0] += vs.at[j] * m;
                        sums[1] += sas.at[j] * m;
                        m = own_w * m - own_x * dsas.at[j];
                    }
                }
            }
            for (int i = 0; i < 2; i++) sums[i] = shared_sum(sums[i]);
            if (place.part == 0) {
                const long long to = place.at(low + token) + place.own;
                (FORWARD ? out.sdsa : out.gv)[to] = sums[0];
                (FORWARD ? out.sdy : out.gsa)[to] = sums[1];
            }
        }
    }
}

// ---- What is left

template <typename T> struct Gradients {
    T *dr, *dw;
    // G v, S dsa and G sa, which are written over.
    float *dk, *dkk, *dalpha;
};

// A thread goes through a sequence for one key.
template <typename T>
__device__ inline void gradients(const Inputs<T>& in, const float* bonus, const float* dq, const float* sdy,
                                 const Gradients<T>& to, int channels, int size) {
    const int channel = blockIdx.y * GRADIENT_THREADS + threadIdx.x, heads = channels / size, head = channel / size;
    if (channel >= channels) return;
    const int begin = in.offsets[blockIdx.x];
    const float w0 = in.w0[channel], r_k = bonus[channel];
    float e = 0.0f;
    for (int end = in.offsets[blockIdx.x + 1]; end > begin; end -= READ_AHEAD) {
        float r[READ_AHEAD], w[READ_AHEAD], k[READ_AHEAD], kk[READ_AHEAD], alpha[READ_AHEAD], d_bonus[READ_AHEAD];
        float s_dy[READ_AHEAD], g_v[READ_AHEAD], da[READ_AHEAD], db[READ_AHEAD];
#pragma unroll
        for (int i = 0; i < READ_AHEAD; i++) {
            const int row = end - 1 - i;
            if (row < begin) break;
            const long long at = static_cast<long long>(row) * channels + channel;
            r[i] = to_float(in.r[at]);
            w[i] = in.w[at];
            k[i] = to_float(in.k[at]);
            kk[i] = in.kk[at];
            alpha[i] = in.alpha[at];
            d_bonus[i] = dq[static_cast<long long>(row) * heads + head] * r_k;
            s_dy[i] = sdy[at];
            g_v[i] = to.dk[at];
            da[i] = to.dkk[at];
            db[i] = to.dalpha[at];
        }
#pragma unroll
        for (int i = 0; i < READ_AHEAD; i++) {
            const int row = end - 1 - i;
            if (row < begin) break;
            const long long at = static_cast<long long>(row) * channels + channel;
            const float dlogw = e + r[i] * s_dy[i] - kk[i] * alpha[i] * db[i] - k[i] * g_v[i];
            e = dlogw - kk[i] * da[i];
            const float x = w[i] + w0;
            from_float(to.dw[at], -STRONGEST * logistic(x) * logistic(-x) * dlogw);
            from_float(to.dr[at], s_dy[i] + d_bonus[i] * k[i]);
            to.dk[at] = g_v[i] + d_bonus[i] * r[i];
            to.dkk[at] = alpha[i] * db[i] - da[i];
            to.dalpha[at] = kk[i] * db[i];
        }
    }
}

}  // namespace delta

#define DELTA_INPUTS(T)                                                                                                   \
    const T *r, const float *w, const T *k, const T *v, const float *kk, const float *alpha, const float *w0,             \
        const int *offsets
#define DELTA_GIVEN {r, w, k, v, kk, alpha, w0, offsets}

#define DELTA(T, NAME, K)                                                                                                 \
    KERNEL(delta::PARTS * K, delta_forward_##NAME##_##K, DELTA_INPUTS(T), const float* state, const float* bonus, T* y,   \
           float* sa, float* ends, float* q) {                                                                            \
        delta::walk_values<delta::Direction::FORWARD, K, T, T>(DELTA_GIVEN, v, state, bonus, {y, sa, ends}, q);           \
    }                                                                                                                     \
    KERNEL(delta::PARTS * K, delta_backward_values_##NAME##_##K, DELTA_INPUTS(T), const T* dy, float* dv, float* dsa,     \
           float* starts) {                                                                                               \
        delta::walk_values<delta::Direction::BACKWARD, K, T, float>(DELTA_GIVEN, dy, nullptr, nullptr, {dv, dsa, starts}, \
                                                                    nullptr);                                             \
    }                                                                                                                     \
    KERNEL(delta::PARTS * K, delta_backward_keys_##NAME##_##K, DELTA_INPUTS(T), const float* state, const T* dy,          \
           const float* sa, const float* dsa, float* gv, float* gsa, float* sdsa, float* sdy) {                           \
        const delta::KeySums sums = {gv, gsa, sdsa, sdy};                                                                 \
        if (blockIdx.z == 0) {                                                                                            \
            delta::walk_keys<delta::Direction::BACKWARD, K, T>(DELTA_GIVEN, dy, sa, dsa, nullptr, sums);                  \
        } else {                                                                                                          \
            delta::walk_keys<delta::Direction::FORWARD, K, T>(DELTA_GIVEN, dy, sa, dsa, state, sums);                     \
        }                                                                                                                 \
    }

#define DELTA_GRADIENTS(T, NAME)                                                                                          \
    KERNEL(delta::GRADIENT_THREADS, delta_gradients_##NAME, DELTA_INPUTS(T), const float* bonus, const float* dq,         \
           const float* sdy, T* dr, T* dw, float* dk, float* dkk, float* dalpha, int channels, int size) {                \
        delta::gradients<T>(DELTA_GIVEN, bonus, dq, sdy, {dr, dw, dk, dkk, dalpha}, channels, size);                      \
    }

DELTA(float, f32, 32)
DELTA(float, f32, 64)
DELTA(float, f32, 128)
DELTA(bf16, bf16, 32)
DELTA(bf16, bf16, 64)
DELTA(bf16, bf16, 128)
DELTA_GRADIENTS(float, f32)
DELTA_GRADIENTS(bf16, bf16)
