// What products need beside cuBLAS: numbers brought to the type that is multiplied, and the product of a single row.
#include "../cuda/common.cuh"

// Numbers as the other type. Grid: count / 256 blocks of 256.
template <typename W, typename T> __device__ inline void convert(const W* from, T* to, long long count) {
    long long i = static_cast<long long>(blockIdx.x) * 256 + threadIdx.x;
    if (i < count) from_float(to[i], to_float(from[i]));
}

// y = W x + onto for one row x: nothing but reading W costs, so each warp goes through one row of it in packs, and
// nothing is rounded on the way. `onto` may be null. Grid: rows / 8 blocks of 256.
template <typename W, typename T, typename Y>
__device__ inline void row_product(const W* weights, const T* x, const Y* onto, Y* y, int rows, int columns) {
    constexpr int COUNT = Pack<W>::COUNT;
    int row = blockIdx.x * 8 + threadIdx.x / 32;
    if (row >= rows) return;
    weights += static_cast<long long>(row) * columns;
    float sum = 0.0f;
#pragma unroll 4
    for (int i = threadIdx.x % 32; i < columns / COUNT; i += 32) {
        Pack<W> values = pack_at(weights, i);
        for (int j = 0; j < COUNT; j++) sum += to_float(values.at[j]) * to_float(x[i * COUNT + j]);
    }
    sum = warp_sum(sum);
    if (threadIdx.x % 32 == 0) from_float(y[row], sum + (onto ? to_float(onto[row]) : 0.0f));
}

#define ROW_PRODUCT(W, FROM, T, BY, Y, TO)                                                                                \
    KERNEL(256, row_product_##FROM##_##BY##_##TO, const W* weights, const T* x, const Y* onto, Y* y, int rows,            \
           int columns) {                                                                                                 \
        row_product<W, T, Y>(weights, x, onto, y, rows, columns);                                                         \
    }

KERNEL(256, convert_bf16_f32, const bf16* from, float* to, long long count) { convert<bf16, float>(from, to, count); }
KERNEL(256, convert_f32_bf16, const float* from, bf16* to, long long count) { convert<float, bf16>(from, to, count); }
ROW_PRODUCT(float, f32, float, f32, float, f32)
ROW_PRODUCT(bf16, bf16, float, f32, float, f32)
ROW_PRODUCT(bf16, bf16, bf16, bf16, bf16, bf16)
ROW_PRODUCT(bf16, bf16, bf16, bf16, float, f32)
