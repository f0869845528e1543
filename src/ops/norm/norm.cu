// Normalisation of each group of a row, and the gate that may follow it: z = norm(x) * silu(gate).
// mod.rs has the maths.
//
// LANES neighbouring threads share a group: 8 for the small groups of a head, a whole block of 256
// for a row. Each value is read three times, the last two from the cache. X is the type of x, Z
// that of z and the gate.
#include "norm.cuh"

// gate may be null.
template <typename X, typename Z, int LANES>
__device__ inline void norm_gate(const X* x, const Z* gate, const float* weight, const float* bias, Z* z,
                                 int count, int channels, int groups, float eps) {
    Group group = group_of_thread<LANES>(static_cast<long long>(count) * groups);
    int size = channels / groups, first = group.number % groups * size;
    long long at = group.number / groups * channels + first;
    x += at;
    float mean, scale;
    moments<X, LANES>(x, size, eps, mean, scale);
    if (!group.exists) return;
    for (int i = threadIdx.x % LANES; i < size / 8; i += LANES) {
        Eight values = eight_at(x, i), gates = {}, out;
        Eight weights = eight_at(weight + first, i), biases = eight_at(bias + first, i);
        if (gate) gates = eight_at(gate + at, i);
        for (int j = 0; j < 8; j++) {
            float normal = (values.at[j] - mean) * scale * weights.at[j] + biases.at[j], g = gates.at[j];
            out.at[j] = gate ? normal * g * logistic(g) : normal;
        }
        put_eight(z + at, i, out);
    }
}

// dx, and dgate where there is a gate.
template <typename X, typename Z, int LANES>
__device__ inline void norm_gate_backward(const Z* dz, const X* x, const Z* gate, const float* weight, const float* bias,
                                          X* dx, Z* dgate, int count, int channels, int groups, float eps) {
    Group group = group_of_thread<LANES>(static_cast<long long>(count) * groups);
    int size = channels / groups, first = group.number % groups * size;
    long long at = group.number / groups * channels + first;
    float mean, scale;
    moments<X, LANES>(x + at, size, eps, mean, scale);
    // With d = dL/dnorm * weight: mean(d) and mean(d * n).
    float sum = 0.0f, product = 0.0f;
    for (int i = threadIdx.x % LANES; i < size / 8; i += LANES) {
        Eight values = eight_at(x + at, i), ds = eight_at(dz + at, i), weights = eight_at(weight + first, i), gates = {};
        if (gate) gates = eight_at(gate + at, i);
        for (int j = 0; j < 8; j++) {
            float g = gates.at[j];
            float d = ds.at[j] * (gate ? g * logistic(g) : 1.0f) * weights.at[j];
            sum += d;
            product += d * (values.at[j] - mean) * scale;
        }
    }
    sum = sum_over<LANES>(sum) / size;
    product = sum_over<LANES>(product) / size;
    if (!group.exists) return;
    for (int i = threadIdx.x % LANES; i < size / 8; i += LANES) {
        Eight values = eight_at(x + at, i), ds = eight_at(dz + at, i), gates = {}, out, d_gates;
        Eight weights = eight_at(weight + first, i), biases = eight_at(bias + first, i);
        if (gate) gates = eight_at(gate + at, i);
        for (int j = 0; j < 8; j++) {
            float n = (values.at[j] - mean) * scale, g = gates.at[j], s = logistic(g), d = ds.at[j];
            float d_norm = d * (gate ? g * s : 1.0f) * weights.at[j];
            out.at[j] = (d_norm - sum - n * product) * scale;
            // 1 - s(g) is s(-g), which keeps its digits.
            d_gates.at[j] = d * (n * weights.at[j] + biases.at[j]) * s * (1.0f + g * logistic(-g));
        }
        put_eight(dx + at, i, out);
        if (gate) put_eight(dgate + at, i, d_gates);
    }
}

// Grid: groups of all rows * LANES / 256 blocks of 256.
#define NORM(X, FROM, Z, TO, LANES)                                                                                       \
    KERNEL(256, norm_gate_##LANES##_##FROM##_##TO, const X* x, const Z* gate, const float* weight,       \
           const float* bias, Z* z, int count, int channels, int groups, float eps) {                                     \
        norm_gate<X, Z, LANES>(x, gate, weight, bias, z, count, channels, groups, eps);                             \
    }                                                                                                                     \
    KERNEL(256, norm_gate_backward_##LANES##_##FROM##_##TO, const Z* dz, const X* x, const Z* gate, const float* weight,  \
           const float* bias, X* dx, Z* dgate, int count, int channels, int groups, float eps) {                          \
        norm_gate_backward<X, Z, LANES>(dz, x, gate, weight, bias, dx, dgate, count, channels, groups, eps);              \
    }

// A head's groups, of what WKV gives (a whole row where there is one head); and rows, of what goes
// from layer to layer.
NORM(float, f32, float, f32, 8)
NORM(bf16, bf16, bf16, bf16, 8)
NORM(bf16, bf16, bf16, bf16, 256)
NORM(float, f32, float, f32, 256)
NORM(float, f32, bf16, bf16, 256)
