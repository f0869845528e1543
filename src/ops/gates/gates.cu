// The gates that look at one number at a time; mod.rs has the maths. The norm's gate is with the norm.
//
// Each thread has one pack of neighbours. Grid: packs / 256 blocks of 256.
#include "../cuda/common.cuh"

// This thread's pack of some numbers.
template <typename T> __device__ inline Pack<T>& own(T* values) {
    return reinterpret_cast<Pack<T>*>(values)[static_cast<long long>(blockIdx.x) * 256 + threadIdx.x];
}
template <typename T> __device__ inline const Pack<T>& own(const T* values) { return own(const_cast<T*>(values)); }

__device__ inline bool has_own(long long packs) { return static_cast<long long>(blockIdx.x) * 256 + threadIdx.x < packs; }

template <typename T>
__device__ inline void sigmoid_mul_onto(const T* x, const T* r, const T* v, T* z, long long packs) {
    if (!has_own(packs)) return;
    Pack<T> xs = own(x), rs = own(r), vs = own(v), out;
    for (int j = 0; j < Pack<T>::COUNT; j++)
        from_float(out.at[j], to_float(xs.at[j]) + logistic(to_float(rs.at[j])) * to_float(vs.at[j]));
    own(z) = out;
}

template <typename T>
__device__ inline void sigmoid_mul_backward(const T* dz, const T* r, const T* v, T* dr, T* dv, long long packs) {
    if (!has_own(packs)) return;
    Pack<T> ds = own(dz), rs = own(r), vs = own(v), d_rs, d_vs;
    for (int j = 0; j < Pack<T>::COUNT; j++) {
        float d = to_float(ds.at[j]), gate = to_float(rs.at[j]), s = logistic(gate);
        from_float(d_rs.at[j], d * to_float(vs.at[j]) * s * logistic(-gate));
        from_float(d_vs.at[j], d * s);
    }
    own(dr) = d_rs;
    own(dv) = d_vs;
}

template <typename T> __device__ inline void relu_squared(const T* k, T* z, long long packs) {
    if (!has_own(packs)) return;
    Pack<T> ks = own(k), out;
    for (int j = 0; j < Pack<T>::COUNT; j++) {
        float positive = fmaxf(to_float(ks.at[j]), 0.0f);
        from_float(out.at[j], positive * positive);
    }
    own(z) = out;
}

template <typename T> __device__ inline void relu_squared_backward(const T* dz, const T* k, T* dk, long long packs) {
    if (!has_own(packs)) return;
    Pack<T> ds = own(dz), ks = own(k), out;
    for (int j = 0; j < Pack<T>::COUNT; j++)
        from_float(out.at[j], to_float(ds.at[j]) * 2.0f * fmaxf(to_float(ks.at[j]), 0.0f));
    own(dk) = out;
}

#define GATES(T, NAME)                                                                                                    \
    KERNEL(256, sigmoid_mul_onto_##NAME, const T* x, const T* r, const T* v, T* z, long long packs) {                     \
        sigmoid_mul_onto<T>(x, r, v, z, packs);                                                                           \
    }                                                                                                                     \
    KERNEL(256, sigmoid_mul_backward_##NAME, const T* dz, const T* r, const T* v, T* dr, T* dv, long long packs) {        \
        sigmoid_mul_backward<T>(dz, r, v, dr, dv, packs);                                                                 \
    }                                                                                                                     \
    KERNEL(256, relu_squared_##NAME, const T* k, T* z, long long packs) { relu_squared<T>(k, z, packs); }                 \
    KERNEL(256, relu_squared_backward_##NAME, const T* dz, const T* k, T* dk, long long packs) {                          \
        relu_squared_backward<T>(dz, k, dk, packs);                                                                       \
    }

GATES(float, f32)
GATES(bf16, bf16)
