// Products within a strip of 16 rows of a chunk and between its strips, by powers of the decay:
// what the kernels of chunked.cu are made of, which has the maths.
#pragma once

#include "../cuda/tile.cuh"

namespace {

constexpr int CHUNK = 64;
constexpr int STRIP = 16;
constexpr int STRIPS = CHUNK / STRIP;

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

}  // namespace
