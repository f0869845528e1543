// Soft-max, loss and gradient of one row of logits per block; mod.rs has the maths.
//
// A row is read twice, the second time mostly from the cache: once for its largest logit and the
// sum of exponentials, which a thread rescales whenever it meets a larger one, and once for the
// gradient.
#include "../cuda/common.cuh"

constexpr int ROW_THREADS = 512;

// What a part of a row comes to; `at` is the first place of its largest logit.
struct PartSum {
    float max;
    int at;
    double sum;
};

__device__ inline PartSum joined(PartSum a, PartSum b) {
    bool first = a.max > b.max || (a.max == b.max && a.at < b.at);
    PartSum larger = first ? a : b, smaller = first ? b : a;
    // An empty part has a largest logit of -inf; two of them make no NaN.
    double scale = smaller.sum == 0.0 ? 0.0 : exp(static_cast<double>(smaller.max) - larger.max);
    return {larger.max, larger.at, larger.sum + smaller.sum * scale};
}

// losses `[rows]`; hits `[rows]`: whether the target is the first of the largest logits. The
// gradient, times `scale`, is written where `gradient` is not null. Grid: rows blocks of
// ROW_THREADS.
template <typename T>
__device__ inline void cross_entropy(const float* logits, const int* targets, float scale, T* gradient, double* losses,
                                     int* hits, int vocab) {
    __shared__ PartSum parts[ROW_THREADS];
    long long row = blockIdx.x;
    logits += row * vocab;
    int target = targets[row];
    float max = -INFINITY, sum = 0.0f;
    int at = 0;
    for (int i = threadIdx.x; i < vocab; i += ROW_THREADS) {
        float z = logits[i];
        // Not `z > max`: a NaN must come through.
        if (!(z <= max)) {
            sum = sum == 0.0f ? 0.0f : sum * expf(max - z);
            max = z;
            at = i;
        }
        sum += expf(z - max);
    }
    parts[threadIdx.x] = {max, at, sum};
    for (unsigned half = ROW_THREADS / 2; half > 0; half /= 2) {
        __syncthreads();
        if (threadIdx.x < half) parts[threadIdx.x] = joined(parts[threadIdx.x], parts[threadIdx.x + half]);
    }
    __syncthreads();
    PartSum whole = parts[0];
    if (threadIdx.x == 0) {
        losses[row] = log(whole.sum) - (static_cast<double>(logits[target]) - whole.max);
        hits[row] = whole.at == target;
    }
    if (!gradient) return;
    gradient += row * vocab;
    float normal = static_cast<float>(scale / whole.sum);
    for (int i = threadIdx.x; i < vocab; i += ROW_THREADS)
        from_float(gradient[i], expf(logits[i] - whole.max) * normal - (i == target ? scale : 0.0f));
}

#define CROSS_ENTROPY(T, NAME)                                                                                            \
    KERNEL(ROW_THREADS, cross_entropy_##NAME, const float* logits, const int* targets, float scale, T* gradient,          \
           double* losses, int* hits, int vocab) {                                                                        \
        cross_entropy<T>(logits, targets, scale, gradient, losses, hits, vocab);                                          \
    }

CROSS_ENTROPY(float, f32)
CROSS_ENTROPY(bf16, bf16)
