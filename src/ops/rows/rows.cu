// Rows taken from a table, taken out of a batch, and put back; mod.rs says which.
#include "../cuda/common.cuh"

// One row of a batch: a token's embedding, or the soft prompt where the token is -1. Grid: rows
// blocks of 256.
template <typename W>
__device__ inline void embed(const W* table, const float* soft_prompt, const int* tokens, float* out, int channels) {
    long long row = blockIdx.x;
    int token = tokens[row];
    const W* from = table + static_cast<long long>(token) * channels;
    for (int c = threadIdx.x; c < channels; c += 256) out[row * channels + c] = token < 0 ? soft_prompt[c] : to_float(from[c]);
}

KERNEL(256, embed_f32, const float* table, const float* soft_prompt, const int* tokens, float* out, int channels) {
    embed<float>(table, soft_prompt, tokens, out, channels);
}
KERNEL(256, embed_bf16, const bf16* table, const float* soft_prompt, const int* tokens, float* out, int channels) {
    embed<bf16>(table, soft_prompt, tokens, out, channels);
}

// One row of one over one of another.
__device__ inline void move_row(const float* from, long long from_row, float* to, long long to_row, int channels) {
    for (int c = threadIdx.x; c < channels; c += 256) to[to_row * channels + c] = from[from_row * channels + c];
}

// out_i = x[rows_i]. Grid: picked rows blocks of 256.
KERNEL(256, take_rows, const float* x, const int* rows, float* out, int channels) {
    move_row(x, rows[blockIdx.x], out, blockIdx.x, channels);
}

// out[rows_i] = x_i, no row twice. Grid: picked rows blocks of 256.
KERNEL(256, put_rows, const float* x, const int* rows, float* out, int channels) {
    move_row(x, blockIdx.x, out, rows[blockIdx.x], channels);
}

// The sum of some rows, in order. Grid: channels / 256 blocks of 256.
KERNEL(256, sum_rows, const float* x, const int* rows, float* out, int count, int channels) {
    int c = blockIdx.x * 256 + threadIdx.x;
    if (c >= channels) return;
    float sum = 0.0f;
    for (int i = 0; i < count; i++) sum += x[static_cast<long long>(rows[i]) * channels + c];
    out[c] = sum;
}

// Copies list[i] = (from, to, count) for each i. Grid: (the largest count / 256, count of the list)
// blocks of 256.
KERNEL(256, copy_all, const long long* list, int count) {
    const long long* entry = list + blockIdx.y * 3;
    long long i = static_cast<long long>(blockIdx.x) * 256 + threadIdx.x;
    if (static_cast<int>(blockIdx.y) < count && i < entry[2])
        reinterpret_cast<float*>(entry[1])[i] = reinterpret_cast<const float*>(entry[0])[i];
}
