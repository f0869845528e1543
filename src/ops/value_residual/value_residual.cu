// RWKV-7's value residual; mod.rs has the maths. Each thread has eight neighbours, of `eights` in a
// row. T is the type of values, of the second part of dv, and of what goes back to products.
//
// Grid: rows * eights / 256 blocks of 256.
#include "../cuda/common.cuh"

namespace value_residual {

template <typename T> struct Inputs {
    const T *nu, *v_first;
    const float* gate;
    // v0, [C].
    const float* bias;
};

// Which eight numbers are this thread's, or -1.
__device__ inline int own(int rows, int eights) {
    int i = blockIdx.x * 256 + threadIdx.x;
    return i < rows * eights ? i : -1;
}

template <typename T> __device__ inline void forward(const Inputs<T>& in, T* v, int rows, int eights) {
    int i = own(rows, eights);
    if (i < 0) return;
    Eight nus = eight_at(in.nu, i), firsts = eight_at(in.v_first, i), gates = eight_at(in.gate, i), out;
    Eight biases = eight_at(in.bias, i % eights);
    for (int j = 0; j < 8; j++)
        out.at[j] = nus.at[j] + (firsts.at[j] - nus.at[j]) * logistic(gates.at[j] + biases.at[j]);
    put_eight(v, i, out);
}

// Both parts of dv, and of v_first what later layers ask; null where there are none.
template <typename T> struct Gradients {
    const float* recurrence;
    const T* output;
    const float* above;
};

template <typename T>
__device__ inline void backward(const Gradients<T>& d, const Inputs<T>& in, T* dnu, T* dgate, float* dv_first, int rows,
                                int eights) {
    int i = own(rows, eights);
    if (i < 0) return;
    Eight dvs = eight_at(d.recurrence, i), others = eight_at(d.output, i), above = {};
    if (d.above) above = eight_at(d.above, i);
    Eight nus = eight_at(in.nu, i), firsts = eight_at(in.v_first, i), gates = eight_at(in.gate, i);
    Eight biases = eight_at(in.bias, i % eights), dnus, dgates, dfirsts;
    for (int j = 0; j < 8; j++) {
        // 1 - beta is s(-gate), which keeps its digits.
        float x = gates.at[j] + biases.at[j], beta = logistic(x), rest = logistic(-x), dv = dvs.at[j] + others.at[j];
        dnus.at[j] = dv * rest;
        dgates.at[j] = dv * (firsts.at[j] - nus.at[j]) * beta * rest;
        dfirsts.at[j] = above.at[j] + dv * beta;
    }
    put_eight(dnu, i, dnus);
    put_eight(dgate, i, dgates);
    put_eight(dv_first, i, dfirsts);
}

template <typename T> __device__ inline void first_backward(const Gradients<T>& d, T* dnu, int rows, int eights) {
    int i = own(rows, eights);
    if (i < 0) return;
    Eight dvs = eight_at(d.recurrence, i), others = eight_at(d.output, i), above = {}, out;
    if (d.above) above = eight_at(d.above, i);
    for (int j = 0; j < 8; j++) out.at[j] = dvs.at[j] + others.at[j] + above.at[j];
    put_eight(dnu, i, out);
}

}  // namespace value_residual

#define VALUE_RESIDUAL(T, NAME)                                                                                           \
    KERNEL(256, value_residual_##NAME, const T* nu, const T* v_first, const float* gate, const float* bias, T* v,         \
           int rows, int eights) {                                                                                        \
        value_residual::forward<T>({nu, v_first, gate, bias}, v, rows, eights);                                           \
    }                                                                                                                     \
    KERNEL(256, value_residual_backward_##NAME, const float* recurrence, const T* output, const float* above,             \
           const T* nu, const T* v_first, const float* gate, const float* bias, T* dnu, T* dgate, float* dv_first,        \
           int rows, int eights) {                                                                                        \
        value_residual::backward<T>({recurrence, output, above}, {nu, v_first, gate, bias}, dnu, dgate, dv_first, rows,   \
                                    eights);                                                                              \
    }                                                                                                                     \
    KERNEL(256, value_residual_first_backward_##NAME, const float* recurrence, const T* output, const float* above,       \
           T* dnu, int rows, int eights) {                                                                                \
        value_residual::first_backward<T>({recurrence, output, above}, dnu, rows, eights);                                \
    }

VALUE_RESIDUAL(float, f32)
VALUE_RESIDUAL(bf16, bf16)
