// WKV-5 token by token in f32: for f32 models, and for sequences too short to be worth chunks (a
// generated token is a sequence of one row). Maths: mod.rs; in chunks: chunked.cu.
//
// y, dr, dk and dv are all one sweep over a sequence that carries a matrix M `[key, value]`, S or
// G, and sums it, with the token's own outer product under the bonus, over keys or over values:
//
//     out_own = sum over others of summed (M + u * key^T value)          M = diag(w) M + key^T value
//
//     out   summed   key   value   own     from
//     y     r        k     v       value   the first token, M = state
//     dr    dy       k     v       key     the first token, M = state
//     dk    v        r     dy      key     the last token,  M = 0
//     dv    k        r     dy      value   the last token,  M = 0
//
// The backward gives each sweep a block of its own: G is carried twice, and three blocks run where
// one would.
//
// Launches (T is f32 or bf16; K = 32, 64 or 128; no scratch; r, k, v, dy and what comes of them
// `[N, H K]`):
//
//     kernel                             grid               block   dynamic shared bytes
//     wkv_forward_recurrent_{T}_{K}      (sequences, H)     4 K     192 K
//     wkv_backward_recurrent_{T}_{K}     (sequences, H, 3)  4 K     192 K
//
// The backward writes G at each sequence's start, `starts` `[sequences, H, K, K]`;
// sum_over_sequences makes dstate of it.
#include "../cuda/common.cuh"

namespace {

// Neighbouring threads that share one sum.
constexpr int PARTS = 4;
// Tokens that are brought to shared memory at a time.
constexpr int STEP = 16;

// What a thread gives out the sum for: it holds a PARTS-th of that column (value) or row (key) of
// M.
enum class Owner { VALUE, KEY };
enum class Direction { FORWARD, BACKWARD };

template <typename T> struct Sweep {
    const T* summed;
    const T* key;
    const T* value;
    T* out;
    // M before, `[H, K, K]`, null for zeros; and M after, `[sequences, H, K, K]`, null where it is
    // not wanted.
    const float* before;
    float* after;
};

template <typename T, int K, Owner OWNER, Direction WALK>
__device__ inline void run(const Sweep<T>& sweep, const float* decay, const float* bonus, const int* offsets) {
    constexpr int SHARE = K / PARTS;
    float* summed = reinterpret_cast<float*>(dynamic_shared);
    float* key = summed + STEP * K;
    float* value = key + STEP * K;
    const float* others = OWNER == Owner::VALUE ? key : value;
    const float* owns = OWNER == Owner::VALUE ? value : key;

    const int sequence = blockIdx.x, head = blockIdx.y, heads = gridDim.y;
    const int own = threadIdx.x / PARTS, part = threadIdx.x % PARTS;
    // Parts take the others in turns of four, so that together they read shared memory in one go.
    auto other = [&](int i) { return (i / 4 * PARTS + part) * 4 + i % 4; };
    auto cell = [&](int i) { return OWNER == Owner::VALUE ? other(i) * K + own : own * K + other(i); };

    float matrix[SHARE], w[SHARE], u[SHARE];
    for (int i = 0; i < SHARE; i++) {
        const int at = head * K + (OWNER == Owner::VALUE ? other(i) : own);
        w[i] = decay[at];
        u[i] = bonus[at];
        matrix[i] = sweep.before ? sweep.before[head * K * K + cell(i)] : 0.0f;
    }

    const int begin = offsets[sequence], rows = offsets[sequence + 1] - begin;
    // Where the i-th token of the walk lies.
    auto row = [&](int i) {
        return (static_cast<long long>(begin + (WALK == Direction::FORWARD ? i : rows - 1 - i)) * heads + head) * K;
    };
    for (int done = 0; done < rows; done += STEP) {
        const int count = rows - done < STEP ? rows - done : STEP;
        __syncthreads();
        for (int i = threadIdx.x * Pack<T>::COUNT; i < count * K; i += blockDim.x * Pack<T>::COUNT) {
            const long long from = row(done + i / K) + i % K;
            const Pack<T> a = *reinterpret_cast<const Pack<T>*>(sweep.summed + from);
            const Pack<T> b = *reinterpret_cast<const Pack<T>*>(sweep.key + from);
            const Pack<T> c = *reinterpret_cast<const Pack<T>*>(sweep.value + from);
            for (int j = 0; j < Pack<T>::COUNT; j++) {
                summed[i + j] = to_float(a.at[j]);
                key[i + j] = to_float(b.at[j]);
                value[i + j] = to_float(c.at[j]);
            }
        }
        __syncthreads();
        for (int token = 0; token < count; token++) {
            const float mine = owns[token * K + own];
            float sum = 0.0f;
#pragma unroll
            for (int i = 0; i < SHARE; i += 4) {
                const int at = token * K + other(i);
                const Pack<float> factor = *reinterpret_cast<const Pack<float>*>(summed + at);
                const Pack<float> theirs = *reinterpret_cast<const Pack<float>*>(others + at);
#pragma unroll
                for (int j = 0; j < 4; j++) {
                    const float product = theirs.at[j] * mine;
                    sum += factor.at[j] * (matrix[i + j] + u[i + j] * product);
                    matrix[i + j] = w[i + j] * matrix[i + j] + product;
                }
            }
            for (int lane = 1; lane < PARTS; lane *= 2) sum += __shfl_xor_sync(0xffffffffu, sum, lane);
            if (part == 0) from_float(sweep.out[row(done + token) + own], sum);
        }
    }

    if (!sweep.after) return;
    float* after = sweep.after + (static_cast<long long>(sequence) * heads + head) * K * K;
    for (int i = 0; i < SHARE; i++) after[cell(i)] = matrix[i];
}

}  // namespace

#define RECURRENT(T, NAME, K)                                                                                              \
    KERNEL(PARTS * K, wkv_forward_recurrent_##NAME##_##K, const T* r, const T* k, const T* v, const float* decay,           \
           const float* bonus, const float* state, const int* offsets, T* y, float* end) {                                 \
        const Sweep<T> sweep = {r, k, v, y, state, end};                                                                   \
        run<T, K, Owner::VALUE, Direction::FORWARD>(sweep, decay, bonus, offsets);                                              \
    }                                                                                                                      \
    KERNEL(PARTS * K, wkv_backward_recurrent_##NAME##_##K, const T* r, const T* k, const T* v, const T* dy,                 \
           const float* decay, const float* bonus, const float* state, const int* offsets, T* dr, T* dk, T* dv,            \
           float* starts) {                                                                                                \
        if (blockIdx.z == 0) {                                                                                             \
            const Sweep<T> sweep = {dy, k, v, dr, state, nullptr};                                                         \
            run<T, K, Owner::KEY, Direction::FORWARD>(sweep, decay, bonus, offsets);                                            \
        } else if (blockIdx.z == 1) {                                                                                      \
            const Sweep<T> sweep = {v, r, dy, dk, nullptr, nullptr};                                                       \
            run<T, K, Owner::KEY, Direction::BACKWARD>(sweep, decay, bonus, offsets);                                           \
        } else {                                                                                                           \
            const Sweep<T> sweep = {k, r, dy, dv, nullptr, starts};                                                        \
            run<T, K, Owner::VALUE, Direction::BACKWARD>(sweep, decay, bonus, offsets);                                         \
        }                                                                                                                  \
    }

RECURRENT(float, f32, 32)
RECURRENT(float, f32, 64)
RECURRENT(float, f32, 128)
RECURRENT(bf16, bf16, 32)
RECURRENT(bf16, bf16, 64)
RECURRENT(bf16, bf16, 128)
