// WKV-5 on the tensor cores, bf16 in and out, sums and carried states in f32. Maths: mod.rs; token
// by token: recurrent.cu.
//
// Sequences are cut into chunks of 64 tokens. What crosses from chunk to chunk is only S (forwards)
// and G (backwards): two kernels walk the chunks in order and leave both at every chunk's edge;
// then all chunks are worked on at once. Within a chunk that begins with S and, in the backward,
// ends with G, rows counted from 0:
//
//     y_t  = (r_t w^t) S + sum over s <= t of A[t,s] v_s             A[t,s] = sum over keys of r_t k_s w^(t-1-s), s < t
//     dv_s = (k_s w^(63-s)) G + sum over t >= s of A[t,s] dy_t       A[t,t] = sum over keys of r_t k_t u
//     dr_t = w^t (S dy_t) + sum over s < t of B[t,s] w^(t-1-s) k_s + B[t,t] u k_t         B[t,s] = dy_t . v_s
//     dk_s = w^(63-s) (G v_s) + sum over t > s of B[t,s] w^(t-1-s) r_t + B[s,s] u r_s
//
// dv is y with the roles of r and k changed and time reversed, dk is so to dr, G is to S: each pair
// is one text, by Side. (A chunk of fewer than 64 rows is a sequence's last, whose G is 0: 63 - s
// may count rows that are not there.)
//
// w may be 0, so no power of it may be negative: w^t * w^(-1-s) is out of the question. Where rows
// t and s are parted by a boundary c, w^(t-1-s) = w^(t-c) w^(c-1-s), and neither power is. A
// boundary every 16 rows (a strip) parts strips from each other. Within a strip, t and s agree in
// their binary digits down to one, where t has 1 and s has 0, say the digit h (8, 4, 2 or 1): then
// t - c = t mod h, and c - 1 - s = h - 1 - s mod h. So a strip's 16 x 16 products come of four
// tensor-core products, one per digit, each with its own powers, of which only the pairs that part
// at that digit are kept.
//
// Powers are f32; what they scale is rounded to bf16 once (twice on its way past whole strips in y
// and dv), and so are A, B, S and G where they enter a product. S and G are stored at chunk edges
// as bf16, since products take nothing else, while what is carried on is never rounded.
//
// Launches. N rows, H heads of K = 32, 64 or 128; all of one dimension; `chunks` is int pairs
// {first row, rows}, in order, never across sequences, rows = 64 but for a sequence's last chunk (1
// to 64); `first_chunk` is int[sequences + 1].
//
//     kernel                       grid                  block   dynamic shared bytes
//     wkv_states_bf16_{K}          sequences * H * K/16  2 K     512 (K + 32)
//     wkv_outputs_bf16_{K}         chunks * H            128     (K + 8) (460 + 2 K) + 4 K
//     wkv_state_gradients_bf16_{K} sequences * H * K/16  2 K     512 (K + 32)
//     wkv_gradients_bf16_{K}       chunks * H            384     (K + 8) (588 + 4 P) + 4 K      P = 64 if K = 64, else 32
//
//     K                 32      64     128
//     states         32768   49152   81920
//     outputs        21088   42592   97888
//     gradients      28768   61024   97888
//
// Forward:  wkv_states(k, v, decay, state, chunks, first_chunk, H, states, end)
//           wkv_outputs(r, k, v, decay, bonus, states, chunks, H, y)
// Backward: wkv_states(k, v, decay, state, chunks, first_chunk, H, states, null), unless `states`
// was kept
//           wkv_state_gradients(r, dy, decay, chunks, first_chunk, H, gradients, starts)
//           wkv_gradients(r, k, v, dy, decay, bonus, states, gradients, chunks, H, dr, dk, dv)
//           sum_over_sequences(starts, dstate, sequences, H K K)
//
// r, k, v, dy, y, dr, dk, dv bf16 `[N, H K]`; decay, bonus f32 `[H, K]`; state f32 `[H, K, K]`;
// end, starts f32 `[sequences, H, K, K]`; scratch: states, gradients bf16 `[chunks, H, K, K]`. All
// pointers are aligned to 16 bytes.
#include "strips.cuh"

