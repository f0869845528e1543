// One step of Adam in one pass; mod.rs has the source. The corrections for the first steps come as factors.
#include "../cuda/common.cuh"

// Grid: count / 256 blocks of 256.
KERNEL(256, adam, float* value, float* first, float* second, const float* gradient, float beta1, float beta2, float rate,
       float kept, float correct1, float correct2, float eps, int count) {
    int i = blockIdx.x * 256 + threadIdx.x;
    if (i >= count) return;
    float g = gradient[i];
    float mean = first[i] * beta1 + g * (1.0f - beta1);
    float square = second[i] * beta2 + g * g * (1.0f - beta2);
    first[i] = mean;
    second[i] = square;
    value[i] = value[i] * kept - rate * (mean * correct1 / (sqrtf(square * correct2) + eps));
}

// The sum of squares of the numbers that are a block's: every 256 * gridDim.x-th group of 256. Grid: any number of
// blocks of 256; parts has one number for each.
KERNEL(256, sum_of_squares, const float* values, double* parts, long long count) {
    __shared__ double sums[256];
    double sum = 0.0;
    for (long long i = blockIdx.x * 256 + threadIdx.x; i < count; i += 256 * gridDim.x)
        sum += static_cast<double>(values[i]) * values[i];
    sums[threadIdx.x] = sum;
    for (unsigned half = 128; half > 0; half /= 2) {
        __syncthreads();
        if (threadIdx.x < half) sums[threadIdx.x] += sums[threadIdx.x + half];
    }
    if (threadIdx.x == 0) parts[blockIdx.x] = sums[0];
}
