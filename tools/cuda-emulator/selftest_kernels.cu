// Tests of how kernels are run: some whose results are known, and some that are wrong and must be reported.
// Run by `tools/cuda-emulator/run selftest`.
#include "common.cuh"

#include <vector>

#include "check.h"

KERNEL(256, block_sum, const float* x, float* out, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    float sum = sum_over<256>(i < n ? x[i] : 0.0f);
    if (threadIdx.x == 0) atomicAdd(out, sum);
}

KERNEL(64, shuffles, int* out) {
    int lane = threadIdx.x % 32, base = 100 * (threadIdx.x / 32);
    int* mine = out + 7 * threadIdx.x;
    mine[0] = __shfl_sync(0xffffffffu, base + lane, 5);
    mine[1] = __shfl_xor_sync(0xffffffffu, base + lane, 3);
    mine[2] = __shfl_down_sync(0xffffffffu, base + lane, 4);
    mine[3] = __shfl_up_sync(0xffffffffu, base + lane, 4);
    mine[4] = __ballot_sync(0xffffffffu, lane % 3 == 0);
    mine[5] = __any_sync(0xffffffffu, lane == 9);
    // The halves of a warp by themselves.
    mine[6] = lane < 16 ? __shfl_xor_sync(0x0000ffffu, lane, 1) : __shfl_xor_sync(0xffff0000u, lane, 2);
}

// c = a b, with a 16 x 16 and b 16 x 8 row by row, through the fragments that PTX lays down.
KERNEL(32, one_product, const bf16* a, const bf16* b, float* c) {
    int g = threadIdx.x / 4, t = threadIdx.x % 4;
    auto pair = [](bf16 low, bf16 high) { return low.bits | static_cast<unsigned>(high.bits) << 16; };
    auto of_a = [&](int row, int column) { return pair(a[16 * row + column], a[16 * row + column + 1]); };
    auto of_b = [&](int row, int column) { return pair(b[8 * row + column], b[8 * (row + 1) + column]); };
    unsigned fragment_a[4] = {of_a(g, 2 * t), of_a(g + 8, 2 * t), of_a(g, 2 * t + 8), of_a(g + 8, 2 * t + 8)};
    unsigned fragment_b[2] = {of_b(2 * t, g), of_b(2 * t + 8, g)};
    float d[4] = {1, 1, 1, 1};
    mma(d, fragment_a, fragment_b);
    for (int i = 0; i < 4; i++) c[8 * (g + i / 2 * 8) + 2 * t + i % 2] = d[i];
}

KERNEL(64, copies, const int* x, int* out, int wait) {
    int* shared = reinterpret_cast<int*>(dynamic_shared);
    int i = threadIdx.x;
    copy_async(shared + 4 * i, x + 4 * i);
    copy_commit();
    if (wait) copy_wait<0>();
    __syncthreads();
    for (int j = 0; j < 4; j++) out[4 * i + j] = shared[4 * ((i + 1) % 64) + j];
}

KERNEL(256, early_return, float* out, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    __syncthreads();
    out[i] = __shfl_sync(0xffffffffu, static_cast<float>(i), 0);
}

KERNEL(128, reads_what_was_not_written, float* out) {
    __shared__ float partial[128];
    if (threadIdx.x != 7) partial[threadIdx.x] = 1.0f;
    __syncthreads();
    out[threadIdx.x] = partial[threadIdx.x] + reinterpret_cast<float*>(dynamic_shared)[threadIdx.x];
}

KERNEL(64, stuck_at_barrier, float* out) {
    if (threadIdx.x < 10) __syncthreads();
    out[threadIdx.x] = __shfl_sync(0xffffffffu, 1.0f, 0);
}

KERNEL(32, reads_an_absent_lane, float* out) {
    if (threadIdx.x < 16) out[threadIdx.x] = __shfl_sync(0x0000ffffu, 1.0f, 20);
}

KERNEL(32, misaligned_copy, const float* x) { copy_async(dynamic_shared, x + 1); }

KERNEL(32, beyond_shared, int bytes) { dynamic_shared[bytes] = 1; }

