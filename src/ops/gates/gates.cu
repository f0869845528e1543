// The gates that look at one number at a time; mod.rs has the maths. The norm's gate is with the
// norm.
//
// Each thread has eight neighbours. Grid: eights / 256 blocks of 256.
#include "../cuda/common.cuh"

// Which eight numbers are this thread's, or -1.
__device__ inline int own(int eights) {
    int i = blockIdx.x * 256 + threadIdx.x;
    return i < eights ? i : -1;
}

template <typename T>
__device__ inline void sigmoid_mul_onto(const float* x, const T* r, const T* v, float* z, int eights) {
    int i = own(eights);
    if (i < 0) return;
    Eight xs = eight_at(x, i), rs = eight_at(r, i), vs = eight_at(v, i), out;
    for (int j = 0; j < 8; j++) out.at[j] = xs.at[j] + logistic(rs.at[j]) * vs.at[j];
    put_eight(z, i, out);
}

template <typename T>
__device__ inline void sigmoid_mul_backward(const float* dz, const T* r, const T* v, T* dr, T* dv, int eights) {
    int i = own(eights);
    if (i < 0) return;
    Eight ds = eight_at(dz, i), rs = eight_at(r, i), vs = eight_at(v, i), d_rs, d_vs;
    for (int j = 0; j < 8; j++) {
        float s = logistic(rs.at[j]);
        d_rs.at[j] = ds.at[j] * vs.at[j] * s * logistic(-rs.at[j]);
        d_vs.at[j] = ds.at[j] * s;
    }
    put_eight(dr, i, d_rs);
    put_eight(dv, i, d_vs);
}

template <typename T> __device__ inline void relu_squared(const T* k, T* z, int eights) {
    int i = own(eights);
    if (i < 0) return;
    Eight ks = eight_at(k, i), out;
    for (int j = 0; j < 8; j++) out.at[j] = fmaxf(ks.at[j], 0.0f) * fmaxf(ks.at[j], 0.0f);
    put_eight(z, i, out);
}

template <typename T> __device__ inline void relu_squared_backward(const T* dz, const T* k, T* dk, int eights) {
    int i = own(eights);
    if (i < 0) return;
    Eight ds = eight_at(dz, i), ks = eight_at(k, i), out;
    for (int j = 0; j < 8; j++) out.at[j] = ds.at[j] * 2.0f * fmaxf(ks.at[j], 0.0f);
    put_eight(dk, i, out);
}

#define GATES(T, NAME)                                                                                                    \
    KERNEL(256, sigmoid_mul_onto_##NAME, const float* x, const T* r, const T* v, float* z, int eights) {                  \
        sigmoid_mul_onto<T>(x, r, v, z, eights);                                                                          \
    }                                                                                                                     \
    KERNEL(256, sigmoid_mul_backward_##NAME, const float* dz, const T* r, const T* v, T* dr, T* dv, int eights) {         \
        sigmoid_mul_backward<T>(dz, r, v, dr, dv, eights);                                                                \
    }                                                                                                                     \
    KERNEL(256, relu_squared_##NAME, const T* k, T* z, int eights) { relu_squared<T>(k, z, eights); }                     \
    KERNEL(256, relu_squared_backward_##NAME, const T* dz, const T* k, T* dk, int eights) {                               \
        relu_squared_backward<T>(dz, k, dk, eights);                                                                      \
    }

GATES(float, f32)
GATES(bf16, bf16)
