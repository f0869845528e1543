// RWKV-7's output of its recurrence; mod.rs has the maths. Eight neighbouring threads share a head.
// T is the type of y, v, z and their gradients, and of the gate's.
//
// Grid: heads of all rows * 8 / 256 blocks of 256.
#include "../norm/norm.cuh"

namespace delta_output {

constexpr int LANES = 8;

template <typename T> struct Inputs {
    const T* y;
    const float* q;
    const T* v;
    const float* gate;
    // The norm's, [C].
    const float *weight, *bias;
};

template <typename T>
__device__ inline void forward(const Inputs<T>& in, T* z, int rows, int channels, int heads, float eps) {
    Group group = group_of_thread<LANES>(static_cast<long long>(rows) * heads);
    int size = channels / heads, first = group.number % heads * size;
    long long at = group.number / heads * channels + first;
    float mean, scale;
    moments<T, LANES>(in.y + at, size, eps, mean, scale);
    if (!group.exists) return;
    float q = in.q[group.number];
    for (int i = threadIdx.x % LANES; i < size / 8; i += LANES) {
        Eight ys = eight_at(in.y + at, i), vs = eight_at(in.v + at, i), gates = eight_at(in.gate + at, i), out;
        Eight weights = eight_at(in.weight + first, i), biases = eight_at(in.bias + first, i);
        for (int j = 0; j < 8; j++) {
            float normal = (ys.at[j] - mean) * scale * weights.at[j] + biases.at[j];
            out.at[j] = (normal + q * vs.at[j]) * gates.at[j];
        }
        put_eight(z + at, i, out);
    }
}

template <typename T> struct Gradients {
    T* dy;
    float* dq;
    T *dv, *dgate;
};

template <typename T>
__device__ inline void backward(const T* dz, const Inputs<T>& in, const Gradients<T>& to, int rows, int channels, int heads,
                                float eps) {
    Group group = group_of_thread<LANES>(static_cast<long long>(rows) * heads);
    int size = channels / heads, first = group.number % heads * size;
    long long at = group.number / heads * channels + first;
    float mean, scale;
    moments<T, LANES>(in.y + at, size, eps, mean, scale);
    // With d = e * weight: mean(d) and mean(d * n).
    float sum = 0.0f, product = 0.0f, dq = 0.0f;
    for (int i = threadIdx.x % LANES; i < size / 8; i += LANES) {
        Eight dzs = eight_at(dz + at, i), ys = eight_at(in.y + at, i), vs = eight_at(in.v + at, i);
        Eight gates = eight_at(in.gate + at, i), weights = eight_at(in.weight + first, i);
        for (int j = 0; j < 8; j++) {
            float e = dzs.at[j] * gates.at[j], d = e * weights.at[j];
            sum += d;
            product += d * (ys.at[j] - mean) * scale;
            dq += e * vs.at[j];
        }
    }
    sum = sum_over<LANES>(sum) / size;
    product = sum_over<LANES>(product) / size;
    dq = sum_over<LANES>(dq);
    if (!group.exists) return;
    float q = in.q[group.number];
    if (threadIdx.x % LANES == 0) to.dq[group.number] = dq;
    for (int i = threadIdx.x % LANES; i < size / 8; i += LANES) {
        Eight dzs = eight_at(dz + at, i), ys = eight_at(in.y + at, i), vs = eight_at(in.v + at, i);
        Eight gates = eight_at(in.gate + at, i), weights = eight_at(in.weight + first, i);
        Eight biases = eight_at(in.bias + first, i), dys, dvs, dgates;
        for (int j = 0; j < 8; j++) {
            float n = (ys.at[j] - mean) * scale, e = dzs.at[j] * gates.at[j];
            dys.at[j] = (e * weights.at[j] - sum - n * product) * scale;
            dvs.at[j] = q * e;
            dgates.at[j] = dzs.at[j] * (n * weights.at[j] + biases.at[j] + q * vs.at[j]);
        }
        put_eight(to.dy + at, i, dys);
        put_eight(to.dv + at, i, dvs);
        put_eight(to.dgate + at, i, dgates);
    }
}

}  // namespace delta_output

#define DELTA_OUTPUT(T, NAME)                                                                                             \
    KERNEL(256, delta_output_##NAME, const T* y, const float* q, const T* v, const float* gate, const float* weight,      \
           const float* bias, T* z, int rows, int channels, int heads, float eps) {                                       \
        delta_output::forward<T>({y, q, v, gate, weight, bias}, z, rows, channels, heads, eps);                           \
    }                                                                                                                     \
    KERNEL(256, delta_output_backward_##NAME, const T* dz, const T* y, const float* q, const T* v, const float* gate,     \
           const float* weight, const float* bias, T* dy, float* dq, T* dv, T* dgate, int rows, int channels, int heads,  \
           float eps) {                                                                                                   \
        delta_output::backward<T>(dz, {y, q, v, gate, weight, bias}, {dy, dq, dv, dgate}, rows, channels, heads, eps);    \
    }

DELTA_OUTPUT(float, f32)
DELTA_OUTPUT(bf16, bf16)
