// The activations between the two products of a low rank, into the type T that the second one takes;
// mod.rs has the maths. Each thread has eight neighbours.
//
// Grid: eights / 256 blocks of 256.
#include "../cuda/common.cuh"

namespace low_rank {

struct Tanh {
    static __device__ float of(float h) { return tanhf(h); }
    // 1 - tanh^2, which keeps its digits where tanh is near 1.
    static __device__ float slope(float h) { return 4.0f * logistic(2.0f * h) * logistic(-2.0f * h); }
};

struct Sigmoid {
    static __device__ float of(float h) { return logistic(h); }
    static __device__ float slope(float h) { return logistic(h) * logistic(-h); }
};

template <typename A, typename T> __device__ inline void activate(const float* h, T* out, int eights) {
    int i = blockIdx.x * 256 + threadIdx.x;
    if (i >= eights) return;
    Eight values = eight_at(h, i);
    for (int j = 0; j < 8; j++) values.at[j] = A::of(values.at[j]);
    put_eight(out, i, values);
}

template <typename A, typename T>
__device__ inline void activate_backward(const float* d, const float* h, T* out, int eights) {
    int i = blockIdx.x * 256 + threadIdx.x;
    if (i >= eights) return;
    Eight values = eight_at(h, i), ds = eight_at(d, i);
    for (int j = 0; j < 8; j++) values.at[j] = ds.at[j] * A::slope(values.at[j]);
    put_eight(out, i, values);
}

}  // namespace low_rank

#define LOW_RANK(A, ACTIVATION, T, NAME)                                                                                  \
    KERNEL(256, low_rank_##ACTIVATION##_##NAME, const float* h, T* out, int eights) {                                     \
        low_rank::activate<low_rank::A, T>(h, out, eights);                                                               \
    }                                                                                                                     \
    KERNEL(256, low_rank_##ACTIVATION##_backward_##NAME, const float* d, const float* h, T* out, int eights) {            \
        low_rank::activate_backward<low_rank::A, T>(d, h, out, eights);                                                   \
    }

LOW_RANK(Tanh, tanh, float, f32)
LOW_RANK(Tanh, tanh, bf16, bf16)
LOW_RANK(Sigmoid, sigmoid, float, f32)
LOW_RANK(Sigmoid, sigmoid, bf16, bf16)
