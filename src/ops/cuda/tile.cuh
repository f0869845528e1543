// Matrices in shared memory, and 16 x 16 pieces of them as a warp holds them for mma(): what the
// recurrences in chunks are written in.
#pragma once

#include "common.cuh"

namespace {

// ---- 16 x 16 pieces of matrices, as a warp holds them for mma(). Lane 4 g + q holds rows (or
// columns) g and g + 8, and of the other dimension 2 q, 2 q + 1, 2 q + 8 and 2 q + 9.

__device__ inline int lane_g() { return threadIdx.x % 32 / 4; }
__device__ inline int lane_q() { return threadIdx.x % 4; }

// Left operand: row g + 8 (i % 2), columns 2 q + 8 (i / 2) and one further.
struct Left {
    unsigned at[4];
};
// Right operand: of column g + 8 i, rows 2 q + 8 j and one further.
struct Right {
    unsigned at[2][2];
};
// Sums: columns 2 q + 8 i and one further, of row g and then of row g + 8.
struct Sum {
    float at[2][4];
};

__device__ inline void multiply(Sum& sum, const Left& left, const Right& right) {
    mma(sum.at[0], left.at, right.at[0]);
    mma(sum.at[1], left.at, right.at[1]);
}

__device__ inline float low(unsigned pair) { return __uint_as_float(pair << 16); }
__device__ inline float high(unsigned pair) { return __uint_as_float(pair & 0xffff0000u); }

// A matrix in shared memory. Rows are 16 bytes longer than they need be: so eight 16-byte pieces
// one below the other lie in different banks.
template <int ROWS, int COLUMNS> struct Tile {
    static constexpr int STRIDE = COLUMNS + 8;
    bf16 at[ROWS][STRIDE];
};

// How the quarters of a 16 x 16 piece follow each other, and whether each is turned over on the
// way.
enum class Order { DOWN, ACROSS };
enum class Turn { NO, YES };

template <Order ORDER, Turn TURN> __device__ inline void load_quarters(unsigned* to, const bf16* corner, int stride) {
#ifdef __CUDACC__
    // Every lane names one of the 4 x 8 rows.
    const int lane = threadIdx.x % 32;
    const int row = ORDER == Order::DOWN ? lane % 16 : lane / 16 * 8 + lane % 8;
    const int column = ORDER == Order::DOWN ? lane / 16 * 8 : lane / 8 % 2 * 8;
    const unsigned from = static_cast<unsigned>(__cvta_generic_to_shared(corner + row * stride + column));
    if (TURN == Turn::NO) {
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                     : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                     : "r"(from)
                     : "memory");
    } else {
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                     : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                     : "r"(from)
                     : "memory");
    }
#else
    for (int i = 0; i < 4; i++) {
        const int row = 8 * (ORDER == Order::DOWN ? i % 2 : i / 2), column = 8 * (ORDER == Order::DOWN ? i / 2 : i % 2);
        const bf16* quarter = corner + row * stride + column;
        const int g = lane_g(), q = lane_q();
        const bf16* from = TURN == Turn::NO ? quarter + g * stride + 2 * q : quarter + 2 * q * stride + g;
        to[i] = pack(to_float(from[0]), to_float(from[TURN == Turn::NO ? 1 : stride]));
    }
#endif
}

// The piece of a tile whose corner is (row, column), as an operand; `turned` is its transpose.
template <typename Tile> __device__ inline Left left(const Tile& tile, int row, int column) {
    Left out;
    load_quarters<Order::DOWN, Turn::NO>(out.at, &tile.at[row][column], Tile::STRIDE);
    return out;
}
template <typename Tile> __device__ inline Left turned_left(const Tile& tile, int row, int column) {
    Left out;
    load_quarters<Order::ACROSS, Turn::YES>(out.at, &tile.at[row][column], Tile::STRIDE);
    return out;
}
template <typename Tile> __device__ inline Right right(const Tile& tile, int row, int column) {
    Right out;
    load_quarters<Order::DOWN, Turn::YES>(out.at[0], &tile.at[row][column], Tile::STRIDE);
    return out;
}
template <typename Tile> __device__ inline Right turned_right(const Tile& tile, int row, int column) {
    Right out;
    load_quarters<Order::ACROSS, Turn::NO>(out.at[0], &tile.at[row][column], Tile::STRIDE);
    return out;
}

__device__ inline Left rounded_left(const Sum& sum) {
    return {{pack(sum.at[0][0], sum.at[0][1]), pack(sum.at[0][2], sum.at[0][3]), pack(sum.at[1][0], sum.at[1][1]),
             pack(sum.at[1][2], sum.at[1][3])}};
}

// ---- Between global and shared memory, by the whole block: its threads are a multiple of those
// that a row takes, so that each ---- stays in one column.

// Rows from `rows` on become zeros. The caller commits.
template <int ROWS, int COLUMNS>
__device__ inline void fetch(Tile<ROWS, COLUMNS>& tile, const bf16* from, int stride, int rows) {
    constexpr int PACKS = COLUMNS / Pack<bf16>::COUNT;
    const int column = threadIdx.x % PACKS * Pack<bf16>::COUNT, step = blockDim.x / PACKS;
    for (int row = threadIdx.x / PACKS; row < ROWS; row += step) {
        if (row < rows) {
            copy_async(&tile.at[row][column], from + static_cast<long long>(row) * stride + column);
        } else {
            Pack<bf16> zeros;
            for (int j = 0; j < Pack<bf16>::COUNT; j++) from_float(zeros.at[j], 0.0f);
            *reinterpret_cast<Pack<bf16>*>(&tile.at[row][column]) = zeros;
        }
    }
}

template <int ROWS, int COLUMNS>
__device__ inline void write_out(const Tile<ROWS, COLUMNS>& tile, bf16* to, int stride, int rows) {
    constexpr int PACKS = COLUMNS / Pack<bf16>::COUNT;
    const int column = threadIdx.x % PACKS * Pack<bf16>::COUNT, step = blockDim.x / PACKS;
    for (int row = threadIdx.x / PACKS; row < rows; row += step) {
        *reinterpret_cast<Pack<bf16>*>(to + static_cast<long long>(row) * stride + column) =
            *reinterpret_cast<const Pack<bf16>*>(&tile.at[row][column]);
    }
}

}  // namespace
