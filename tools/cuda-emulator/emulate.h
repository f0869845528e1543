// What a kernel written against src/ops/cuda/common.cuh means on the processor, so that kernels are tested where there is no
// GPU. A block is run by one thread of the operating system; its CUDA threads are fibers on it (block.cpp), which give
// way only where they wait for each other: at a barrier or a warp-wide operation. Whatever a GPU would leave undefined and
// that can be noticed here, ends the program with a message that names kernel, block and thread.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "kernel.h"

#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __align__(bytes) __attribute__((aligned(bytes)))
// One copy for each thread of the operating system is one for each block under way.
#define __shared__ static thread_local

#define threadIdx (emulator::now.thread)
#define blockIdx (emulator::now.block)
#define blockDim (emulator::now.block_size)
#define gridDim (emulator::now.grid_size)
#define dynamic_shared (emulator::now.shared)

// Indirect, so that a name which is itself made by a macro is expanded before it is quoted.
#define KERNEL(threads, name, ...) EMULATED_KERNEL(threads, name, __VA_ARGS__)
#define EMULATED_KERNEL(threads, name, ...)                                                                  \
    extern "C" void name(__VA_ARGS__);                                                                       \
    static const emulator::Registration emulator_registers_##name(emulator::describe<name>(#name, threads)); \
    extern "C" void name(__VA_ARGS__)

// ---- What threads do together

inline void __syncthreads() { emulator::wait_for_block(); }

inline void __syncwarp(unsigned mask = 0xffffffffu) {
    emulator::meet("__syncwarp", mask, [](void* const*, unsigned) {}, nullptr);
}

namespace emulator {

template <typename T> struct Exchange {
    T given, got;
    unsigned from;
};

template <typename T> T exchange(const char* what, unsigned mask, T given, unsigned from) {
    static_assert(std::is_arithmetic<T>::value, "numbers are exchanged");
    Exchange<T> mine = {given, given, from};
    meet(
        what, mask,
        [](void* const* lanes, unsigned present) {
            for (unsigned lane = 0; lane < 32; lane++) {
                if (!(present >> lane & 1)) continue;
                Exchange<T>& reader = *static_cast<Exchange<T>*>(lanes[lane]);
                if (!(present >> reader.from & 1)) report("lane %u reads lane %u, which takes no part", lane, reader.from);
                reader.got = static_cast<Exchange<T>*>(lanes[reader.from])->given;
            }
        },
        &mine);
    return mine.got;
}

struct Vote {
    bool given;
    unsigned got;
};

inline unsigned vote(const char* what, unsigned mask, bool given) {
    Vote mine = {given, 0};
    meet(
        what, mask,
        [](void* const* lanes, unsigned present) {
            unsigned all = 0;
            for (unsigned lane = 0; lane < 32; lane++)
                if (present >> lane & 1 && static_cast<Vote*>(lanes[lane])->given) all |= 1u << lane;
            for (unsigned lane = 0; lane < 32; lane++)
                if (present >> lane & 1) static_cast<Vote*>(lanes[lane])->got = all;
        },
        &mine);
    return mine.got;
}

}  // namespace emulator

template <typename T> T __shfl_sync(unsigned mask, T x, int lane) {
    return emulator::exchange("__shfl_sync", mask, x, lane & 31);
}
template <typename T> T __shfl_xor_sync(unsigned mask, T x, int bits) {
    unsigned lane = emulator::lane(), from = lane ^ bits;
    return emulator::exchange("__shfl_xor_sync", mask, x, from < 32 ? from : lane);
}
template <typename T> T __shfl_down_sync(unsigned mask, T x, unsigned by) {
    unsigned lane = emulator::lane();
    return emulator::exchange("__shfl_down_sync", mask, x, lane + by < 32 ? lane + by : lane);
}
template <typename T> T __shfl_up_sync(unsigned mask, T x, unsigned by) {
    unsigned lane = emulator::lane();
    return emulator::exchange("__shfl_up_sync", mask, x, lane >= by ? lane - by : lane);
}

inline unsigned __ballot_sync(unsigned mask, int yes) { return emulator::vote("__ballot_sync", mask, yes); }
inline int __any_sync(unsigned mask, int yes) { return emulator::vote("__any_sync", mask, yes) != 0; }
inline int __all_sync(unsigned mask, int yes) { return emulator::vote("__all_sync", mask, !yes) == 0; }

// ---- bf16 and the tensor cores

struct bf16 {
    uint16_t bits;
};

inline float to_float(bf16 x) {
    uint32_t bits = static_cast<uint32_t>(x.bits) << 16;
    float out;
    memcpy(&out, &bits, 4);
    return out;
}

