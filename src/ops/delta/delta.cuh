// What all kernels of RWKV-7's recurrence share: their inputs, and which part of them a block has.
#pragma once

#include "../cuda/common.cuh"

namespace delta {
namespace {

// c: e^-0.5.
constexpr float STRONGEST = 0.60653066f;

enum class Direction { FORWARD, BACKWARD };

// [N, H K], but for w0 [H K] and the offsets [sequences + 1].
template <typename T> struct Inputs {
    const T* r;
    const float* w;
    const T *k, *v;
    const float *kk, *alpha, *w0;
    const int* offsets;
};

#define DELTA_INPUTS(T)                                                                                                   \
    const T *r, const float *w, const T *k, const T *v, const float *kk, const float *alpha, const float *w0,             \
        const int *offsets
#define DELTA_GIVEN {r, w, k, v, kk, alpha, w0, offsets}

// What a sweep by values writes: y or dv, sa or dsa, and S after each sequence or the gradient of S
// before it.
template <typename O> struct ValueOutputs {
    O* sums;
    float *back, *after;
};

// What a sweep by keys writes: G v and G sa backward, S dsa and S dy forward.
struct KeyOutputs {
    float *gv, *gsa, *sdsa, *sdy;
};

// The sequence and the head of a block, of a grid of (sequences, H).
template <int K> struct Place {
    int begin, rows, sequence, head, heads;

    __device__ explicit Place(const int* offsets)
        : begin(offsets[blockIdx.x]), rows(offsets[blockIdx.x + 1] - begin), sequence(blockIdx.x), head(blockIdx.y),
          heads(gridDim.y) {}

    // Where the head's numbers of a row of the sequence lie.
    __device__ long long at(int row) const { return (static_cast<long long>(begin + row) * heads + head) * K; }
    // Where its matrix lies in [H, K, K], and in [sequences, H, K, K].
    __device__ long long matrix() const { return static_cast<long long>(head) * K * K; }
    __device__ long long matrix_of_sequence() const {
        return (static_cast<long long>(sequence) * heads + head) * K * K;
    }
};

}  // namespace
}  // namespace delta
