// LayerNorm and token shift in one pass each way; mod.rs has the maths.
//
// A block goes through RUN rows in order (backwards: in reverse), and keeps what one row needs of
// the next in shared memory: the row before a run is the only one that is read twice. A thread
// meets the same channels in every row, so that what it keeps there is its own and needs no
// barrier.
#include "../norm/norm.cuh"

constexpr int RUN = 8;
// As many as a time-mix of RWKV-7 has gradients of.
constexpr int MIXES = 7;

// Mixes, and null beyond the last.
template <typename T> struct Mixed {
    const float* mix[MIXES];
    T* rows[MIXES];
};

// Grid: rows / RUN blocks of 256; dynamic shared memory: channels floats.
template <typename T>
__device__ inline void token_shift(const float* x, const float* first, const float* weight, const float* bias, Mixed<T> to,
                                   float* ends, const int* offsets, int sequences, int rows, int channels, float eps) {
    float* previous = reinterpret_cast<float*>(dynamic_shared);
    int begin = blockIdx.x * RUN, end = min(begin + RUN, rows);
    int sequence = sequence_of(offsets, sequences, begin);
    // The row before the run is normalised for what follows it, unless a sequence starts here.
    for (int row = offsets[sequence] == begin ? begin : begin - 1; row < end; row++) {
        if (row == offsets[sequence + 1]) sequence++;
        bool starts = row == offsets[sequence];
        const float* at = x + static_cast<long long>(row) * channels;
        float mean, scale;
        moments<float, 256>(at, channels, eps, mean, scale);
        for (int i = threadIdx.x; i < channels / 8; i += 256) {
            Eight values = eight_at(at, i), weights = eight_at(weight, i), biases = eight_at(bias, i), normal;
            for (int j = 0; j < 8; j++) normal.at[j] = (values.at[j] - mean) * scale * weights.at[j] + biases.at[j];
            Eight before = starts ? eight_at(first, i) : eight_at(previous, i);
            put_eight(previous, i, normal);
            if (row < begin) continue;
            if (row + 1 == offsets[sequence + 1]) put_eight(ends + static_cast<long long>(sequence) * channels, i, normal);
#pragma unroll
            for (int m = 0; m < MIXES; m++) {
                if (!to.mix[m]) continue;
                Eight mix = eight_at(to.mix[m], i), out;
                for (int j = 0; j < 8; j++) out.at[j] = normal.at[j] * mix.at[j] + before.at[j] * (1.0f - mix.at[j]);
                put_eight(to.rows[m] + static_cast<long long>(row) * channels, i, out);
            }
        }
    }
}

// Grid: rows / RUN blocks of 256; dynamic shared memory: 2 * channels floats.
template <typename T>
__device__ inline void token_shift_backward(const float* x, const float* d_out, const float* weight, Mixed<const T> from, float* dx,
                                            const int* offsets, int sequences, int rows, int channels, float eps) {
    // What the row after gives to this one; and the gradient of this one's normal row.
    float* later = reinterpret_cast<float*>(dynamic_shared);
    float* da = later + channels;
    int begin = blockIdx.x * RUN, end = min(begin + RUN, rows);
    int sequence = sequence_of(offsets, sequences, end - 1);
    bool goes_on = end < offsets[sequence + 1];
    for (int row = goes_on ? end : end - 1; row >= begin; row--) {
        if (row < offsets[sequence]) sequence--;
        bool ends = row + 1 == offsets[sequence + 1];
        const float* at = x + static_cast<long long>(row) * channels;
        float mean = 0.0f, scale = 0.0f;
        if (row < end) moments<float, 256>(at, channels, eps, mean, scale);
        float sum = 0.0f, product = 0.0f;
        for (int i = threadIdx.x; i < channels / 8; i += 256) {
            Eight own = {}, before = {};
#pragma unroll
            for (int m = 0; m < MIXES; m++) {
                if (!from.mix[m]) continue;
                Eight mix = eight_at(from.mix[m], i);
                Eight d = eight_at(from.rows[m] + static_cast<long long>(row) * channels, i);
                for (int j = 0; j < 8; j++) {
                    own.at[j] += mix.at[j] * d.at[j];
                    before.at[j] += (1.0f - mix.at[j]) * d.at[j];
                }
            }
            if (row < end) {
                Eight values = eight_at(at, i), weights = eight_at(weight, i), after = {};
                if (!ends) after = eight_at(later, i);
                for (int j = 0; j < 8; j++) {
                    own.at[j] = (own.at[j] + after.at[j]) * weights.at[j];
                    sum += own.at[j];
                    product += own.at[j] * (values.at[j] - mean) * scale;
                }
                put_eight(da, i, own);
            }
            put_eight(later, i, before);
        }
        if (row == end) continue;
        sum = sum_over<256>(sum) / channels;
        product = sum_over<256>(product) / channels;
        for (int i = threadIdx.x; i < channels / 8; i += 256) {
            long long row_at = static_cast<long long>(row) * channels;
            Eight values = eight_at(at, i), others = eight_at(d_out + row_at, i), ds = eight_at(da, i), out;
            for (int j = 0; j < 8; j++) {
                float n = (values.at[j] - mean) * scale;
                out.at[j] = others.at[j] + (ds.at[j] - sum - n * product) * scale;
            }
            put_eight(dx + row_at, i, out);
        }
    }
}

