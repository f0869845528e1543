// What products need beside cuBLAS: numbers brought to the type that is multiplied, and the product of a single row,
// which is decoding.
#include "../cuda/common.cuh"

// Numbers as the other type. Grid: count / 256 blocks of 256.
template <typename W, typename T> __device__ inline void convert(const W* from, T* to, long long count) {
    long long i = static_cast<long long>(blockIdx.x) * 256 + threadIdx.x;
    if (i < count) from_float(to[i], to_float(from[i]));
}

// ---- How a matrix is held. A warp goes through a row in pieces of sixteen bytes: a holder says how many a row has, and
// ---- gives the numbers of one piece, each with its column.

template <typename W> struct Plain {
    const W* numbers;
    int columns;

    __device__ int pieces() const { return columns / Pack<W>::COUNT; }

    template <typename F> __device__ void each(long long row, int piece, F f) const {
        Pack<W> values = pack_at(numbers + row * columns, piece);
        for (int j = 0; j < Pack<W>::COUNT; j++) f(piece * Pack<W>::COUNT + j, to_float(values.at[j]));
    }
};

// quantise/mod.rs has the layout: blocks of 64 numbers with a common scale, a short last one filled up.
constexpr int BLOCK = 64;

__device__ inline float scale_of(const bf16* scales, long long row, int columns, int block) {
    return to_float(scales[row * ((columns + BLOCK - 1) / BLOCK) + block]);
}

__device__ inline Pack<signed char> codes_at(const signed char* codes, long long row, int pieces, int piece) {
    return reinterpret_cast<const Pack<signed char>*>(codes)[row * pieces + piece];
}

struct Int8 {
    const signed char* codes;
    const bf16* scales;
    int columns;

    __device__ int pieces() const { return (columns + BLOCK - 1) / BLOCK * 4; }

    template <typename F> __device__ void each(long long row, int piece, F f) const {
        Pack<signed char> values = codes_at(codes, row, pieces(), piece);
        float scale = scale_of(scales, row, columns, piece / 4);
        for (int j = 0; j < 16; j++)
            if (piece * 16 + j < columns) f(piece * 16 + j, scale * values.at[j]);
    }
};

struct Nf4 {
    const signed char* codes;
    const bf16* scales;
    int columns;
    // The sixteen levels in shared memory, each in a bank of its own.
    const float* levels;

    __device__ int pieces() const { return (columns + BLOCK - 1) / BLOCK * 2; }

    // Byte j of a block has number j in its lower half and number 32 + j in its upper one.
    template <typename F> __device__ void each(long long row, int piece, F f) const {
        Pack<signed char> values = codes_at(codes, row, pieces(), piece);
        float scale = scale_of(scales, row, columns, piece / 2);
        int first = piece / 2 * BLOCK + piece % 2 * 16;
        for (int j = 0; j < 16; j++) {
            if (first + j < columns) f(first + j, scale * levels[values.at[j] & 15]);
            if (first + j + 32 < columns) f(first + j + 32, scale * levels[values.at[j] >> 4 & 15]);
        }
    }
};

// Bytes 0 to 63 of dynamic shared memory as the levels, which the launch's argument has in global memory.
__device__ inline const float* shared_levels(const float* levels) {
    float* shared = reinterpret_cast<float*>(dynamic_shared);
    if (threadIdx.x < 16) shared[threadIdx.x] = levels[threadIdx.x];
    __syncthreads();
    return shared;
}

// The rows of a quantised matrix from `first` on as T, `[rows, columns]`. Grid: pieces / 256 blocks of 256.
template <typename T, typename W> __device__ inline void widen(const W& w, T* to, int first, int rows) {
    long long i = static_cast<long long>(blockIdx.x) * 256 + threadIdx.x;
    long long row = i / w.pieces();
    if (row >= rows) return;
    to += row * w.columns;
    w.each(first + row, i % w.pieces(), [to](int column, float value) { from_float(to[column], value); });
}

// y = W x + onto for one row x: nothing but reading W costs, so each warp goes through one row of it, and nothing is
// rounded on the way. `onto` may be null. Grid: rows / 8 blocks of 256.
template <typename W, typename T, typename Y>
__device__ inline void row_product(const W& w, const T* x, const Y* onto, Y* y, int rows) {
    int row = blockIdx.x * 8 + threadIdx.x / 32;
    if (row >= rows) return;
    float sum = 0.0f;
#pragma unroll 4
    for (int piece = threadIdx.x % 32; piece < w.pieces(); piece += 32)
        w.each(row, piece, [&](int column, float value) { sum += value * to_float(x[column]); });
    sum = warp_sum(sum);
    if (threadIdx.x % 32 == 0) from_float(y[row], sum + (onto ? to_float(onto[row]) : 0.0f));
}

#define ROW_PRODUCT(W, FROM, T, BY, Y, TO)                                                                                \
    KERNEL(256, row_product_##FROM##_##BY##_##TO, const W* weights, const T* x, const Y* onto, Y* y, int rows,            \
           int columns) {                                                                                                 \
        row_product(Plain<W>{weights, columns}, x, onto, y, rows);                                                        \
    }

// Dynamic shared memory of those for nf4: 64 bytes.
#define QUANTISED_ROW_PRODUCT(T, BY, Y, TO)                                                                               \
    KERNEL(256, row_product_int8_##BY##_##TO, const signed char* codes, const bf16* scales, const float*, const T* x,     \
           const Y* onto, Y* y, int rows, int columns) {                                                                  \
        row_product(Int8{codes, scales, columns}, x, onto, y, rows);                                                      \
    }                                                                                                                     \
    KERNEL(256, row_product_nf4_##BY##_##TO, const signed char* codes, const bf16* scales, const float* levels,           \
           const T* x, const Y* onto, Y* y, int rows, int columns) {                                                      \
        row_product(Nf4{codes, scales, columns, shared_levels(levels)}, x, onto, y, rows);                                \
    }

#define WIDEN(T, TO)                                                                                                      \
    KERNEL(256, widen_int8_##TO, const signed char* codes, const bf16* scales, const float*, T* to, int first, int rows,  \
           int columns) {                                                                                                 \
        widen<T>(Int8{codes, scales, columns}, to, first, rows);                                                          \
    }                                                                                                                     \
    KERNEL(256, widen_nf4_##TO, const signed char* codes, const bf16* scales, const float* levels, T* to, int first,      \
           int rows, int columns) {                                                                                       \
        widen<T>(Nf4{codes, scales, columns, shared_levels(levels)}, to, first, rows);                                    \
    }

KERNEL(256, convert_bf16_f32, const bf16* from, float* to, long long count) { convert<bf16, float>(from, to, count); }
KERNEL(256, convert_f32_bf16, const float* from, bf16* to, long long count) { convert<float, bf16>(from, to, count); }
WIDEN(float, f32)
WIDEN(bf16, bf16)
ROW_PRODUCT(float, f32, float, f32, float, f32)
ROW_PRODUCT(bf16, bf16, float, f32, float, f32)
ROW_PRODUCT(bf16, bf16, bf16, bf16, bf16, bf16)
ROW_PRODUCT(bf16, bf16, bf16, bf16, float, f32)
QUANTISED_ROW_PRODUCT(float, f32, float, f32)
QUANTISED_ROW_PRODUCT(bf16, bf16, bf16, bf16)
QUANTISED_ROW_PRODUCT(bf16, bf16, float, f32)
