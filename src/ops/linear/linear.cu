// What products need beside cuBLAS: numbers brought to the type that is multiplied, and the product
// of a single row, which is decoding.
#include "../cuda/common.cuh"

// Numbers as the other type. Grid: count / 256 blocks of 256.
template <typename W, typename T> __device__ inline void convert(const W* from, T* to, long long count) {
    long long i = static_cast<long long>(blockIdx.x) * 256 + threadIdx.x;
    if (i < count) from_float(to[i], to_float(from[i]));
}

// ---- How a matrix is held. A warp goes through a row in pieces that are read at once: a holder
// says how many a row has, ---- and gives the numbers of one piece, eight by eight, with the column
// of the first.

template <typename W> struct Plain {
    const W* numbers;
    int columns;

    __device__ int pieces() const { return columns / 8; }

    template <typename F> __device__ void each(long long row, int piece, F f) const {
        f(piece * 8, eight_at(numbers + row * columns, piece));
    }
};

// quantised/mod.rs has the layout: blocks of 64 numbers with a common scale, a short last one
// filled up.
constexpr int QUANTISED_BLOCK = 64;

__device__ inline float scale_of(const bf16* scales, long long row, int columns, int block) {
    return to_float(scales[row * ((columns + QUANTISED_BLOCK - 1) / QUANTISED_BLOCK) + block]);
}

__device__ inline Pack<signed char> codes_at(const signed char* codes, long long row, int pieces, int piece) {
    return reinterpret_cast<const Pack<signed char>*>(codes)[row * pieces + piece];
}

struct Int8 {
    const signed char* codes;
    const bf16* scales;
    int columns;

    __device__ int pieces() const { return (columns + QUANTISED_BLOCK - 1) / QUANTISED_BLOCK * 4; }

    template <typename F> __device__ void each(long long row, int piece, F f) const {
        Pack<signed char> values = codes_at(codes, row, pieces(), piece);
        float scale = scale_of(scales, row, columns, piece / 4);
        for (int first = 0; first < 16; first += 8) {
            Eight out;
            for (int j = 0; j < 8; j++) out.at[j] = scale * values.at[first + j];
            if (piece * 16 + first < columns) f(piece * 16 + first, out);
        }
    }
};

struct Nf4 {
    const signed char* codes;
    const bf16* scales;
    int columns;
    // The sixteen levels in shared memory, each in a bank of its own.
    const float* levels;

    __device__ int pieces() const { return (columns + QUANTISED_BLOCK - 1) / QUANTISED_BLOCK * 2; }

    // Byte j of a block has number j in its lower half and number 32 + j in its upper one.
    template <typename F> __device__ void each(long long row, int piece, F f) const {
        Pack<signed char> values = codes_at(codes, row, pieces(), piece);
        float scale = scale_of(scales, row, columns, piece / 2);
        for (int first = 0; first < 16; first += 8) {
            int column = piece / 2 * QUANTISED_BLOCK + piece % 2 * 16 + first;
            Eight low, high;
            for (int j = 0; j < 8; j++) {
                low.at[j] = scale * levels[values.at[first + j] & 15];
                high.at[j] = scale * levels[values.at[first + j] >> 4 & 15];
            }
            if (column < columns) f(column, low);
            if (column + 32 < columns) f(column + 32, high);
        }
    }
};

// Bytes 0 to 63 of dynamic shared memory as the levels, which the launch's argument has in global
// memory.
__device__ inline const float* shared_levels(const float* levels) {
    float* shared = reinterpret_cast<float*>(dynamic_shared);
    if (threadIdx.x < 16) shared[threadIdx.x] = levels[threadIdx.x];
    __syncthreads();
    return shared;
}

// The rows of a quantised matrix from `first` on as T, `[rows, columns]`. Grid: pieces / 256 blocks
// of 256.
template <typename T, typename W> __device__ inline void widen(const W& w, T* to, int first, int rows) {
    long long i = static_cast<long long>(blockIdx.x) * 256 + threadIdx.x;
    long long row = i / w.pieces();
    if (row >= rows) return;
    to += row * w.columns;
    w.each(first + row, i % w.pieces(), [to](int column, const Eight& values) { put_eight(to, column / 8, values); });
}

constexpr int ROWS_PER_BLOCK = 16;