// To the nearest, ties to even; what is no number becomes the one NaN that GPUs give.
inline void from_float(bf16& to, float x) {
    uint32_t bits;
    memcpy(&bits, &x, 4);
    to.bits = x != x ? 0x7fff : (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
}

inline unsigned pack(float low, float high) {
    bf16 first, second;
    from_float(first, low);
    from_float(second, high);
    return first.bits | static_cast<unsigned>(second.bits) << 16;
}

namespace emulator {

struct Fragments {
    float* d;
    const unsigned *a, *b;
};

// PTX's layout: lane 4 g + t holds of a the rows g and g + 8, columns 2t, 2t + 1 and eight further; of b the column g, rows
// 2t, 2t + 1 and eight further; of d the rows g and g + 8, columns 2t and 2t + 1.
inline void multiply(void* const* lanes, unsigned present) {
    if (present != 0xffffffffu) report("mma by lanes %08x: it takes the whole warp", present);
    float a[16][16], b[16][8], d[16][8];
    auto half = [](unsigned pair, int which) { return to_float(bf16{static_cast<uint16_t>(pair >> 16 * which)}); };
    for (int lane = 0; lane < 32; lane++) {
        const Fragments& mine = *static_cast<Fragments*>(lanes[lane]);
        int g = lane / 4, t = lane % 4;
        for (int i = 0; i < 2; i++) {
            for (int part = 0; part < 4; part++) a[g + part % 2 * 8][2 * t + part / 2 * 8 + i] = half(mine.a[part], i);
            for (int part = 0; part < 2; part++) {
                b[2 * t + part * 8 + i][g] = half(mine.b[part], i);
                d[g + part * 8][2 * t + i] = mine.d[2 * part + i];
            }
        }
    }
    for (int row = 0; row < 16; row++)
        for (int k = 0; k < 16; k++)
            for (int column = 0; column < 8; column++) d[row][column] += a[row][k] * b[k][column];
    for (int lane = 0; lane < 32; lane++)
        for (int i = 0; i < 4; i++)
            static_cast<Fragments*>(lanes[lane])->d[i] = d[lane / 4 + i / 2 * 8][lane % 4 * 2 + i % 2];
}

}  // namespace emulator

inline void mma(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
    emulator::Fragments mine = {d, a, b};
    emulator::meet("mma", 0xffffffffu, emulator::multiply, &mine);
}

// ---- Copies behind the thread's back: made no earlier than the wait, so that a forgotten wait shows

inline void copy_async(void* shared, const void* global) { emulator::copy_later(shared, global); }
inline void copy_commit() { emulator::close_copies(); }
template <int N> void copy_wait() { emulator::make_copies(N); }

// ---- Memory and numbers

inline float atomicAdd(float* at, float x) {
    uint32_t* word = reinterpret_cast<uint32_t*>(at);
    uint32_t seen = __atomic_load_n(word, __ATOMIC_RELAXED), wanted;
    float old;
    do {
        memcpy(&old, &seen, 4);
        float sum = old + x;
        memcpy(&wanted, &sum, 4);
    } while (!__atomic_compare_exchange_n(word, &seen, wanted, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
    return old;
}
inline int atomicAdd(int* at, int x) { return __atomic_fetch_add(at, x, __ATOMIC_RELAXED); }
inline unsigned atomicAdd(unsigned* at, unsigned x) { return __atomic_fetch_add(at, x, __ATOMIC_RELAXED); }

template <typename T> T __ldg(const T* at) { return *at; }

inline int min(int a, int b) { return b < a ? b : a; }
inline unsigned min(unsigned a, unsigned b) { return b < a ? b : a; }
inline long long min(long long a, long long b) { return b < a ? b : a; }
inline float min(float a, float b) { return fminf(a, b); }
inline int max(int a, int b) { return a < b ? b : a; }
inline unsigned max(unsigned a, unsigned b) { return a < b ? b : a; }
inline long long max(long long a, long long b) { return a < b ? b : a; }
inline float max(float a, float b) { return fmaxf(a, b); }

inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
inline float fast_exp2(float x) { return exp2f(x); }
inline float fast_inverse(float x) { return 1.0f / x; }
inline float __expf(float x) { return expf(x); }
inline float __logf(float x) { return logf(x); }
inline float __fdividef(float a, float b) { return a / b; }
inline unsigned __float_as_uint(float x) {
    unsigned out;
    memcpy(&out, &x, 4);
    return out;
}
inline float __uint_as_float(unsigned x) {
    float out;
    memcpy(&out, &x, 4);
    return out;
}
