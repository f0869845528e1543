// What every kernel is written in: a small set of names that nvcc knows, and that
// tools/cuda-emulator defines for the processor, so that the same text is compiled for GPUs and run
// in tests where there is none.
//
// A kernel is KERNEL(threads, name, arguments...) { body }: never more than `threads` a block. What
// products take and give is stored as T, float or bf16; sums are float always, and so is what
// blocks add to, from layer to layer. Sizes and row numbers are int, products of them long long.
#pragma once

#ifdef __CUDACC__

#include <cuda_bf16.h>

typedef __nv_bfloat16 bf16;

#define KERNEL(threads, name, ...) extern "C" __global__ void __launch_bounds__(threads) name(__VA_ARGS__)

// Shared memory whose size the launch gives; 16-byte aligned.
extern __shared__ __align__(16) unsigned char dynamic_shared[];

__device__ inline float to_float(bf16 x) { return __bfloat162float(x); }
__device__ inline void from_float(bf16& to, float x) { to = __float2bfloat16_rn(x); }

// Two neighbouring bf16 as the tensor cores take them, the first in the low half.
__device__ inline unsigned pack(float low, float high) {
    unsigned out;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(out) : "f"(high), "f"(low));
    return out;
}

// 2^x and 1 / x, each in one instruction: off by a few units in the last place of an f32.
__device__ inline float fast_exp2(float x) {
    float out;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(out) : "f"(x));
    return out;
}
__device__ inline float fast_inverse(float x) {
    float out;
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(out) : "f"(x));
    return out;
}

// d += a b for the whole warp: a 16 x 16, b 16 x 8 (bf16), d 16 x 8 (float); fragments lie as PTX
// lays down for mma.m16n8k16.
__device__ inline void mma(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// Sixteen bytes from global to shared memory, behind the thread's back; both aligned to 16.
__device__ inline void copy_async(void* shared, const void* global) {
    unsigned to = static_cast<unsigned>(__cvta_generic_to_shared(shared));
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to), "l"(global) : "memory");
}
__device__ inline void copy_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
// Waits until at most N of this thread's commits are under way.
template <int N> __device__ inline void copy_wait() { asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory"); }

#else

#include "emulate.h"

#endif

__device__ inline float to_float(float x) { return x; }
__device__ inline void from_float(float& to, float x) { to = x; }

template <typename T> __device__ inline T rounded(float x) {
    T out;
    from_float(out, x);
    return out;
}

// Sixteen aligned bytes as numbers: a row is gone through in these.
template <typename T> struct __align__(16) Pack {
    static constexpr int COUNT = 16 / sizeof(T);
    T at[COUNT];
};

template <typename T> __device__ inline Pack<T>& pack_at(T* row, int i) { return reinterpret_cast<Pack<T>*>(row)[i]; }
template <typename T> __device__ inline const Pack<T>& pack_at(const T* row, int i) {
    return reinterpret_cast<const Pack<T>*>(row)[i];
}

// Eight neighbouring numbers as floats, whatever they are stored as: rows of different types are
// gone through alike.
struct Eight {
    float at[8];
};

template <typename T> __device__ inline Eight eight_at(const T* row, int i) {
    constexpr int COUNT = Pack<T>::COUNT;
    Eight out;
#pragma unroll
    for (int part = 0; part < 8 / COUNT; part++) {
        Pack<T> values = pack_at(row, i * (8 / COUNT) + part);
        for (int j = 0; j < COUNT; j++) out.at[part * COUNT + j] = to_float(values.at[j]);
    }
    return out;
}

template <typename T> __device__ inline void put_eight(T* row, int i, const Eight& values) {
    constexpr int COUNT = Pack<T>::COUNT;
#pragma unroll
    for (int part = 0; part < 8 / COUNT; part++) {
        Pack<T> out;
        for (int j = 0; j < COUNT; j++) from_float(out.at[j], values.at[part * COUNT + j]);
        pack_at(row, i * (8 / COUNT) + part) = out;
    }
}

__device__ inline float logistic(float x) { return 1.0f / (1.0f + expf(-x)); }

__device__ inline float warp_sum(float x) {
    for (int lane = 16; lane > 0; lane /= 2) x += __shfl_xor_sync(0xffffffffu, x, lane);
    return x;
}

// The sum of x over THREADS neighbouring threads, which all of them get: a power of two within a
// warp, or the whole block.
template <int THREADS> __device__ inline float sum_over(float x) {
    for (int lane = (THREADS < 32 ? THREADS : 32) / 2; lane > 0; lane /= 2) x += __shfl_xor_sync(0xffffffffu, x, lane);
    if constexpr (THREADS > 32) {
        __shared__ float parts[32];
        __syncthreads();
        if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = x;
        __syncthreads();
        x = warp_sum(threadIdx.x % 32 < THREADS / 32 ? parts[threadIdx.x % 32] : 0.0f);
    }
    return x;
}

// Which sequence a row is in: offsets[i] <= row < offsets[i + 1].
__device__ inline int sequence_of(const int* offsets, int sequences, int row) {
    int low = 0, high = sequences;
    while (high - low > 1) {
        int middle = (low + high) / 2;
        if (offsets[middle] <= row) low = middle;
        else high = middle;
    }
    return low;
}
