// A tensor reduced to one number for each block: of every REDUCE_THREADS * gridDim.x-th group of
// REDUCE_THREADS numbers. Grid: any number of blocks of REDUCE_THREADS; `parts` has one number for
// each.
#include "../cuda/common.cuh"

constexpr int REDUCE_THREADS = 256;

// `of` makes something of a number, `join` one of two; `none` is what joins without changing.
template <typename R, typename Of, typename Join>
__device__ inline void reduce(const float* values, R* parts, long long count, R none, Of of, Join join) {
    __shared__ R results[REDUCE_THREADS];
    R result = none;
    const long long step = static_cast<long long>(REDUCE_THREADS) * gridDim.x;
    for (long long i = static_cast<long long>(blockIdx.x) * REDUCE_THREADS + threadIdx.x; i < count; i += step)
        result = join(result, of(values[i]));
    results[threadIdx.x] = result;
    for (unsigned half = REDUCE_THREADS / 2; half > 0; half /= 2) {
        __syncthreads();
        if (threadIdx.x < half) results[threadIdx.x] = join(results[threadIdx.x], results[threadIdx.x + half]);
    }
    if (threadIdx.x == 0) parts[blockIdx.x] = results[0];
}

KERNEL(REDUCE_THREADS, sum_of_squares, const float* values, double* parts, long long count) {
    reduce(
        values, parts, count, 0.0, [](float x) { return static_cast<double>(x) * x; },
        [](double a, double b) { return a + b; });
}

// The bits of the largest absolute value. Without their sign, the bits of floats are in order as
// integers, and those of NaN come last.
KERNEL(REDUCE_THREADS, max_abs, const float* values, unsigned* parts, long long count) {
    reduce(
        values, parts, count, 0u, [](float x) { return __float_as_uint(x) & 0x7fffffffu; },
        [](unsigned a, unsigned b) { return a < b ? b : a; });
}
