// cuBLAS's products of matrices, column by column in memory, with sums in float (in double for double). Both matrices are
// first laid out in panels of floats, so that the innermost loop walks through memory.
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <type_traits>
#include <vector>

#include "api.h"
#include "cores.h"
#include "emulate.h"

namespace {

struct Handle {
    CUstream stream = nullptr;
    int pointer_mode = 0;
};

enum Status { SUCCESS = 0, INVALID_VALUE = 7, EXECUTION_FAILED = 13, NOT_SUPPORTED = 15 };
enum Type { F32 = 0, F64 = 1, BF16 = 14 };
enum Compute {
    COMPUTE_32F = 68,
    COMPUTE_32F_PEDANTIC = 69,
    COMPUTE_64F = 70,
    COMPUTE_64F_PEDANTIC = 71,
    FAST_16F = 74,
    FAST_BF16 = 75,
    FAST_TF32 = 77
};

struct Matrix {
    const void* at;
    int type;
    bool transposed;
    long long leading, stride;
};

struct Product {
    long long m, n, k, batches;
    Matrix a, b;
    void* c;
    int c_type;
    long long c_leading, c_stride;
    double alpha, beta;
};

size_t size_of(int type) { return type == F64 ? 8 : type == F32 ? 4 : 2; }

double load(const void* at, int type, long long i) {
    switch (type) {
        case F32: return static_cast<const float*>(at)[i];
        case F64: return static_cast<const double*>(at)[i];
        default: return to_float(static_cast<const bf16*>(at)[i]);
    }
}

void store(void* at, int type, long long i, double x) {
    switch (type) {
        case F32: static_cast<float*>(at)[i] = x; break;
        case F64: static_cast<double*>(at)[i] = x; break;
        default: from_float(static_cast<bf16*>(at)[i], x);
    }
}

const void* advance(const void* at, int type, long long by) {
    return static_cast<const char*>(at) + by * static_cast<long long>(size_of(type));
}

const int ROWS = 16, COLUMNS = 4, TILE = 64, DEPTH = 256;

double widened(double x) { return x; }
float widened(float x) { return x; }
float widened(bf16 x) { return to_float(x); }

// One panel: `width` neighbouring rows of op(matrix), for each of the k columns in turn; zeros beyond the last row.
template <typename S, typename T>
void lay_out_as(const Matrix& matrix, bool of_b, long long rows, long long k, long long first, int width, T* to) {
    // b is laid out by its columns, as if it were transposed.
    const bool rows_are_neighbours = matrix.transposed == of_b;
    const long long row_step = rows_are_neighbours ? 1 : matrix.leading, step = rows_are_neighbours ? matrix.leading : 1;
    const S* from = static_cast<const S*>(matrix.at) + first * row_step;
    for (long long l = 0; l < k; l++)
        for (int i = 0; i < width; i++) to[l * width + i] = first + i < rows ? widened(from[i * row_step + l * step]) : 0;
}

template <typename T>
void lay_out(const Matrix& matrix, bool of_b, long long rows, long long k, long long first, int width, T* to) {
    switch (matrix.type) {
        case F64: return lay_out_as<double>(matrix, of_b, rows, k, first, width, to);
        case F32: return lay_out_as<float>(matrix, of_b, rows, k, first, width, to);
        default: return lay_out_as<bf16>(matrix, of_b, rows, k, first, width, to);
    }
}

// sums[16 rows of a][4 columns of b] += the product over `depth`.
template <typename T>
inline __attribute__((always_inline)) void multiply_panels(const T* a, const T* b, int depth, T* sums) {
    T mine[COLUMNS][ROWS];
    for (int j = 0; j < COLUMNS; j++)
        for (int i = 0; i < ROWS; i++) mine[j][i] = sums[j * TILE + i];
    for (int l = 0; l < depth; l++)
        for (int j = 0; j < COLUMNS; j++)
            for (int i = 0; i < ROWS; i++) mine[j][i] += a[l * ROWS + i] * b[l * COLUMNS + j];
    for (int j = 0; j < COLUMNS; j++)
        for (int i = 0; i < ROWS; i++) sums[j * TILE + i] = mine[j][i];
}

// The processor's widest vectors, where it has them.
__attribute__((target_clones("arch=haswell", "default"))) void multiply_block(const float* a, const float* b, int depth,
                                                                              float* sums) {
    multiply_panels(a, b, depth, sums);
}
void multiply_block(const double* a, const double* b, int depth, double* sums) { multiply_panels(a, b, depth, sums); }

template <typename T> void multiply_batch(const Product& p, long long batch) {
    Matrix a = p.a, b = p.b;
    a.at = advance(a.at, a.type, batch * a.stride);
    b.at = advance(b.at, b.type, batch * b.stride);
    void* c = const_cast<void*>(advance(p.c, p.c_type, batch * p.c_stride));
    const long long row_tiles = (p.m + TILE - 1) / TILE, column_tiles = (p.n + TILE - 1) / TILE;
    std::vector<T> panels_a(row_tiles * TILE * p.k), panels_b(column_tiles * TILE * p.k);
    const long long count_a = row_tiles * TILE / ROWS, count_b = column_tiles * TILE / COLUMNS;
    std::atomic<long long> next_panel(0), next_tile(0);
    emulator::on_cores((p.m + p.n) * p.k / 4096 + 1, [&] {
        for (long long i; (i = next_panel++) < count_a + count_b;) {
            if (i < count_a) lay_out(a, false, p.m, p.k, i * ROWS, ROWS, &panels_a[i * ROWS * p.k]);
            else lay_out(b, true, p.n, p.k, (i - count_a) * COLUMNS, COLUMNS, &panels_b[(i - count_a) * COLUMNS * p.k]);
        }
    });
    emulator::on_cores(row_tiles * column_tiles, [&] {
        for (long long tile; (tile = next_tile++) < row_tiles * column_tiles;) {
            const long long first_row = tile % row_tiles * TILE, first_column = tile / row_tiles * TILE;
            T sums[TILE * TILE] = {};
            for (long long l = 0; l < p.k; l += DEPTH) {
                const int depth = static_cast<int>(min(static_cast<long long>(DEPTH), p.k - l));
                for (int j = 0; j < TILE; j += COLUMNS)
                    for (int i = 0; i < TILE; i += ROWS)
                        multiply_block(&panels_a[(first_row + i) * p.k + l * ROWS],
                                       &panels_b[(first_column + j) * p.k + l * COLUMNS], depth, &sums[j * TILE + i]);
            }
            for (long long j = 0; j < TILE && first_column + j < p.n; j++)
                for (long long i = 0; i < TILE && first_row + i < p.m; i++) {
                    const long long at = (first_column + j) * p.c_leading + first_row + i;
                    const double former = p.beta == 0 ? 0 : p.beta * load(c, p.c_type, at);
                    store(c, p.c_type, at, p.alpha * sums[j * TILE + i] + former);
                }
        }
    });
}

// Elements from the first to the last of a matrix with `columns` columns in memory, in all batches.
long long extent(long long rows, long long columns, long long leading, long long stride, long long batches) {
    return rows == 0 || columns == 0 ? 0 : (batches - 1) * stride + (columns - 1) * leading + rows;
}

bool reaches(const char* which, const void* at, int type, long long elements) {
    if (emulator::on_device(reinterpret_cast<CUdeviceptr>(at), elements * size_of(type))) return true;
    fprintf(stderr, "cuda-emulator: a product's matrix %s, %lld elements at %p, is not in one allocation\n", which, elements,
            at);
    return false;
}

CUresult execute(const Product& p) {
    if (p.m == 0 || p.n == 0 || p.batches == 0) return CUDA_SUCCESS;
    const long long a_rows = p.a.transposed ? p.k : p.m, b_rows = p.b.transposed ? p.n : p.k;
    bool good = reaches("A", p.a.at, p.a.type, extent(a_rows, p.m + p.k - a_rows, p.a.leading, p.a.stride, p.batches));
    good = good && reaches("B", p.b.at, p.b.type, extent(b_rows, p.n + p.k - b_rows, p.b.leading, p.b.stride, p.batches));
    good = good && reaches("C", p.c, p.c_type, extent(p.m, p.n, p.c_leading, p.c_stride, p.batches));
    if (!good) return emulator::fail_for_good(CUDA_ERROR_ILLEGAL_ADDRESS);
    for (long long batch = 0; batch < p.batches; batch++) {
        if (p.a.type == F64) multiply_batch<double>(p, batch);
        else multiply_batch<float>(p, batch);
    }
    return CUDA_SUCCESS;
}

Status gemm(Handle* handle, Product p) {
    auto known = [](int type) { return type == F32 || type == F64 || type == BF16; };
    if (!known(p.a.type) || p.a.type != p.b.type || !known(p.c_type) || (p.a.type == F64) != (p.c_type == F64) ||
        (p.a.type == F32 && p.c_type != F32))
        return NOT_SUPPORTED;
    if (p.m < 0 || p.n < 0 || p.k < 0 || p.batches < 0) return INVALID_VALUE;
    if (p.a.leading < max(1ll, p.a.transposed ? p.k : p.m) || p.b.leading < max(1ll, p.b.transposed ? p.n : p.k) ||
        p.c_leading < max(1ll, p.m))
        return INVALID_VALUE;
    return emulator::submit(handle->stream, [p] { return execute(p); }) == CUDA_SUCCESS ? SUCCESS : EXECUTION_FAILED;
}

bool computes(int compute, int type) {
    if (type == F64) return compute == COMPUTE_64F || compute == COMPUTE_64F_PEDANTIC;
    return compute == COMPUTE_32F || compute == COMPUTE_32F_PEDANTIC || compute == FAST_16F || compute == FAST_BF16 ||
           compute == FAST_TF32;
}

double number(const void* at, int type) {
    return type == F64 ? *static_cast<const double*>(at) : *static_cast<const float*>(at);
}

}  // namespace