// dfirst, the sequences summed in order, each by itself before. Grid: channels / 256 blocks of 256.
template <typename T>
__device__ inline void token_shift_first(Mixed<const T> from, float* dfirst, const int* offsets, int sequences, int channels) {
    int c = blockIdx.x * 256 + threadIdx.x;
    if (c >= channels) return;
    float sum = 0.0f;
    for (int sequence = 0; sequence < sequences; sequence++) {
        long long at = static_cast<long long>(offsets[sequence]) * channels + c;
        float of_one = 0.0f;
#pragma unroll
        for (int m = 0; m < MIXES; m++)
            if (from.mix[m]) of_one += (1.0f - from.mix[m][c]) * to_float(from.rows[m][at]);
        sum += of_one;
    }
    dfirst[c] = sum;
}

#define MIX_ARGUMENTS                                                                                                     \
    const float *mix0, const float *mix1, const float *mix2, const float *mix3, const float *mix4, const float *mix5,     \
        const float *mix6
#define ROWS_ARGUMENTS(T) T *rows0, T *rows1, T *rows2, T *rows3, T *rows4, T *rows5, T *rows6
#define MIXED {{mix0, mix1, mix2, mix3, mix4, mix5, mix6}, {rows0, rows1, rows2, rows3, rows4, rows5, rows6}}

#define TOKEN_SHIFT(T, NAME)                                                                                              \
    KERNEL(256, token_shift_##NAME, const float* x, const float* first, const float* weight, const float* bias,           \
           MIX_ARGUMENTS, ROWS_ARGUMENTS(T), float* ends, const int* offsets, int sequences, int rows, int channels,      \
           float eps) {                                                                                                   \
        token_shift<T>(x, first, weight, bias, MIXED, ends, offsets, sequences, rows, channels, eps);                     \
    }                                                                                                                     \
    KERNEL(256, token_shift_backward_##NAME, const float* x, const float* d_out, const float* weight, MIX_ARGUMENTS,      \
           ROWS_ARGUMENTS(const T), float* dx, const int* offsets, int sequences, int rows, int channels, float eps) {    \
        token_shift_backward<T>(x, d_out, weight, MIXED, dx, offsets, sequences, rows, channels, eps);                    \
    }                                                                                                                     \
    KERNEL(256, token_shift_first_##NAME, MIX_ARGUMENTS, ROWS_ARGUMENTS(const T), float* dfirst, const int* offsets,      \
           int sequences, int channels) {                                                                                 \
        token_shift_first<T>(MIXED, dfirst, offsets, sequences, channels);                                                \
    }

TOKEN_SHIFT(float, f32)
TOKEN_SHIFT(bf16, bf16)
