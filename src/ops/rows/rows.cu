// Rows taken from a table, taken out of a batch, and put back; mod.rs says which.
#include "../cuda/common.cuh"

// One row of a batch: a token's embedding, or the soft prompt where the token is -1. Grid: rows blocks of 256.
template <typename W, typename T>
__device__ inline void embed(const W* table, const float* soft_prompt, const int* tokens, T* out, int channels) {
    long long row = blockIdx.x;
    int token = tokens[row];
    const W* from = table + static_cast<long long>(token) * channels;
    for (int c = threadIdx.x; c < channels; c += 256)
        from_float(out[row * channels + c], token < 0 ? soft_prompt[c] : to_float(from[c]));
}

// out_i = x[rows_i]. Grid: picked rows blocks of 256.
template <typename T> __device__ inline void take_rows(const T* x, const int* rows, T* out, int channels) {
    long long from = static_cast<long long>(rows[blockIdx.x]) * channels, to = static_cast<long long>(blockIdx.x) * channels;
    for (int i = threadIdx.x; i < channels / Pack<T>::COUNT; i += 256) pack_at(out + to, i) = pack_at(x + from, i);
}

// out[rows_i] = x_i, no row twice. Grid: picked rows blocks of 256.
template <typename T> __device__ inline void put_rows(const T* x, const int* rows, T* out, int channels) {
    long long from = static_cast<long long>(blockIdx.x) * channels, to = static_cast<long long>(rows[blockIdx.x]) * channels;
    for (int i = threadIdx.x; i < channels / Pack<T>::COUNT; i += 256) pack_at(out + to, i) = pack_at(x + from, i);
}

// The sum of some rows, in order. Grid: channels / 256 blocks of 256.
template <typename T> __device__ inline void sum_rows(const T* x, const int* rows, float* out, int count, int channels) {
    int c = blockIdx.x * 256 + threadIdx.x;
    if (c >= channels) return;
    float sum = 0.0f;
    for (int i = 0; i < count; i++) sum += to_float(x[static_cast<long long>(rows[i]) * channels + c]);
    out[c] = sum;
}

#define EMBED(W, FROM, T, TO)                                                                                             \
    KERNEL(256, embed_##FROM##_##TO, const W* table, const float* soft_prompt, const int* tokens, T* out, int channels) { \
        embed<W, T>(table, soft_prompt, tokens, out, channels);                                                           \
    }

#define ROWS(T, NAME)                                                                                                     \
    KERNEL(256, take_rows_##NAME, const T* x, const int* rows, T* out, int channels) { take_rows<T>(x, rows, out, channels); } \
    KERNEL(256, put_rows_##NAME, const T* x, const int* rows, T* out, int channels) { put_rows<T>(x, rows, out, channels); } \
    KERNEL(256, sum_rows_##NAME, const T* x, const int* rows, float* out, int count, int channels) {                      \
        sum_rows<T>(x, rows, out, count, channels);                                                                       \
    }

EMBED(float, f32, float, f32)
EMBED(bf16, bf16, float, f32)
EMBED(bf16, bf16, bf16, bf16)
ROWS(float, f32)
ROWS(bf16, bf16)

// Copies list[i] = (from, to, count) for each i. Grid: (the largest count / 256, count of the list) blocks of 256.
KERNEL(256, copy_all, const long long* list, int count) {
    const long long* entry = list + blockIdx.y * 3;
    long long i = static_cast<long long>(blockIdx.x) * 256 + threadIdx.x;
    if (static_cast<int>(blockIdx.y) < count && i < entry[2])
        reinterpret_cast<float*>(entry[1])[i] = reinterpret_cast<const float*>(entry[0])[i];
}