API int cublasCreate_v2(Handle** handle) {
    *handle = new Handle;
    return SUCCESS;
}

API int cublasDestroy_v2(Handle* handle) {
    delete handle;
    return SUCCESS;
}

API int cublasSetStream_v2(Handle* handle, CUstream stream) {
    handle->stream = stream;
    return SUCCESS;
}

API int cublasSetWorkspace_v2(Handle*, void*, size_t) { return SUCCESS; }
API int cublasSetMathMode(Handle*, int) { return SUCCESS; }

API int cublasGetPointerMode_v2(Handle* handle, int* mode) {
    *mode = handle->pointer_mode;
    return SUCCESS;
}

// Only factors on the host are supported.
API int cublasSetPointerMode_v2(Handle*, int mode) { return mode == 0 ? SUCCESS : NOT_SUPPORTED; }

API int cublasGemmStridedBatchedEx(Handle* handle, int op_a, int op_b, int m, int n, int k, const void* alpha, const void* a,
                                   int a_type, int lda, long long a_stride, const void* b, int b_type, int ldb,
                                   long long b_stride, const void* beta, void* c, int c_type, int ldc, long long c_stride,
                                   int batches, int compute, int) {
    if (!computes(compute, a_type)) return NOT_SUPPORTED;
    const Matrix left = {a, a_type, op_a != 0, lda, a_stride}, right = {b, b_type, op_b != 0, ldb, b_stride};
    const double factor = number(alpha, a_type), of_former = number(beta, a_type);
    return gemm(handle, {m, n, k, batches, left, right, c, c_type, ldc, c_stride, factor, of_former});
}

