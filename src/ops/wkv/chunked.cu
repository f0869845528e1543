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
//           wkv_sum_starts(starts, dstate, sequences, H K K), of recurrent.cu
//
// r, k, v, dy, y, dr, dk, dv bf16 `[N, H K]`; decay, bonus f32 `[H, K]`; state f32 `[H, K, K]`;
// end, starts f32 `[sequences, H, K, K]`; scratch: states, gradients bf16 `[chunks, H, K, K]`. All
// pointers are aligned to 16 bytes.
#include "tile.cuh"

namespace {

constexpr int CHUNK = 64;
constexpr int STRIP = 16;
constexpr int STRIPS = CHUNK / STRIP;
// Chunks that are on their way to a walking block or worked on by it: enough to hide a trip to
// memory.
constexpr int STAGES = 4;
// Values of a head that one walking block carries.
constexpr int WALKED_VALUES = 16;
static_assert(WALKED_VALUES == 16, "the columns of a Sum");

// Which of two tokens the rows of a product are: the later one, t, or the earlier one, s.
enum class Side { LATER, EARLIER };

// ---- Powers of the decay

__device__ inline float log2_of(float w) { return fmaxf(log2f(w), -1000.0f); }
// Of a clamped logarithm, so that 0^0 is 1.
__device__ inline float power(float log2_w, int n) { return exp2f(log2_w * n); }

// What all rows of a chunk are scaled with, one column a key.
template <int K> struct Scales {
    // w^0 to w^15, w^16, w^32, w^48. Rows are longer by what sets rows that are read together in
    // different banks.
    float powers[STRIP + STRIPS - 1][K + 8];
    float bonus[K];

    __device__ const float* to(int n) const { return powers[n]; }
    // w^(16 n), n > 0.
    __device__ const float* to_strips(int n) const { return powers[STRIP - 1 + n]; }

    __device__ void fill(const float* decay_of_head, const float* bonus_of_head) {
        for (int i = threadIdx.x; i < (STRIP + STRIPS - 1) * K; i += blockDim.x) {
            const int row = i / K, key = i % K;
            const int exponent = row < STRIP ? row : (row - STRIP + 1) * STRIP;
            powers[row][key] = power(log2_of(decay_of_head[key]), exponent);
        }
        for (int key = threadIdx.x; key < K; key += blockDim.x) bonus[key] = bonus_of_head[key];
    }
};

// Row i of r becomes r w^(i mod 16) and of k becomes k w^(15 - i mod 16): what strips have to do
// with other strips.
template <int K> __device__ inline void scale_to_strip_edges(Tile<CHUNK, K>& r, Tile<CHUNK, K>& k, const Scales<K>& scales) {
    constexpr int PACKS = K / Pack<bf16>::COUNT;
    const int column = threadIdx.x % PACKS * Pack<bf16>::COUNT, step = blockDim.x / PACKS;
    auto scale = [&](bf16* at, const float* factors) {
        Pack<bf16>& pack = *reinterpret_cast<Pack<bf16>*>(at);
        Pack<bf16> x = pack;
#pragma unroll
        for (int i = 0; i < Pack<bf16>::COUNT; i += Pack<float>::COUNT) {
            const Pack<float> few = *reinterpret_cast<const Pack<float>*>(factors + i);
            for (int j = 0; j < Pack<float>::COUNT; j++) from_float(x.at[i + j], to_float(x.at[i + j]) * few.at[j]);
        }
        pack = x;
    };
    for (int row = threadIdx.x / PACKS; row < CHUNK; row += step) {
        scale(&r.at[row][column], scales.to(row % STRIP) + column);
        scale(&k.at[row][column], scales.to(STRIP - 1 - row % STRIP) + column);
    }
}

// ---- Within a strip

// Which pairs (row g, columns 2 q and 2 q + 1) of an 8 x 8 block part at binary digit h, as a mask
// of two bf16; h = 0: which are of a token with itself.
template <Side ROWS> __device__ inline unsigned parting_at(int h) {
    unsigned mask = 0;
    for (int i = 0; i < 2; i++) {
        const int row = lane_g(), column = 2 * lane_q() + i;
        const int t = ROWS == Side::LATER ? row : column, s = ROWS == Side::LATER ? column : row;
        const bool part = h == 0 ? t == s : (t & h) != 0 && (t ^ s) / h == 1;
        if (part) mask |= 0xffffu << 16 * i;
    }
    return mask;
}

// Whether a row, of this digit at h, is scaled by another w^h for the pairs that part at 2 h, next
// after h.
template <Side SIDE> __device__ constexpr bool steps(bool digit) { return digit == (SIDE == Side::LATER); }

__device__ constexpr Side other(Side side) { return side == Side::LATER ? Side::EARLIER : Side::LATER; }

// A strip's own part of A, or of its transpose where rows are the earlier: r (or k) of `rows` by k
// (or r) of `columns`.
template <Side ROWS, int K>
__device__ inline Left strip_products(const Tile<CHUNK, K>& rows, const Tile<CHUNK, K>& columns, const Scales<K>& scales,
                                      int first) {
    const int g = lane_g(), q = lane_q();
    // By the digit at which pairs part: 1, 2, 4. For the last, 8, half the piece will do.
    Sum near[3] = {};
    float far[4] = {};
    float same[2] = {};
#pragma unroll 1
    for (int key = 0; key < K; key += 16) {
        const Left left_in = left(rows, first, key);
        const Right right_in = turned_right(columns, first, key);
        // [row g + 8 i][key 2 q + 8 j + e]
        float x[2][2][2], z[2][2][2];
        for (int i = 0; i < 2; i++) {
            for (int j = 0; j < 2; j++) {
                x[i][j][0] = low(left_in.at[i + 2 * j]);
                x[i][j][1] = high(left_in.at[i + 2 * j]);
                z[i][j][0] = low(right_in.at[i][j]);
                z[i][j][1] = high(right_in.at[i][j]);
                for (int e = 0; e < 2; e++) same[i] += x[i][j][e] * z[i][j][e] * scales.bonus[key + 2 * q + 8 * j + e];
            }
        }
        multiply(near[0], left_in, right_in);
#pragma unroll
        for (int digit = 0; digit < 3; digit++) {
            const int h = 1 << digit;
            Left left_now;
            Right right_now;
            for (int j = 0; j < 2; j++) {
                for (int e = 0; e < 2; e++) {
                    const float factor = scales.to(h)[key + 2 * q + 8 * j + e];
                    for (int i = 0; i < 2; i++) {
                        if (steps<ROWS>((g & h) != 0)) x[i][j][e] *= factor;
                        else z[i][j][e] *= factor;
                    }
                }
                for (int i = 0; i < 2; i++) {
                    left_now.at[i + 2 * j] = pack(x[i][j][0], x[i][j][1]);
                    right_now.at[i][j] = pack(z[i][j][0], z[i][j][1]);
                }
            }
            if (digit < 2) multiply(near[digit + 1], left_now, right_now);
            else mma(far, left_now.at, right_now.at[ROWS == Side::LATER ? 0 : 1]);
        }
    }
    for (int i = 0; i < 2; i++) {
        for (int lane = 1; lane < 4; lane *= 2) same[i] += __shfl_xor_sync(0xffffffffu, same[i], lane);
    }

    Left out = {};
    for (int i = 0; i < 2; i++) {
        unsigned& word = out.at[3 * i];
        word = pack(same[i], same[i]) & parting_at<ROWS>(0);
        for (int digit = 0; digit < 3; digit++) {
            const float* sums = &near[digit].at[i][2 * i];
            word |= pack(sums[0], sums[1]) & parting_at<ROWS>(1 << digit);
        }
    }
    if (ROWS == Side::LATER) out.at[1] = pack(far[2], far[3]);
    else out.at[2] = pack(far[0], far[1]);
    return out;
}

// sums = w^(rows to the strip's edge) sums + what a strip does to itself in dr (rows LATER, x = k)
// or dk (rows EARLIER, x = r), for the 8 keys from `key`; `products` is B or its transpose. Horner:
// each digit's scale falls to all that came before it.
template <Side ROWS, int K>
__device__ inline void add_own_strip(float (&sums)[4], const Left& products, const unsigned (&x_in)[2], const Scales<K>& scales,
                                     int key) {
    const int g = lane_g(), q = lane_q();
    // Of key g: row 2 q + 8 j + e.
    float x[2][2];
    unsigned same[2], by_digit[4][2];
    const float bonus = scales.bonus[key + g];
    for (int j = 0; j < 2; j++) {
        x[j][0] = low(x_in[j]);
        x[j][1] = high(x_in[j]);
        same[j] = pack(bonus * x[j][0], bonus * x[j][1]);
        by_digit[0][j] = x_in[j];
    }
#pragma unroll
    for (int digit = 0; digit < 3; digit++) {
        const int h = 1 << digit;
        const float factor = scales.to(h)[key + g];
        for (int j = 0; j < 2; j++) {
            for (int e = 0; e < 2; e++) {
                if (steps<other(ROWS)>(((2 * q + e) & h) != 0)) x[j][e] *= factor;
            }
            by_digit[digit + 1][j] = pack(x[j][0], x[j][1]);
        }
    }
#pragma unroll
    for (int digit = 3; digit >= 0; digit--) {
        const int h = 1 << digit;
        const float factors[2] = {scales.to(h)[key + 2 * q], scales.to(h)[key + 2 * q + 1]};
        for (int i = 0; i < 4; i++) {
            if (steps<ROWS>(((g + i / 2 * 8) & h) != 0)) sums[i] *= factors[i % 2];
        }
        Left parted = {};
        if (h < 8) {
            parted.at[0] = products.at[0] & parting_at<ROWS>(h);
            parted.at[3] = products.at[3] & parting_at<ROWS>(h);
        } else {
            const int half = ROWS == Side::LATER ? 1 : 2;
            parted.at[half] = products.at[half];
        }
        mma(sums, parted.at, by_digit[digit]);
    }
    const Left diagonal = {{products.at[0] & parting_at<ROWS>(0), 0, 0, products.at[3] & parting_at<ROWS>(0)}};
    mma(sums, diagonal.at, same);
}

// ---- Between strips

// Strips on the other side of `strip`, by how far they are: the nearest is 0.
template <Side ROWS> __device__ inline int strips_beyond(int strip) {
    return ROWS == Side::LATER ? strip : STRIPS - 1 - strip;
}
template <Side ROWS> __device__ inline int strip_beyond(int strip, int distance) {
    return ROWS == Side::LATER ? strip - 1 - distance : strip + 1 + distance;
}

// A left operand of r or k, scaled to its strip's edge, on to the edge `strips` further.
template <int K>
__device__ inline Left scaled_left(const Tile<CHUNK, K>& tile, int row, int key, const Scales<K>& scales, int strips) {
    Left out = left(tile, row, key);
    if (strips == 0) return out;
    for (int j = 0; j < 2; j++) {
        const float* factors = scales.to_strips(strips) + key + 2 * lane_q() + 8 * j;
        for (int i = 0; i < 2; i++) {
            unsigned& pair = out.at[i + 2 * j];
            pair = pack(low(pair) * factors[0], high(pair) * factors[1]);
        }
    }
    return out;
}

// y (rows LATER: r by k, of v) or dv (rows EARLIER: k by r, of dy) of one strip but for the carried
// state; `own` is strip_products, and `rows` and `columns` are scaled to strip edges.
template <Side ROWS, int K>
__device__ inline void mix_strips(Sum (&sums)[K / 16], const Left& own, const Tile<CHUNK, K>& rows,
                                  const Tile<CHUNK, K>& columns, const Tile<CHUNK, K>& values, const Scales<K>& scales,
                                  int strip) {
#pragma unroll
    for (int i = 0; i < K / 16; i++) multiply(sums[i], own, right(values, strip * STRIP, i * 16));
    for (int distance = 0; distance < strips_beyond<ROWS>(strip); distance++) {
        const int theirs = strip_beyond<ROWS>(strip, distance) * STRIP;
        Sum products = {};
        for (int key = 0; key < K; key += 16) {
            multiply(products, scaled_left(rows, strip * STRIP, key, scales, distance), turned_right(columns, theirs, key));
        }
        const Left weights = rounded_left(products);
#pragma unroll
        for (int i = 0; i < K / 16; i++) multiply(sums[i], weights, right(values, theirs, i * 16));
    }
}

// What the carried S or G adds to it, of the keys from `first_key` that `state` holds.
template <Side ROWS, int K, int PANEL>
__device__ inline void mix_state(Sum (&sums)[K / 16], const Tile<CHUNK, K>& rows, const Tile<PANEL, K>& state,
                                 const Scales<K>& scales, int strip, int first_key) {
    for (int key = 0; key < PANEL; key += 16) {
        const Left a = scaled_left(rows, strip * STRIP, first_key + key, scales, strips_beyond<ROWS>(strip));
#pragma unroll
        for (int i = 0; i < K / 16; i++) multiply(sums[i], a, right(state, key, i * 16));
    }
}

// A 16 x 16 piece of B = dy v^T or of its transpose, rounded.
template <int K>
__device__ inline Left value_products(const Tile<CHUNK, K>& rows, int row, const Tile<CHUNK, K>& columns, int column) {
    Sum products = {};
    for (int i = 0; i < K; i += 16) multiply(products, left(rows, row, i), turned_right(columns, column, i));
    return rounded_left(products);
}

// sums += S dy (or G v) of one strip, for the keys from `first_key` that `state` holds.
template <int K, int PANEL>
__device__ inline void see_state(Sum (&sums)[K / 16], const Tile<CHUNK, K>& values, const Tile<PANEL, K>& state, int strip,
                                 int first_key) {
    for (int i = 0; i < K; i += 16) {
        const Left a = left(values, strip * STRIP, i);
#pragma unroll
        for (int key = 0; key < PANEL; key += 16) {
            // `first_key` is known when this is compiled: sums stay in registers.
            multiply(sums[(first_key + key) / 16], a, turned_right(state, key, i));
        }
    }
}

// dr (rows LATER: dy by v, of k) or dk (rows EARLIER: v by dy, of r) of one strip, from what its
// state gave; x is scaled to strip edges, `own` is the strip's before that. Farther strips first,
// by Horner.
template <Side ROWS, int K>
__device__ inline void see_strips(Sum (&sums)[K / 16], const Right (&own)[K / 16], const Tile<CHUNK, K>& rows,
                                  const Tile<CHUNK, K>& columns, const Tile<CHUNK, K>& x, const Scales<K>& scales, int strip) {
    for (int distance = strips_beyond<ROWS>(strip) - 1; distance >= 0; distance--) {
        const int theirs = strip_beyond<ROWS>(strip, distance) * STRIP;
        const Left products = value_products(rows, strip * STRIP, columns, theirs);
#pragma unroll
        for (int i = 0; i < K / 16; i++) {
            for (int j = 0; j < 2; j++) {
                const float* factors = scales.to_strips(1) + i * 16 + 8 * j + 2 * lane_q();
                for (int e = 0; e < 4; e++) sums[i].at[j][e] *= factors[e % 2];
            }
            multiply(sums[i], products, right(x, theirs, i * 16));
        }
    }
    const Left products = value_products(rows, strip * STRIP, columns, strip * STRIP);
#pragma unroll
    for (int i = 0; i < K / 8; i++) {
        add_own_strip<ROWS>(sums[i / 2].at[i % 2], products, own[i / 2].at[i % 2], scales, i * 8);
    }
}

template <int K> __device__ inline void put_strip(Tile<CHUNK, K>& tile, const Sum (&sums)[K / 16], int strip) {
#pragma unroll
    for (int i = 0; i < K / 16; i++) {
        const Left words = rounded_left(sums[i]);
        for (int j = 0; j < 4; j++) {
            const int row = strip * STRIP + lane_g() + j % 2 * 8, column = i * 16 + j / 2 * 8 + 2 * lane_q();
            *reinterpret_cast<unsigned*>(&tile.at[row][column]) = words.at[j];
        }
    }
}

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
