// What sequences that start from one state give its gradient together.
#include "common.cuh"

// The sum `[n]` of starts `[sequences, n]`, in order, so that the same batch gives the same sum.
// Grid: n / 256 blocks of 256.
KERNEL(256, sum_over_sequences, const float* starts, float* sums, int sequences, int n) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    float sum = 0.0f;
    for (int sequence = 0; sequence < sequences; sequence++) sum += starts[static_cast<long long>(sequence) * n + i];
    sums[i] = sum;
}