namespace {

template <typename... A> void launch(const char* name, unsigned grid, unsigned block, size_t shared_bytes, A... arguments) {
    void* list[] = {&arguments...};
    emulator::run({emulator::find_kernel(name), {grid, 1, 1}, {block, 1, 1}, shared_bytes, list});
}

void reports() {
    float out[128];
    check_report([&] { launch("stuck_at_barrier", 3, 64, 0, &out[0]); },
                 {"kernel stuck_at_barrier, block (", "deadlock in warp 0", "__syncthreads: lanes 0 1 2 3 4 5 6 7 8 9",
                  "__shfl_sync"},
                 "a barrier that not all threads reach is reported");
    check_report([&] { launch("reads_an_absent_lane", 1, 32, 0, &out[0]); }, {"reads lane 20, which takes no part"},
                 "a shuffle from a lane that takes no part is reported");
    check_report([&] { launch("misaligned_copy", 1, 32, 64, &out[0]); }, {"must be aligned to 16 bytes"},
                 "a misaligned copy is reported");
    check_report([&] { launch("beyond_shared", 1, 32, 64, 64); }, {"kernel beyond_shared", "no memory at"},
                 "a write behind the shared memory is reported");
}

void sums() {
    std::vector<float> x(1000);
    double expected = 0;
    for (size_t i = 0; i < x.size(); i++) expected += x[i] = i % 17;
    float sum = 0;
    launch("block_sum", 4, 256, 0, static_cast<const float*>(x.data()), &sum, 1000);
    check(sum == expected, "sum over blocks through shared memory and an atomic");
}

void exchanges() {
    std::vector<int> out(7 * 64);
    launch("shuffles", 1, 64, 0, out.data());
    bool good = true;
    for (int thread = 0; thread < 64; thread++) {
        int lane = thread % 32, base = thread / 32 * 100;
        const int* mine = &out[7 * thread];
        good &= mine[0] == base + 5 && mine[1] == base + (lane ^ 3);
        good &= mine[2] == base + (lane < 28 ? lane + 4 : lane) && mine[3] == base + (lane >= 4 ? lane - 4 : lane);
        good &=
            static_cast<unsigned>(mine[4]) == 0x49249249u && mine[5] == 1 && mine[6] == (lane < 16 ? lane ^ 1 : lane ^ 2);
    }
    check(good, "shuffles and votes");
}

void product() {
    bf16 a[16 * 16], b[16 * 8];
    float c[16 * 8];
    srand(1);
    for (bf16& x : a) from_float(x, rand() % 1000 / 500.0f - 1);
    for (bf16& x : b) from_float(x, rand() % 1000 / 500.0f - 1);
    launch("one_product", 1, 32, 0, static_cast<const bf16*>(a), static_cast<const bf16*>(b), &c[0]);
    float worst = 0;
    for (int row = 0; row < 16; row++)
        for (int column = 0; column < 8; column++) {
            double expected = 1;
            for (int k = 0; k < 16; k++)
                expected += static_cast<double>(to_float(a[16 * row + k])) * to_float(b[8 * k + column]);
            worst = fmaxf(worst, fabs(c[8 * row + column] - expected));
        }
    check(worst < 1e-5, "mma against a plain product");
}

void delayed_copies() {
    alignas(16) int x[256], out[256];
    for (int i = 0; i < 256; i++) x[i] = i;
    launch("copies", 1, 64, 1024, static_cast<const int*>(x), &out[0], 1);
    bool good = true;
    for (int i = 0; i < 256; i++) good &= out[i] == (i + 4) % 256;
    check(good, "copy_async");
    launch("copies", 1, 64, 1024, static_cast<const int*>(x), &out[0], 0);
    good = true;
    for (int i = 0; i < 256; i++) good &= out[i] == 0x7fffffff;
    check(good, "without copy_wait nothing is there yet");
}

void early_ends() {
    std::vector<float> out(300, -1.0f);
    launch("early_return", 2, 256, 0, out.data(), 276);
    bool good = true;
    for (int i = 0; i < 300; i++) good &= out[i] == (i < 276 ? i / 32 * 32 : -1);
    check(good, "threads that return early");
}

void poisoned() {
    float out[128];
    launch("reads_what_was_not_written", 1, 128, 512, &out[0]);
    check(out[7] != out[7] && out[8] != out[8], "shared memory begins as no number");
}

}  // namespace

int main() {
    reports();  // first: they want a process of one thread
    sums();
    exchanges();
    product();
    delayed_copies();
    early_ends();
    poisoned();
    return failures ? 1 : 0;
}