namespace {

// Chunks that are on their way to a walking block or worked on by it: enough to hide a trip to
// memory.
constexpr int STAGES = 4;
// Values of a head that one walking block carries.
constexpr int WALKED_VALUES = 16;
static_assert(WALKED_VALUES == 16, "the columns of a Sum");

// ---- S and G along a sequence

enum class Walk { FORWARD, BACKWARD };

template <int K> struct Stage {
    Tile<CHUNK, K> keys;
    Tile<CHUNK, WALKED_VALUES> values;
};

struct Chunks {
    const int* rows;
    const int* first_of_sequence;
    int heads;
};

// M = diag(w) M + keys^T values along a sequence: S of k and v forwards, G of r and dy backwards. A
// block has all keys and WALKED_VALUES values of a head, a warp 16 of the keys: in f32 registers
// from the first token to the last.
template <Walk WALK, int K>
__device__ inline void walk(const bf16* keys, const bf16* values, const float* decay, const Chunks& chunks,
                            const float* before, bf16* at_chunks, float* after) {
    static_assert(STAGES * sizeof(Stage<K>) == 512 * (K + 32), "what the launch table says");
    Stage<K>* stages = reinterpret_cast<Stage<K>*>(dynamic_shared);
    const int heads = chunks.heads, channels = heads * K;
    constexpr int BLOCKS = K / WALKED_VALUES;  // of a head
    const int first_value = blockIdx.x % BLOCKS * WALKED_VALUES, head = blockIdx.x / BLOCKS % heads;
    const int sequence = blockIdx.x / BLOCKS / heads;
    const int first = chunks.first_of_sequence[sequence], count = chunks.first_of_sequence[sequence + 1] - first;
    auto chunk = [&](int i) { return WALK == Walk::FORWARD ? first + i : first + count - 1 - i; };
    auto fetch_chunk = [&](int i) {
        if (i < count) {
            const int row = chunks.rows[2 * chunk(i)], rows = chunks.rows[2 * chunk(i) + 1];
            const long long from = static_cast<long long>(row) * channels + head * K;
            fetch(stages[i % STAGES].keys, keys + from, channels, rows);
            fetch(stages[i % STAGES].values, values + from + first_value, channels, rows);
        }
        copy_commit();
    };
    for (int i = 0; i < STAGES - 1; i++) fetch_chunk(i);

    // This thread's part of M: keys key and key + 8, values as a Sum has columns.
    const int g = lane_g(), q = lane_q(), key = threadIdx.x / 32 * 16 + g;
    auto cell = [&](int i, int j) { return (key + 8 * j) * K + first_value + 8 * i + 2 * q; };
    Sum matrix = {};
    if (before) {
        for (int i = 0; i < 2; i++) {
            for (int j = 0; j < 4; j++) matrix.at[i][j] = before[head * K * K + cell(i, j / 2) + j % 2];
        }
    }

    // A strip at a time: `factors` bring its rows to its far edge, as a left operand has them, and
    // `over` M across it.
    float log2_w[2], factors[4][2], over[2];
    for (int i = 0; i < 2; i++) log2_w[i] = log2_of(decay[head * K + key + 8 * i]);
    auto prepare = [&](int rows) {
        for (int i = 0; i < 4; i++) {
            for (int e = 0; e < 2; e++) {
                const int row = 2 * q + i / 2 * 8 + e, exponent = WALK == Walk::FORWARD ? rows - 1 - row : row;
                factors[i][e] = row < rows ? power(log2_w[i % 2], exponent) : 0.0f;
            }
        }
        for (int i = 0; i < 2; i++) over[i] = power(log2_w[i], rows);
    };
    auto cross = [&](const Stage<K>& stage, int strip) {
        Left x = turned_left(stage.keys, strip * STRIP, threadIdx.x / 32 * 16);
        for (int i = 0; i < 4; i++) x.at[i] = pack(low(x.at[i]) * factors[i][0], high(x.at[i]) * factors[i][1]);
        const Right z = right(stage.values, strip * STRIP, 0);
        for (int i = 0; i < 2; i++) {
            for (int j = 0; j < 4; j++) matrix.at[i][j] *= over[j / 2];
        }
        multiply(matrix, x, z);
    };

    prepare(STRIP);
    for (int i = 0; i < count; i++) {
        copy_wait<STAGES - 2>();
        // For all: this chunk has come, and the last one's place is free.
        __syncthreads();
        fetch_chunk(i + STAGES - 1);

        bf16* edge = at_chunks + (static_cast<long long>(chunk(i)) * heads + head) * K * K;
        for (int value = 0; value < 2; value++) {
            for (int j = 0; j < 2; j++) {
                *reinterpret_cast<unsigned*>(edge + cell(value, j)) =
                    pack(matrix.at[value][2 * j], matrix.at[value][2 * j + 1]);
            }
        }

        const Stage<K>& stage = stages[i % STAGES];
        const int rows = chunks.rows[2 * chunk(i) + 1];
        if (rows == CHUNK) {
#pragma unroll
            for (int strip = 0; strip < STRIPS; strip++) cross(stage, WALK == Walk::FORWARD ? strip : STRIPS - 1 - strip);
        } else {
            // A sequence's last chunk: where FORWARD ends and BACKWARD begins.
            const int strips = (rows + STRIP - 1) / STRIP;
            for (int strip = 0; strip < strips; strip++) {
                const int now = WALK == Walk::FORWARD ? strip : strips - 1 - strip;
                // Backwards, the rows that are missing lie before everything: there is no G yet to
                // bring across them.
                if (WALK == Walk::FORWARD) prepare(min(STRIP, rows - now * STRIP));
                cross(stage, now);
            }
        }
    }

    if (!after) return;
    after += (static_cast<long long>(sequence) * heads + head) * K * K;
    for (int i = 0; i < 2; i++) {
        for (int j = 0; j < 4; j++) after[cell(i, j / 2) + j % 2] = matrix.at[i][j];
    }
}

// ---- Chunks, all at once

template <int K> struct OutputsShared {
    Tile<CHUNK, K> r, k, v;
    Tile<K, K> state;
    Scales<K> scales;
};

// A warp a strip.
template <int K>
__device__ inline void outputs(const bf16* r, const bf16* k, const bf16* v, const float* decay, const float* bonus,
                               const bf16* states, const int* chunks, int heads, bf16* y) {
    static_assert(sizeof(OutputsShared<K>) == (K + 8) * (460 + 2 * K) + 4 * K, "what the launch table says");
    OutputsShared<K>& shared = *reinterpret_cast<OutputsShared<K>*>(dynamic_shared);
    const int chunk = blockIdx.x / heads, head = blockIdx.x % heads, channels = heads * K, strip = threadIdx.x / 32;
    const int rows = chunks[2 * chunk + 1];
    const long long from = static_cast<long long>(chunks[2 * chunk]) * channels + head * K;
    fetch(shared.r, r + from, channels, rows);
    fetch(shared.k, k + from, channels, rows);
    copy_commit();
    fetch(shared.v, v + from, channels, rows);
    fetch(shared.state, states + static_cast<long long>(blockIdx.x) * K * K, K, K);
    copy_commit();
    shared.scales.fill(decay + head * K, bonus + head * K);

    copy_wait<1>();
    __syncthreads();
    const Left own = strip_products<Side::LATER>(shared.r, shared.k, shared.scales, strip * STRIP);
    __syncthreads();
    scale_to_strip_edges(shared.r, shared.k, shared.scales);
    copy_wait<0>();
    __syncthreads();
    Sum sums[K / 16] = {};
    mix_strips<Side::LATER>(sums, own, shared.r, shared.k, shared.v, shared.scales, strip);
    mix_state<Side::LATER>(sums, shared.r, shared.state, shared.scales, strip, 0);
    __syncthreads();
    put_strip(shared.r, sums, strip);
    __syncthreads();
    write_out(shared.r, y + from, channels, rows);
}

template <int K> struct GradientsShared {
    // Keys of S and G that are held at a time.
    static constexpr int PANEL = K == 64 ? 64 : 32;
    Tile<CHUNK, K> r, k, v, dy;
    Tile<PANEL, K> state, gradient;
    Scales<K> scales;
};

struct GradientsIn {
    const bf16 *r, *k, *v, *dy;
    const float *decay, *bonus;
    const bf16 *states, *gradients;
};

// Four warps a gradient, a strip each: dr, dk, dv.
template <int K>
__device__ inline void gradients(const GradientsIn& in, const int* chunks, int heads, bf16* dr, bf16* dk, bf16* dv) {
    typedef GradientsShared<K> Shared;
    static_assert(sizeof(Shared) == (K + 8) * (588 + 4 * Shared::PANEL) + 4 * K, "what the launch table says");
    Shared& shared = *reinterpret_cast<Shared*>(dynamic_shared);
    const int chunk = blockIdx.x / heads, head = blockIdx.x % heads, channels = heads * K;
    const int strip = threadIdx.x / 32 % STRIPS, role = threadIdx.x / 32 / STRIPS;
    const int rows = chunks[2 * chunk + 1];
    const long long from = static_cast<long long>(chunks[2 * chunk]) * channels + head * K;
    const long long edge = static_cast<long long>(blockIdx.x) * K * K;
    auto fetch_panel = [&](int first_key) {
        fetch(shared.state, in.states + edge + first_key * K, K, Shared::PANEL);
        fetch(shared.gradient, in.gradients + edge + first_key * K, K, Shared::PANEL);
        copy_commit();
    };
    fetch(shared.r, in.r + from, channels, rows);
    fetch(shared.k, in.k + from, channels, rows);
    copy_commit();
    fetch(shared.v, in.v + from, channels, rows);
    fetch(shared.dy, in.dy + from, channels, rows);
    fetch_panel(0);
    shared.scales.fill(in.decay + head * K, in.bonus + head * K);

    copy_wait<1>();
    __syncthreads();
    // What needs r and k as they came.
    Left products = {};
    Right own[K / 16] = {};
    if (role == 2) {
        products = strip_products<Side::EARLIER>(shared.k, shared.r, shared.scales, strip * STRIP);
    } else {
#pragma unroll
        for (int i = 0; i < K / 16; i++) own[i] = right(role == 0 ? shared.k : shared.r, strip * STRIP, i * 16);
    }
    __syncthreads();
    scale_to_strip_edges(shared.r, shared.k, shared.scales);

    Sum sums[K / 16] = {};
#pragma unroll
    for (int first_key = 0; first_key < K; first_key += Shared::PANEL) {
        if (first_key > 0) {
            __syncthreads();
            fetch_panel(first_key);
        }
        copy_wait<0>();
        __syncthreads();
        if (role == 0) see_state(sums, shared.dy, shared.state, strip, first_key);
        else if (role == 1) see_state(sums, shared.v, shared.gradient, strip, first_key);
        else mix_state<Side::EARLIER>(sums, shared.k, shared.gradient, shared.scales, strip, first_key);
    }
    if (role == 0) see_strips<Side::LATER>(sums, own, shared.dy, shared.v, shared.k, shared.scales, strip);
    else if (role == 1) see_strips<Side::EARLIER>(sums, own, shared.v, shared.dy, shared.r, shared.scales, strip);
    else mix_strips<Side::EARLIER>(sums, products, shared.k, shared.r, shared.dy, shared.scales, strip);

    __syncthreads();
    put_strip(role == 0 ? shared.r : role == 1 ? shared.k : shared.v, sums, strip);
    __syncthreads();
    write_out(shared.r, dr + from, channels, rows);
    write_out(shared.k, dk + from, channels, rows);
    write_out(shared.v, dv + from, channels, rows);
}

}  // namespace

