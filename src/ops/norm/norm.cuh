// The moments of a group of numbers, computed by the threads that share it, for norm.cu and
// token_shift.cu.
#pragma once
#include "../cuda/common.cuh"

// Mean of a group and 1 / sqrt(variance + eps), the variance from the deviations, not from squares.
template <typename X, int LANES>
__device__ inline void moments(const X* x, int size, float eps, float& mean, float& scale) {
    int lane = threadIdx.x % LANES;
    float sum = 0.0f;
    for (int i = lane; i < size / 8; i += LANES) {
        Eight values = eight_at(x, i);
        for (int j = 0; j < 8; j++) sum += values.at[j];
    }
    mean = sum_over<LANES>(sum) / size;
    float square = 0.0f;
    for (int i = lane; i < size / 8; i += LANES) {
        Eight values = eight_at(x, i);
        for (int j = 0; j < 8; j++) square += (values.at[j] - mean) * (values.at[j] - mean);
    }
    scale = rsqrtf(sum_over<LANES>(square) / size + eps);
}
