// What RWKV-7's recurrence needs beside the sweeps of recurrent.cu and chunked.cu: the scores that the
// bonus is added by, and a number for each key and token of what the sweeps give, from the end of each
// sequence. Maths: mod.rs.
//
//     q_t     = sum over a head of r_t k_t r_k
//     dlogw_t = E + r_t (S dy_t) - b_t db_t - k_t (G v_t)          E = dlogw_t + a_t da_t          E = 0 at the end
//
// The terms of E are f32, and never were bf16: such errors would add up along a sequence.
//
// Launches (T is f32 or bf16; q and dq [N, H], bonus [H K]):
//
//     kernel                  grid                               block
//     delta_scores_{T}        (ceil(N H 8 / 256))                256
//     delta_gradients_{T}     (sequences, ceil(H K / 64))        512
#include "../norm/norm.cuh"
#include "delta.cuh"

namespace delta {
namespace {

// Neighbouring threads that share a head's score.
constexpr int LANES = 8;
// Channels of a block of delta_gradients, threads that share the tokens of each, and tokens that a thread
// has at a time.
constexpr int GRADIENT_CHANNELS = 64;
constexpr int GRADIENT_LANES = 8;
constexpr int READ_AHEAD = 4;

template <typename T>
__device__ inline void scores(const T* r, const T* k, const float* bonus, float* q, int rows, int heads, int size) {
    const Group group = group_of_thread<LANES>(static_cast<long long>(rows) * heads);
    const long long at = group.number * size;
    const int first = group.number % heads * size;
    float sum = 0.0f;
    for (int i = threadIdx.x % LANES; i < size / 8; i += LANES) {
        const Eight rs = eight_at(r + at, i), ks = eight_at(k + at, i), bonuses = eight_at(bonus + first, i);
        for (int j = 0; j < 8; j++) sum += rs.at[j] * ks.at[j] * bonuses.at[j];
    }
    sum = sum_over<LANES>(sum);
    if (group.exists && threadIdx.x % LANES == 0) q[group.number] = sum;
}

template <typename T> struct Gradients {
    T *dr, *dw;
    // G v, S dsa and G sa, which are written over.
    float *dk, *dkk, *dalpha;
};

// A block goes through a sequence for some keys, from its end. The threads of a key have neighbouring
// tokens, the first thread the last ones, and tell each other what theirs add to E.
template <typename T>
__device__ inline void gradients(const Inputs<T>& in, const float* bonus, const float* dq, const float* sdy,
                                 const Gradients<T>& to, int channels, int size) {
    __shared__ float added[2][GRADIENT_LANES][GRADIENT_CHANNELS];
    const int own = threadIdx.x % GRADIENT_CHANNELS, lane = threadIdx.x / GRADIENT_CHANNELS;
    const int channel = blockIdx.y * GRADIENT_CHANNELS + own, heads = channels / size, head = channel / size;
    const bool exists = channel < channels;
    const int begin = in.offsets[blockIdx.x];
    const float w0 = exists ? in.w0[channel] : 0.0f, r_k = exists ? bonus[channel] : 0.0f;
    float e_of_all = 0.0f;
    int turn = 0;
    for (int end = in.offsets[blockIdx.x + 1]; end > begin; end -= GRADIENT_LANES * READ_AHEAD) {
        const int last = end - 1 - lane * READ_AHEAD, count = exists ? min(READ_AHEAD, last + 1 - begin) : 0;
        float r[READ_AHEAD], w[READ_AHEAD], k[READ_AHEAD], kk[READ_AHEAD], alpha[READ_AHEAD], d_bonus[READ_AHEAD];
        float s_dy[READ_AHEAD], g_v[READ_AHEAD], da[READ_AHEAD], db[READ_AHEAD];
#pragma unroll
        for (int i = 0; i < READ_AHEAD; i++) {
            if (i >= count) break;
            const long long at = static_cast<long long>(last - i) * channels + channel;
            r[i] = to_float(in.r[at]);
            w[i] = in.w[at];
            k[i] = to_float(in.k[at]);
            kk[i] = in.kk[at];
            alpha[i] = in.alpha[at];
            d_bonus[i] = dq[static_cast<long long>(last - i) * heads + head] * r_k;
            s_dy[i] = sdy[at];
            g_v[i] = to.dk[at];
            da[i] = to.dkk[at];
            db[i] = to.dalpha[at];
        }
        float gain[READ_AHEAD], sum = 0.0f;
#pragma unroll
        for (int i = 0; i < READ_AHEAD; i++) {
            if (i >= count) break;
            gain[i] = r[i] * s_dy[i] - kk[i] * alpha[i] * db[i] - k[i] * g_v[i];
            sum += gain[i] - kk[i] * da[i];
        }
        added[turn][lane][own] = sum;
        __syncthreads();
        float e = e_of_all;
        for (int i = 0; i < GRADIENT_LANES; i++) {
            if (i == lane) e = e_of_all;
            e_of_all += added[turn][i][own];
        }
        turn = 1 - turn;
#pragma unroll
        for (int i = 0; i < READ_AHEAD; i++) {
            if (i >= count) break;
            const long long at = static_cast<long long>(last - i) * channels + channel;
            const float dlogw = e + gain[i];
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

}  // namespace
}  // namespace delta

#define DELTA_ROWS(T, NAME)                                                                                               \
    KERNEL(256, delta_scores_##NAME, const T* r, const T* k, const float* bonus, float* q, int rows, int heads,           \
           int size) {                                                                                                    \
        delta::scores<T>(r, k, bonus, q, rows, heads, size);                                                              \
    }                                                                                                                     \
    KERNEL(delta::GRADIENT_CHANNELS * delta::GRADIENT_LANES, delta_gradients_##NAME, DELTA_INPUTS(T), const float* bonus, const float* dq,         \
           const float* sdy, T* dr, T* dw, float* dk, float* dkk, float* dalpha, int channels, int size) {                \
        delta::gradients<T>(DELTA_GIVEN, bonus, dq, sdy, {dr, dw, dk, dkk, dalpha}, channels, size);                      \
    }

DELTA_ROWS(float, f32)
DELTA_ROWS(bf16, bf16)