// So many threads, and registers for so many such blocks on a multiprocessor.
#ifdef __CUDACC__
#define LAUNCH_BOUNDS(threads, at_once) threads, at_once
#else
#define LAUNCH_BOUNDS(threads, at_once) threads
#endif

#define CHUNKED(K, GRADIENT_BLOCKS)                                                                                        \
    KERNEL(2 * K, wkv_states_bf16_##K, const bf16* k, const bf16* v, const float* decay, const float* state,               \
           const int* chunks, const int* first_chunk, int heads, bf16* states, float* end) {                               \
        walk<Walk::FORWARD, K>(k, v, decay, {chunks, first_chunk, heads}, state, states, end);                             \
    }                                                                                                                      \
    KERNEL(2 * K, wkv_state_gradients_bf16_##K, const bf16* r, const bf16* dy, const float* decay, const int* chunks,      \
           const int* first_chunk, int heads, bf16* gradients, float* starts) {                                            \
        walk<Walk::BACKWARD, K>(r, dy, decay, {chunks, first_chunk, heads}, nullptr, gradients, starts);                   \
    }                                                                                                                      \
    KERNEL(128, wkv_outputs_bf16_##K, const bf16* r, const bf16* k, const bf16* v, const float* decay, const float* bonus, \
           const bf16* states, const int* chunks, int heads, bf16* y) {                                                    \
        outputs<K>(r, k, v, decay, bonus, states, chunks, heads, y);                                                       \
    }                                                                                                                      \
    KERNEL(LAUNCH_BOUNDS(384, GRADIENT_BLOCKS), wkv_gradients_bf16_##K, const bf16* r, const bf16* k, const bf16* v,        \
           const bf16* dy, const float* decay, const float* bonus, const bf16* states, const bf16* at_ends,                \
           const int* chunks, int heads, bf16* dr, bf16* dk, bf16* dv) {                                                   \
        gradients<K>({r, k, v, dy, decay, bonus, states, at_ends}, chunks, heads, dr, dk, dv);                             \
    }

// A gradients block waits for memory and at barriers, so a second one is worth the few registers
// that are parked in memory for it; of K = 128, shared memory rarely holds two.
CHUNKED(32, 2)
CHUNKED(64, 2)
CHUNKED(128, 1)
