// The recurrence of RWKV-7 token by token, in f32 whatever is stored: for f32 models, and for sequences
// too short to be worth chunks (a generated token is a sequence of one row). Maths: mod.rs, in whose
// words S is the state and G its gradient, dL/dS after a token; a = -kk, b = kk * alpha. In chunks:
// chunked.cu, whose kernels take and give the same; what is made of their sums: gradients.cu.
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
// Launches (T is f32 or bf16, K = 32, 64 or 128; state [H, K, K], ends and starts
// [sequences, H, K, K], all others [N, H K]):
//
//     kernel                           grid                  block   dynamic shared bytes
//     delta_forward_{T}_{K}            (sequences, H)        4 K     392 K
//     delta_backward_values_{T}_{K}    (sequences, H)        4 K     392 K
//     delta_backward_keys_{T}_{K}      (sequences, H, 2)     4 K     448 K
#include "delta.cuh"

namespace delta {
namespace {

// Neighbouring threads that share one sum.
constexpr int PARTS = 4;
// Tokens that are brought to shared memory at a time.
constexpr int STEP = 16;

__device__ inline float decay(float w) { return expf(-STRONGEST * logistic(w)); }

// How the threads of a block share a head's matrix: neighbours share one row or column, and take the
// other dimension in turns of four, so that together they read shared memory in one go.
template <int K> struct Share : Place<K> {
    static constexpr int COUNT = K / PARTS;
    int own, part;

    __device__ explicit Share(const int* offsets) : Place<K>(offsets), own(threadIdx.x / PARTS), part(threadIdx.x % PARTS) {}

    __device__ int other(int i) const { return (i / 4 * PARTS + part) * 4 + i % 4; }
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

template <Direction WALK, int K, typename T, typename O>
__device__ inline void walk_values(const Inputs<T>& in, const T* values, const float* state,
                                   const ValueOutputs<O>& out) {
    constexpr bool FORWARD = WALK == Direction::FORWARD;
    const Share<K> place(in.offsets);
    // By token, and of w and kk one token more.
    float* r = reinterpret_cast<float*>(dynamic_shared);
    float *k = r + STEP * K, *b = k + STEP * K, *value = b + STEP * K, *w = value + STEP * K, *kk = w + (STEP + 1) * K;

    auto cell = [&](int i) { return place.other(i) * K + place.own; };
    float matrix[Share<K>::COUNT];
    // What comes back, with its sign turned: -sa_t or -dsa_t.
    float back = 0.0f;
#pragma unroll
    for (int i = 0; i < Share<K>::COUNT; i++) {
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
            for (int i = 0; i < Share<K>::COUNT; i += 4) {
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

    for (int i = 0; i < Share<K>::COUNT; i++) {
        // Backward, the first token's own decay and key are still to come.
        if (!FORWARD) matrix[i] = w[place.other(i)] * matrix[i] - kk[place.other(i)] * back;
        out.after[place.matrix_of_sequence() + cell(i)] = matrix[i];
    }
}

// ---- By keys: backward with G, or forward with S

template <Direction WALK, int K, typename T>
__device__ inline void walk_keys(const Inputs<T>& in, const T* dy_in, const float* sa_in, const float* dsa_in,
                                 const float* state, const KeyOutputs& out) {
    constexpr bool FORWARD = WALK == Direction::FORWARD;
    const Share<K> place(in.offsets);
    float* dsa = reinterpret_cast<float*>(dynamic_shared);
    float *sa = dsa + STEP * K, *v = sa + STEP * K, *dy = v + STEP * K, *w = dy + STEP * K;
    // b and k, or kk and r.
    float *x = w + STEP * K, *z = x + STEP * K;

    auto cell = [&](int i) { return place.own * K + place.other(i); };
    float matrix[Share<K>::COUNT];
#pragma unroll
    for (int i = 0; i < Share<K>::COUNT; i++) matrix[i] = FORWARD ? state[place.matrix() + cell(i)] : 0.0f;

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
            for (int i = 0; i < Share<K>::COUNT; i += 4) {
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

}  // namespace
}  // namespace delta

#define DELTA(T, NAME, K)                                                                                                 \
    KERNEL(delta::PARTS * K, delta_forward_##NAME##_##K, DELTA_INPUTS(T), const float* state, T* y, float* sa,            \
           float* ends) {                                                                                                 \
        delta::walk_values<delta::Direction::FORWARD, K, T, T>(DELTA_GIVEN, v, state, {y, sa, ends});                     \
    }                                                                                                                     \
    KERNEL(delta::PARTS * K, delta_backward_values_##NAME##_##K, DELTA_INPUTS(T), const T* dy, float* dv, float* dsa,     \
           float* starts) {                                                                                               \
        delta::walk_values<delta::Direction::BACKWARD, K, T, float>(DELTA_GIVEN, dy, nullptr, {dv, dsa, starts});         \
    }                                                                                                                     \
    KERNEL(delta::PARTS * K, delta_backward_keys_##NAME##_##K, DELTA_INPUTS(T), const float* state, const T* dy,          \
           const float* sa, const float* dsa, float* gv, float* gsa, float* sdsa, float* sdy) {                           \
        const delta::KeyOutputs out = {gv, gsa, sdsa, sdy};                                                               \
        if (blockIdx.z == 0) {                                                                                            \
            delta::walk_keys<delta::Direction::BACKWARD, K, T>(DELTA_GIVEN, dy, sa, dsa, nullptr, out);                   \
        } else {                                                                                                          \
            delta::walk_keys<delta::Direction::FORWARD, K, T>(DELTA_GIVEN, dy, sa, dsa, state, out);                      \
        }                                                                                                                 \
    }

DELTA(float, f32, 32)
DELTA(float, f32, 64)
DELTA(float, f32, 128)
DELTA(bf16, bf16, 32)
DELTA(bf16, bf16, 64)
DELTA(bf16, bf16, 128)
