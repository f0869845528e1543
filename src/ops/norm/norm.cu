// Normalisation of each group of a row, and the gate that may follow it: z = norm(x) * silu(gate). mod.rs has the maths.
//
// LANES neighbouring threads share a group: 8 for the small groups of a head, a whole block of 256 for a row. Each value
// is read three times, the last two from the cache.
#pragma once
#include "../cuda/common.cuh"

// Mean of a group and 1 / sqrt(variance + eps), the variance from the deviations, not from squares.
template <typename T, int LANES>
__device__ inline void moments(const T* x, int size, float eps, float& mean, float& scale) {
    constexpr int COUNT = Pack<T>::COUNT;
    int lane = threadIdx.x % LANES;
    float sum = 0.0f;
    for (int i = lane; i < size / COUNT; i += LANES) {
        Pack<T> values = pack_at(x, i);
        for (int j = 0; j < COUNT; j++) sum += to_float(values.at[j]);
    }
    mean = sum_over<LANES>(sum) / size;
    float square = 0.0f;
    for (int i = lane; i < size / COUNT; i += LANES) {
        Pack<T> values = pack_at(x, i);
        for (int j = 0; j < COUNT; j++) {
            float deviation = to_float(values.at[j]) - mean;
            square += deviation * deviation;
        }
    }
    scale = rsqrtf(sum_over<LANES>(square) / size + eps);
}

// Which group a thread works for: groups beyond the last are given the last one, and write nothing.
struct Group {
    long long number;
    bool exists;
};

template <int LANES> __device__ inline Group group_of_thread(long long groups) {
    long long number = static_cast<long long>(blockIdx.x) * (blockDim.x / LANES) + threadIdx.x / LANES;
    return {number < groups ? number : groups - 1, number < groups};
}

// `rows` picks rows of x, null is all of them; gate may be null.
template <typename T, int LANES>
__device__ inline void norm_gate(const T* x, const int* rows, const T* gate, const float* weight, const float* bias, T* z,
                                 int count, int channels, int groups, float eps) {
    constexpr int COUNT = Pack<T>::COUNT;
    Group group = group_of_thread<LANES>(static_cast<long long>(count) * groups);
    int size = channels / groups, first = group.number % groups * size;
    long long row = group.number / groups;
    x += (rows ? rows[row] : row) * channels + first;
    z += row * channels + first;
    float mean, scale;
    moments<T, LANES>(x, size, eps, mean, scale);
    if (!group.exists) return;
    for (int i = threadIdx.x % LANES; i < size / COUNT; i += LANES) {
        Pack<T> values = pack_at(x, i), gates, out;
        if (gate) gates = pack_at(gate + row * channels + first, i);
        for (int j = 0; j < COUNT; j++) {
            int c = first + i * COUNT + j;
            float normal = (to_float(values.at[j]) - mean) * scale * weight[c] + bias[c];
            float g = gate ? to_float(gates.at[j]) : 0.0f;
            from_float(out.at[j], gate ? normal * g * logistic(g) : normal);
        }
        pack_at(z, i) = out;
    }
}

// dx, and dgate where there is a gate.
template <typename T, int LANES>
__device__ inline void norm_gate_backward(const T* dz, const T* x, const T* gate, const float* weight, const float* bias,
                                          T* dx, T* dgate, int count, int channels, int groups, float eps) {
    constexpr int COUNT = Pack<T>::COUNT;
    Group group = group_of_thread<LANES>(static_cast<long long>(count) * groups);
    int size = channels / groups, first = group.number % groups * size;
    long long at = group.number / groups * channels + first;
    x += at, dz += at;
    float mean, scale;
    moments<T, LANES>(x, size, eps, mean, scale);
    // With d = dL/dnorm * weight: mean(d) and mean(d * n).
    float sum = 0.0f, product = 0.0f;
    for (int i = threadIdx.x % LANES; i < size / COUNT; i += LANES) {
        Pack<T> values = pack_at(x, i), ds = pack_at(dz, i), gates;
        if (gate) gates = pack_at(gate + at, i);
        for (int j = 0; j < COUNT; j++) {
            float g = gate ? to_float(gates.at[j]) : 0.0f;
            float d = to_float(ds.at[j]) * (gate ? g * logistic(g) : 1.0f) * weight[first + i * COUNT + j];
            sum += d;
            product += d * (to_float(values.at[j]) - mean) * scale;
        }
    }
    sum = sum_over<LANES>(sum) / size;
    product = sum_over<LANES>(product) / size;
    if (!group.exists) return;
    for (int i = threadIdx.x % LANES; i < size / COUNT; i += LANES) {
        Pack<T> values = pack_at(x, i), ds = pack_at(dz, i), gates, out, d_gates;
        if (gate) gates = pack_at(gate + at, i);
        for (int j = 0; j < COUNT; j++) {
            int c = first + i * COUNT + j;
            float n = (to_float(values.at[j]) - mean) * scale, g = gate ? to_float(gates.at[j]) : 0.0f;
            float s = logistic(g), d = to_float(ds.at[j]);
            float d_norm = d * (gate ? g * s : 1.0f) * weight[c];
            from_float(out.at[j], (d_norm - sum - n * product) * scale);
            // 1 - s(g) is s(-g), which keeps its digits.
            if (gate) from_float(d_gates.at[j], d * (n * weight[c] + bias[c]) * s * (1.0f + g * logistic(-g)));
        }
        pack_at(dx + at, i) = out;
        if (gate) pack_at(dgate + at, i) = d_gates;
    }
}

// Grid: groups of all rows * LANES / 256 blocks of 256.
#define NORM(T, NAME, LANES)                                                                                              \
    KERNEL(256, norm_gate_##LANES##_##NAME, const T* x, const int* rows, const T* gate, const float* weight,              \
           const float* bias, T* z, int count, int channels, int groups, float eps) {                                     \
        norm_gate<T, LANES>(x, rows, gate, weight, bias, z, count, channels, groups, eps);                                \
    }                                                                                                                     \
    KERNEL(256, norm_gate_backward_##LANES##_##NAME, const T* dz, const T* x, const T* gate, const float* weight,         \
           const float* bias, T* dx, T* dgate, int count, int channels, int groups, float eps) {                          \
        norm_gate_backward<T, LANES>(dz, x, gate, weight, bias, dx, dgate, count, channels, groups, eps);                 \
    }

NORM(float, f32, 8)
NORM(float, f32, 256)
NORM(bf16, bf16, 8)
NORM(bf16, bf16, 256)
