// The recurrence's keys, and the gradients that go back through them; mod.rs has the maths. Eight
// neighbouring threads share a head. T is the type of kappa and k, and of what goes back to products.
//
// Grid: heads of all rows * 8 / 256 blocks of 256.
#include "../norm/norm.cuh"

namespace delta_keys {

constexpr int LANES = 8;
// What a head is at least divided by.
constexpr float SHORTEST = 1e-12f;

template <typename T> struct Inputs {
    const T* kappa;
    const float* a;
    // k_k, k_a and a0, [C].
    const float *removal, *share, *rate;
};

// The length of u = kappa * k_k over a head; NaN stays NaN.
template <typename T> __device__ inline float length(const T* kappa, const float* removal, int size) {
    float sum = 0.0f;
    for (int i = threadIdx.x % LANES; i < size / 8; i += LANES) {
        Eight kappas = eight_at(kappa, i), removals = eight_at(removal, i);
        for (int j = 0; j < 8; j++) {
            float u = kappas.at[j] * removals.at[j];
            sum += u * u;
        }
    }
    return sqrtf(sum_over<LANES>(sum));
}

template <typename T>
__device__ inline void forward(const Inputs<T>& in, float* kk, float* alpha, T* k, int rows, int channels, int heads) {
    Group group = group_of_thread<LANES>(static_cast<long long>(rows) * heads);
    int size = channels / heads, first = group.number % heads * size;
    long long at = group.number / heads * channels + first;
    float n = length(in.kappa + at, in.removal + first, size);
    if (!group.exists) return;
    float scale = 1.0f / (n < SHORTEST ? SHORTEST : n);
    for (int i = threadIdx.x % LANES; i < size / 8; i += LANES) {
        Eight kappas = eight_at(in.kappa + at, i), as = eight_at(in.a + at, i), kks, alphas, ks;
        Eight removals = eight_at(in.removal + first, i), shares = eight_at(in.share + first, i);
        Eight rates = eight_at(in.rate + first, i);
        for (int j = 0; j < 8; j++) {
            kks.at[j] = kappas.at[j] * removals.at[j] * scale;
            alphas.at[j] = logistic(as.at[j] + rates.at[j]);
            ks.at[j] = kappas.at[j] * (1.0f + (alphas.at[j] - 1.0f) * shares.at[j]);
        }
        put_eight(kk + at, i, kks);
        put_eight(alpha + at, i, alphas);
        put_eight(k + at, i, ks);
    }
}

struct Gradients {
    const float *dkk, *dalpha, *dk;
};

template <typename T>
__device__ inline void backward(const Gradients& d, const Inputs<T>& in, T* dkappa, T* da, int rows, int channels, int heads) {
    Group group = group_of_thread<LANES>(static_cast<long long>(rows) * heads);
    int size = channels / heads, first = group.number % heads * size;
    long long at = group.number / heads * channels + first;
    float n = length(in.kappa + at, in.removal + first, size);
    float scale = n <= SHORTEST ? 0.0f : 1.0f / n, along = 0.0f;
    for (int i = threadIdx.x % LANES; i < size / 8; i += LANES) {
        Eight kappas = eight_at(in.kappa + at, i), removals = eight_at(in.removal + first, i), dkks = eight_at(d.dkk + at, i);
        for (int j = 0; j < 8; j++) along += kappas.at[j] * removals.at[j] * dkks.at[j];
    }
    along = sum_over<LANES>(along) * scale * scale;
    if (!group.exists) return;
    for (int i = threadIdx.x % LANES; i < size / 8; i += LANES) {
        Eight kappas = eight_at(in.kappa + at, i), as = eight_at(in.a + at, i), dkappas, das;
        Eight removals = eight_at(in.removal + first, i), shares = eight_at(in.share + first, i);
        Eight rates = eight_at(in.rate + first, i);
        Eight dkks = eight_at(d.dkk + at, i), dalphas = eight_at(d.dalpha + at, i), dks = eight_at(d.dk + at, i);
        for (int j = 0; j < 8; j++) {
            // 1 - alpha is s(-a), which keeps its digits.
            float alpha = logistic(as.at[j] + rates.at[j]), rest = logistic(-as.at[j] - rates.at[j]);
            float du = (dkks.at[j] - kappas.at[j] * removals.at[j] * along) * scale;
            dkappas.at[j] = dks.at[j] * (1.0f - rest * shares.at[j]) + du * removals.at[j];
            das.at[j] = (dalphas.at[j] + dks.at[j] * kappas.at[j] * shares.at[j]) * alpha * rest;
        }
        put_eight(dkappa + at, i, dkappas);
        put_eight(da + at, i, das);
    }
}

}  // namespace delta_keys

#define DELTA_KEYS(T, NAME)                                                                                               \
    KERNEL(256, delta_keys_##NAME, const T* kappa, const float* a, const float* removal, const float* share,              \
           const float* rate, float* kk, float* alpha, T* k, int rows, int channels, int heads) {                         \
        delta_keys::forward<T>({kappa, a, removal, share, rate}, kk, alpha, k, rows, channels, heads);                    \
    }                                                                                                                     \
    KERNEL(256, delta_keys_backward_##NAME, const float* dkk, const float* dalpha, const float* dk, const T* kappa,       \
           const float* a, const float* removal, const float* share, const float* rate, T* dkappa, T* da, int rows,       \
           int channels, int heads) {                                                                                     \
        delta_keys::backward<T>({dkk, dalpha, dk}, {kappa, a, removal, share, rate}, dkappa, da, rows, channels, heads);  \
    }

DELTA_KEYS(float, f32)
DELTA_KEYS(bf16, bf16)
