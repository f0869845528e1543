// What products need beside cuBLAS: numbers brought to the type that is multiplied, and the product
// of a single row, which is decoding.
#include "../cuda/common.cuh"

// Numbers as the other type. Grid: count / 256 blocks of 256.
template <typename W, typename T> __device__ inline void convert(const W* from, T* to, long long count) {
    long long i = static_cast<long long>(blockIdx.x) * 256 + threadIdx.x;
    if (i < count) from_float(to[i], to_float(from[i]));
}

// ---- How a matrix is held. A warp goes through a row in pieces that are read at once: a holder
// says how many a row has, loads one, and gives its numbers, eight by eight, with the column of the
// first; and how many pieces a thread asks for before it uses the first, which hides the memory's latency.

template <typename W> struct Plain {
    const W* numbers;
    int columns;

    static constexpr int AT_ONCE = 16 / sizeof(W);
    struct Piece {
        Pack<W> packs[8 / Pack<W>::COUNT];
    };

    __device__ int pieces() const { return columns / 8; }

    __device__ Piece load(long long row, int piece) const {
        return reinterpret_cast<const Piece*>(numbers + row * columns)[piece];
    }

    template <typename F> __device__ void each(const Piece& loaded, int piece, F f) const {
        f(piece * 8, eight_at(loaded.packs[0].at, 0));
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

// As it is stored.
struct QuantisedPiece {
    Pack<signed char> codes;
    float scale;
};

struct Int8 {
    const signed char* codes;
    const bf16* scales;
    int columns;

    static constexpr int AT_ONCE = 4;
    typedef QuantisedPiece Piece;

    __device__ int pieces() const { return (columns + QUANTISED_BLOCK - 1) / QUANTISED_BLOCK * 4; }

    __device__ Piece load(long long row, int piece) const {
        return {codes_at(codes, row, pieces(), piece), scale_of(scales, row, columns, piece / 4)};
    }

    template <typename F> __device__ void each(const Piece& loaded, int piece, F f) const {
        for (int first = 0; first < 16; first += 8) {
            Eight out;
            for (int j = 0; j < 8; j++) out.at[j] = loaded.scale * loaded.codes.at[first + j];
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

    static constexpr int AT_ONCE = 2;
    typedef QuantisedPiece Piece;

    __device__ int pieces() const { return (columns + QUANTISED_BLOCK - 1) / QUANTISED_BLOCK * 2; }

    // Byte j of a block has number j in its lower half and number 32 + j in its upper one.
    __device__ Piece load(long long row, int piece) const {
        return {codes_at(codes, row, pieces(), piece), scale_of(scales, row, columns, piece / 2)};
    }

    template <typename F> __device__ void each(const Piece& loaded, int piece, F f) const {
        for (int first = 0; first < 16; first += 8) {
            int column = piece / 2 * QUANTISED_BLOCK + piece % 2 * 16 + first;
            Eight low, high;
            for (int j = 0; j < 8; j++) {
                low.at[j] = loaded.scale * levels[loaded.codes.at[first + j] & 15];
                high.at[j] = loaded.scale * levels[loaded.codes.at[first + j] >> 4 & 15];
            }
            if (column < columns) f(column, low);
            if (column + 32 < columns) f(column + 32, high);
        }
    }
};

// Bytes of dynamic shared memory that the levels of nf4 have.
constexpr int SHARED_LEVELS = 64;

// The first bytes of dynamic shared memory as the levels, which the launch's argument has in global
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
    const int piece = i % w.pieces();
    w.each(w.load(first + row, piece), piece, [to](int column, const Eight& values) { put_eight(to, column / 8, values); });
}

// Products that a kernel takes, of which blockIdx.y chooses one.
constexpr int PRODUCTS = 4;
template <typename P> __device__ inline P chosen(P first, P second, P third, P fourth) {
    return blockIdx.y == 0 ? first : blockIdx.y == 1 ? second : blockIdx.y == 2 ? third : fourth;
}

constexpr int ROWS_PER_BLOCK = 8;

// y = W x for one row x, or several such products, summed in f32; the first is added to `onto`, which may
// be null. Reading W is what it costs. A warp goes through a row of W; the block has x in shared
// memory, behind the levels of nf4. Grid: (most rows / ROWS_PER_BLOCK, products) blocks of 256; dynamic
// shared memory: SHARED_LEVELS bytes and x.
template <typename W, typename T, typename Y>
__device__ inline void row_product(const W& w, const T* x, const Y* onto, Y* y, int rows) {
    if (blockIdx.x * ROWS_PER_BLOCK >= rows) return;
    if (blockIdx.y > 0) onto = nullptr;
    static_assert(ROWS_PER_BLOCK == 256 / 32, "a row for each warp of a block");
    const int lane = threadIdx.x % 32, pieces = w.pieces();
    // Warps beyond the last row compute that row again and write nothing.
    const int own = blockIdx.x * ROWS_PER_BLOCK + threadIdx.x / 32, row = min(own, rows - 1);
    T* shared_x = reinterpret_cast<T*>(dynamic_shared + SHARED_LEVELS);
    float sum = 0.0f;
    for (int first = lane; first - lane < pieces; first += 32 * W::AT_ONCE) {
        typename W::Piece loaded[W::AT_ONCE] = {};
#pragma unroll
        for (int i = 0; i < W::AT_ONCE; i++) {
            if (first + 32 * i < pieces) loaded[i] = w.load(row, first + 32 * i);
        }
        if (first == lane) {
            for (int i = threadIdx.x; i < w.columns / 8; i += 256) put_eight(shared_x, i, eight_at(x, i));
            __syncthreads();
        }
#pragma unroll
        for (int i = 0; i < W::AT_ONCE; i++) {
            if (first + 32 * i >= pieces) break;
            w.each(loaded[i], first + 32 * i, [&](int column, const Eight& values) {
                const Eight xs = eight_at(shared_x, column / 8);
                for (int j = 0; j < 8; j++) sum += values.at[j] * xs.at[j];
            });
        }
    }
    sum = warp_sum(sum);
    if (lane == 0 && own < rows) from_float(y[own], sum + (onto ? to_float(onto[own]) : 0.0f));
}

constexpr int COLUMNS_PER_BLOCK = 16;

// y = x W for one row x, summed in f32: what the low-rank matrices of RWKV-7 give, which stand the
// other way round. Two neighbouring threads take sixteen columns of a row, so that what memory gives
// at once is used up, and every 128th row. Grid: (most columns / COLUMNS_PER_BLOCK, products) blocks of
// 256.
template <typename W, typename T, typename Y>
__device__ inline void column_product(const W* weights, const T* x, Y* y, int rows, int columns) {
    constexpr int EIGHTS = COLUMNS_PER_BLOCK / 8;
    if (blockIdx.x * COLUMNS_PER_BLOCK >= columns) return;
    __shared__ __align__(16) float parts[256 / 32][COLUMNS_PER_BLOCK];
    int piece = blockIdx.x * EIGHTS + threadIdx.x % EIGHTS;
    Eight sums = {};
    if (piece < columns / 8) {
#pragma unroll 8
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

#define EACH(TYPE, NAME) TYPE NAME##0, TYPE NAME##1, TYPE NAME##2, TYPE NAME##3
#define CHOSEN(NAME) chosen(NAME##0, NAME##1, NAME##2, NAME##3)

#define PLAIN_PRODUCTS(W, FROM, T, BY, Y, TO)                                                                             \
    KERNEL(256, row_products_##FROM##_##BY##_##TO, EACH(const W*, weights), EACH(const T*, x), EACH(Y*, y),               \
           EACH(int, rows), const Y* onto, int columns) {                                                                 \
        row_product(Plain<W>{CHOSEN(weights), columns}, CHOSEN(x), onto, CHOSEN(y), CHOSEN(rows));                        \
    }                                                                                                                     \
    KERNEL(256, column_products_##FROM##_##BY##_##TO, EACH(const W*, weights), EACH(const T*, x), EACH(Y*, y),            \
           EACH(int, rows), EACH(int, columns)) {                                                                         \
        column_product(CHOSEN(weights), CHOSEN(x), CHOSEN(y), CHOSEN(rows), CHOSEN(columns));                             \
    }

#define QUANTISED_ROW_PRODUCTS(T, BY, Y, TO)                                                                              \
    KERNEL(256, row_products_int8_##BY##_##TO, EACH(const signed char*, codes), EACH(const bf16*, scales),                \
           const float*, EACH(const T*, x), EACH(Y*, y), EACH(int, rows), const Y* onto, int columns) {                   \
        row_product(Int8{CHOSEN(codes), CHOSEN(scales), columns}, CHOSEN(x), onto, CHOSEN(y), CHOSEN(rows));              \
    }                                                                                                                     \
    KERNEL(256, row_products_nf4_##BY##_##TO, EACH(const signed char*, codes), EACH(const bf16*, scales),                 \
           const float* levels, EACH(const T*, x), EACH(Y*, y), EACH(int, rows), const Y* onto, int columns) {            \
        row_product(Nf4{CHOSEN(codes), CHOSEN(scales), columns, shared_levels(levels)}, CHOSEN(x), onto, CHOSEN(y),       \
                    CHOSEN(rows));                                                                                        \
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
QUANTISED_ROW_PRODUCTS(float, f32, float, f32)
QUANTISED_ROW_PRODUCTS(bf16, bf16, bf16, bf16)
QUANTISED_ROW_PRODUCTS(bf16, bf16, float, f32)