API int cublasGemmEx(Handle* handle, int op_a, int op_b, int m, int n, int k, const void* alpha, const void* a, int a_type,
                     int lda, const void* b, int b_type, int ldb, const void* beta, void* c, int c_type, int ldc,
                     int compute, int algorithm) {
    return cublasGemmStridedBatchedEx(handle, op_a, op_b, m, n, k, alpha, a, a_type, lda, 0, b, b_type, ldb, 0, beta, c,
                                      c_type, ldc, 0, 1, compute, algorithm);
}

API int cublasSgemmStridedBatched(Handle* handle, int op_a, int op_b, int m, int n, int k, const float* alpha,
                                  const float* a, int lda, long long a_stride, const float* b, int ldb, long long b_stride,
                                  const float* beta, float* c, int ldc, long long c_stride, int batches) {
    return cublasGemmStridedBatchedEx(handle, op_a, op_b, m, n, k, alpha, a, F32, lda, a_stride, b, F32, ldb, b_stride, beta,
                                      c, F32, ldc, c_stride, batches, COMPUTE_32F, 0);
}

API int cublasSgemm_v2(Handle* handle, int op_a, int op_b, int m, int n, int k, const float* alpha, const float* a, int lda,
                       const float* b, int ldb, const float* beta, float* c, int ldc) {
    return cublasSgemmStridedBatched(handle, op_a, op_b, m, n, k, alpha, a, lda, 0, b, ldb, 0, beta, c, ldc, 0, 1);
}

API int cublasDgemmStridedBatched(Handle* handle, int op_a, int op_b, int m, int n, int k, const double* alpha,
                                  const double* a, int lda, long long a_stride, const double* b, int ldb, long long b_stride,
                                  const double* beta, double* c, int ldc, long long c_stride, int batches) {
    return cublasGemmStridedBatchedEx(handle, op_a, op_b, m, n, k, alpha, a, F64, lda, a_stride, b, F64, ldb, b_stride, beta,
                                      c, F64, ldc, c_stride, batches, COMPUTE_64F, 0);
}
