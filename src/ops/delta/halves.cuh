// Numbers as the sum of two bf16, which together have 16 bits: what enters products on the tensor cores
// where the 8 bits of one would not do.
#pragma once

#include "../cuda/tile.cuh"

namespace delta {
namespace {

// Rows of a chunk.
constexpr int CHUNK = 16;

template <int COLUMNS> struct Halves {
    Tile<CHUNK, COLUMNS> high, low;

    __device__ void put(int row, int column, float x) {
        from_float(high.at[row][column], x);
        from_float(low.at[row][column], x - to_float(high.at[row][column]));
    }
    // x and y, from an even column on.
    __device__ void put_two(int row, int column, float x, float y) {
        const unsigned highs = pack(x, y);
        *reinterpret_cast<unsigned*>(&high.at[row][column]) = highs;
        *reinterpret_cast<unsigned*>(&low.at[row][column]) = pack(x - ::low(highs), y - ::high(highs));
    }
};

struct LeftHalves {
    Left high, low;
};
struct RightHalves {
    Right high, low;
};

template <int N> __device__ inline LeftHalves left(const Halves<N>& x, int row, int column) {
    return {left(x.high, row, column), left(x.low, row, column)};
}
template <int N> __device__ inline LeftHalves turned_left(const Halves<N>& x, int row, int column) {
    return {turned_left(x.high, row, column), turned_left(x.low, row, column)};
}
template <int N> __device__ inline RightHalves right(const Halves<N>& x, int row, int column) {
    return {right(x.high, row, column), right(x.low, row, column)};
}
template <int N> __device__ inline RightHalves turned_right(const Halves<N>& x, int row, int column) {
    return {turned_right(x.high, row, column), turned_right(x.low, row, column)};
}

__device__ inline LeftHalves halves(const Sum& sum) {
    LeftHalves out = {rounded_left(sum), {}};
    for (int i = 0; i < 4; i++) {
        const float* pair = &sum.at[i / 2][i % 2 * 2];
        out.low.at[i] = pack(pair[0] - low(out.high.at[i]), pair[1] - high(out.high.at[i]));
    }
    return out;
}

// The products of low halves alone are below what f32 sums of the others keep.
__device__ inline void multiply(Sum& sum, const LeftHalves& x, const RightHalves& y) {
    multiply(sum, x.high, y.high);
    multiply(sum, x.high, y.low);
    multiply(sum, x.low, y.high);
}
__device__ inline void multiply(Sum& sum, const LeftHalves& x, const Right& y) {
    multiply(sum, x.high, y);
    multiply(sum, x.low, y);
}
__device__ inline void multiply(Sum& sum, const Left& x, const RightHalves& y) {
    multiply(sum, x, y.high);
    multiply(sum, x, y.low);
}

// Where number e of part i of a Sum stands.
__device__ inline int sum_row(int e) { return lane_g() + e / 2 * 8; }
__device__ inline int sum_column(int i, int e) { return 8 * i + 2 * lane_q() + e % 2; }

template <typename F> __device__ inline void each_of(Sum& sum, F each) {
#pragma unroll
    for (int i = 0; i < 2; i++) {
#pragma unroll
        for (int e = 0; e < 4; e++) each(sum.at[i][e], sum_row(e), sum_column(i, e));
    }
}

}  // namespace
}  // namespace delta
