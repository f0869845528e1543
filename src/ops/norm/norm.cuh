// Groups of neighbouring numbers of a row, as the heads are, each of which some threads share; and
// the moments of one.
#pragma once
#include "../cuda/common.cuh"

// Which group a thread works for: groups beyond the last are given the last one, and write nothing.
struct Group {
    long long number;
    bool exists;
};

template <int LANES> __device__ inline Group group_of_thread(long long groups) {
    long long number = static_cast<long long>(blockIdx.x) * (blockDim.x / LANES) + threadIdx.x / LANES;
    return {number < groups ? number : groups - 1, number < groups};
}

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