// y = W x + onto for one row x, summed in f32; reading W is what it costs. Each warp goes through
// two rows of W at once, so that x is fetched half as often. `onto` may be null. Grid:
// rows / ROWS_PER_BLOCK blocks of 256.
template <typename W, typename T, typename Y>
__device__ inline void row_product(const W& w, const T* x, const Y* onto, Y* y, int rows) {
    static_assert(ROWS_PER_BLOCK == 2 * 256 / 32, "two rows for each warp of a block");
    int row = blockIdx.x * ROWS_PER_BLOCK + threadIdx.x / 32 * 2;
    if (row >= rows) return;
    // An odd number's last row is gone through twice.
    int other = min(row + 1, rows - 1);
    float sum = 0.0f, other_sum = 0.0f;
#pragma unroll 2
    for (int piece = threadIdx.x % 32; piece < w.pieces(); piece += 32) {
        auto add = [x](float& to) {
            return [x, &to](int column, const Eight& values) {
                Eight xs = eight_at(x, column / 8);
                for (int j = 0; j < 8; j++) to += values.at[j] * xs.at[j];
            };
        };
        w.each(row, piece, add(sum));
        w.each(other, piece, add(other_sum));
    }
    sum = warp_sum(sum);
    other_sum = warp_sum(other_sum);
    if (threadIdx.x % 32 != 0) return;
    from_float(y[row], sum + (onto ? to_float(onto[row]) : 0.0f));
    if (other > row) from_float(y[other], other_sum + (onto ? to_float(onto[other]) : 0.0f));
}

constexpr int COLUMNS_PER_BLOCK = 16;

// y = x W for one row x, summed in f32: what the low-rank matrices of RWKV-7 give, which stand the
// other way round. Two neighbouring threads take sixteen columns of a row, so that what memory gives
// at once is used up, and every 128th row. Grid: columns / COLUMNS_PER_BLOCK blocks of 256.
template <typename W, typename T, typename Y>
__device__ inline void column_product(const W* weights, const T* x, Y* y, int rows, int columns) {
    constexpr int EIGHTS = COLUMNS_PER_BLOCK / 8;
    __shared__ __align__(16) float parts[256 / 32][COLUMNS_PER_BLOCK];
    int piece = blockIdx.x * EIGHTS + threadIdx.x % EIGHTS;
    Eight sums = {};
    if (piece < columns / 8) {
#pragma unroll 4
        for (int row = threadIdx.x / EIGHTS; row < rows; row += 256 / EIGHTS) {
            Eight values = eight_at(weights + static_cast<long long>(row) * columns, piece);
            float factor = to_float(x[row]);
            for (int j = 0; j < 8; j++) sums.at[j] += factor * values.at[j];
        }
    }
    for (int j = 0; j < 8; j++)
        for (int lane = 16; lane >= EIGHTS; lane /= 2) sums.at[j] += __shfl_xor_sync(0xffffffffu, sums.at[j], lane);
    if (threadIdx.x % 32 < EIGHTS) put_eight(parts[threadIdx.x / 32], threadIdx.x % 32, sums);
    __syncthreads();
    int column = blockIdx.x * COLUMNS_PER_BLOCK + threadIdx.x;
    if (threadIdx.x >= COLUMNS_PER_BLOCK || column >= columns) return;
    float sum = 0.0f;
    for (int warp = 0; warp < 256 / 32; warp++) sum += parts[warp][threadIdx.x];
    from_float(y[column], sum);
}

#define PLAIN_PRODUCTS(W, FROM, T, BY, Y, TO)                                                                                \
    KERNEL(256, row_product_##FROM##_##BY##_##TO, const W* weights, const T* x, const Y* onto, Y* y, int rows,            \
           int columns) {                                                                                                 \
        row_product(Plain<W>{weights, columns}, x, onto, y, rows);                                                        \
    }                                                                                                                     \
    KERNEL(256, column_product_##FROM##_##BY##_##TO, const W* weights, const T* x, Y* y, int rows, int columns) {         \
        column_product(weights, x, y, rows, columns);                                                                     \
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
PLAIN_PRODUCTS(float, f32, float, f32, float, f32)
PLAIN_PRODUCTS(bf16, bf16, float, f32, float, f32)
PLAIN_PRODUCTS(bf16, bf16, bf16, bf16, bf16, bf16)
PLAIN_PRODUCTS(bf16, bf16, bf16, bf16, float, f32)
QUANTISED_ROW_PRODUCT(float, f32, float, f32)
QUANTISED_ROW_PRODUCT(bf16, bf16, bf16, bf16)
QUANTISED_ROW_PRODUCT(bf16, bf16, float, f32)
