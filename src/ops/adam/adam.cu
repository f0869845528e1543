// One step of Adam in one pass; mod.rs has the source. The corrections for the first steps come as
// factors.
#include "../cuda/common.cuh"

// Grid: count / 256 blocks of 256.
KERNEL(256, adam, float* value, float* first, float* second, const float* gradient, float beta1, float beta2, float rate,
       float kept, float correct1, float correct2, float eps, int count) {
    int i = blockIdx.x * 256 + threadIdx.x;
    if (i >= count) return;
    float g = gradient[i];
    float mean = first[i] * beta1 + g * (1.0f - beta1);
    float square = second[i] * beta2 + g * g * (1.0f - beta2);
    first[i] = mean;
    second[i] = square;
    value[i] = value[i] * kept - rate * (mean * correct1 / (sqrtf(square * correct2) + eps));
}
