// A chunk of RWKV-7's recurrence: how its rows are loaded and multiplied with each other, and how a
// block's warps share the work. chunked.cu has the maths.
#pragma once

#include "delta.cuh"
#include "halves.cuh"

namespace delta {
namespace {

// Chunks in shared memory, one for each role.
constexpr int STAGES = 3;
// Threads of each role but the one that walks, which has two for each channel of a head.
constexpr int ROLE = 128;

// ---- Loading: `thread` counts from 0 to ROLE - 1. Each has two neighbouring channels of four
// tokens, a patch; a warp has the four patches of a chunk for eight pairs of channels. What is read
// from memory is kept in registers for as long as the chunk before takes.

constexpr int PATCH_TOKENS = 4;
constexpr int PATCH_PAIRS = 8;
static_assert(PATCH_TOKENS * 32 / PATCH_PAIRS == CHUNK, "a warp has whole chunks");

// log2 of e.
constexpr float LOG2_E = 1.44269504f;

template <typename T> struct __align__(2 * sizeof(T)) Two {
    T at[2];
};

// Zeros beyond the sequence's end.
template <typename T> struct Patch {
    Two<T> at[PATCH_TOKENS];

    __device__ float get(int t, int i) const { return to_float(at[t].at[i]); }
};

// Where a thread's patch lies in a chunk.
template <int K> struct PatchPlace {
    static_assert(K % (2 * PATCH_PAIRS) == 0 && K <= 2 * PATCH_PAIRS * ROLE / 32, "every channel has a thread");
    int token, channel;

    __device__ explicit PatchPlace(int thread)
        : token(thread % 32 / PATCH_PAIRS * PATCH_TOKENS), channel(2 * (thread / 32 * PATCH_PAIRS + thread % PATCH_PAIRS)) {}

    __device__ bool exists() const { return channel < K; }
};

template <int K, typename T>
__device__ inline Patch<T> patch_of(const T* from, const Place<K>& place, int first, const PatchPlace<K>& at) {
    Patch<T> out = {};
    const T* row = from + place.at(first + at.token) + at.channel;
    const int rows = place.rows - first - at.token, stride = place.heads * K;
#pragma unroll
    for (int t = 0; t < PATCH_TOKENS; t++) {
        if (t < rows) out.at[t] = *reinterpret_cast<const Two<T>*>(row + t * stride);
    }
    return out;
}

// log2 P_t of a patch's tokens, and of the token before it.
struct Logs {
    float before[2], at[PATCH_TOKENS][2];

    __device__ float previous(int t, int i) const { return t > 0 ? at[t - 1][i] : before[i]; }
};

template <int K, typename T>
__device__ inline Logs logs_of(const Patch<float>& w, const Inputs<T>& in, const Place<K>& place, int first,
                               const PatchPlace<K>& at) {
    Logs out;
    const int rows = place.rows - first - at.token, patch = threadIdx.x % 32 / PATCH_PAIRS;
#pragma unroll
    for (int i = 0; i < 2; i++) {
        const float w0 = in.w0[place.head * K + at.channel + i];
        float sum = 0.0f;
#pragma unroll
        for (int t = 0; t < PATCH_TOKENS; t++) {
            if (t < rows) sum -= STRONGEST * LOG2_E * fast_inverse(1.0f + fast_exp2(-LOG2_E * (w.get(t, i) + w0)));
            out.at[t][i] = sum;
        }
        // What the patches before it add up to.
        const float one = __shfl_up_sync(0xffffffffu, sum, PATCH_PAIRS);
        const float last = patch >= 1 ? one : 0.0f;
        const float two = __shfl_up_sync(0xffffffffu, sum + last, 2 * PATCH_PAIRS);
        out.before[i] = patch >= 2 ? last + two : last;
#pragma unroll
        for (int t = 0; t < PATCH_TOKENS; t++) out.at[t][i] += out.before[i];
    }
    return out;
}

// R and A.
template <int K>
__device__ inline void put_readers(Halves<K>& r, Halves<K>& a, const Patch<bf16>& rs, const Patch<float>& kks,
                                   const Logs& logs, const PatchPlace<K>& at) {
#pragma unroll
    for (int t = 0; t < PATCH_TOKENS; t++) {
        float rows[2], keys[2];
#pragma unroll
        for (int i = 0; i < 2; i++) {
            rows[i] = rs.get(t, i) * fast_exp2(logs.at[t][i]);
            keys[i] = -kks.get(t, i) * fast_exp2(logs.previous(t, i));
        }
        r.put_two(at.token + t, at.channel, rows[0], rows[1]);
        a.put_two(at.token + t, at.channel, keys[0], keys[1]);
    }
}

// K and B.
template <int K>
__device__ inline void put_writers(Halves<K>& k, Halves<K>& b, const Patch<bf16>& ks, const Patch<float>& kks,
                                   const Patch<float>& alphas, const Logs& logs, const PatchPlace<K>& at) {
#pragma unroll
    for (int t = 0; t < PATCH_TOKENS; t++) {
        float rows[2], keys[2];
#pragma unroll
        for (int i = 0; i < 2; i++) {
            const float scale = fast_exp2(-logs.at[t][i]);
            rows[i] = ks.get(t, i) * scale;
            keys[i] = kks.get(t, i) * alphas.get(t, i) * scale;
        }
        k.put_two(at.token + t, at.channel, rows[0], rows[1]);
        b.put_two(at.token + t, at.channel, keys[0], keys[1]);
    }
}

template <int K> __device__ inline void put(Tile<CHUNK, K>& tile, const Patch<bf16>& x, const PatchPlace<K>& at) {
#pragma unroll
    for (int t = 0; t < PATCH_TOKENS; t++) *reinterpret_cast<Two<bf16>*>(&tile.at[at.token + t][at.channel]) = x.at[t];
}

template <int K> __device__ inline void put(Halves<K>& tile, const Patch<float>& x, const PatchPlace<K>& at) {
#pragma unroll
    for (int t = 0; t < PATCH_TOKENS; t++) tile.put_two(at.token + t, at.channel, x.get(t, 0), x.get(t, 1));
}

// P, which the last patch knows.
template <int K> __device__ inline void put_whole(float* whole, const Logs& logs, const PatchPlace<K>& at) {
    if (at.token != CHUNK - PATCH_TOKENS) return;
    for (int i = 0; i < 2; i++) whole[at.channel + i] = fast_exp2(logs.at[PATCH_TOKENS - 1][i]);
}

// ---- Rows of a chunk with each other

enum class Kept { UP_TO_OWN, BEFORE_OWN };

// tri or tri- of rows by columns' of two tiles.
template <Kept KEPT, int K, typename A, typename B> __device__ inline Sum triangle(const A& rows, const B& columns) {
    Sum sum = {};
#pragma unroll
    for (int i = 0; i < K; i += 16) multiply(sum, left(rows, 0, i), turned_right(columns, 0, i));
    each_of(sum, [](float& x, int t, int s) {
        if (s > t || (KEPT == Kept::BEFORE_OWN && s == t)) x = 0.0f;
    });
    return sum;
}

__device__ inline void put(Halves<CHUNK>& to, Sum sum) {
    each_of(sum, [&](float& x, int row, int column) { to.put(row, column, x); });
}

// (I - m)^-1 of a strict lower triangle, by substitution: a lane a column.
__device__ inline void invert(Halves<CHUNK>& to, float (*m)[CHUNK + 1]) {
    const int column = threadIdx.x % CHUNK;
    float inverse[CHUNK];
#pragma unroll
    for (int t = 0; t < CHUNK; t++) {
        inverse[t] = t == column ? 1.0f : 0.0f;
#pragma unroll
        for (int s = 0; s < t; s++) inverse[t] += m[t][s] * inverse[s];
    }
    if (threadIdx.x % 32 >= CHUNK) return;
#pragma unroll
    for (int t = 0; t < CHUNK; t++) to.put(t, column, inverse[t]);
}

// As a right operand: turned over where S goes forward.
template <Direction WALK> __device__ inline RightHalves square(const Halves<CHUNK>& x) {
    return WALK == Direction::FORWARD ? turned_right(x, 0, 0) : right(x, 0, 0);
}

// ---- The roles

// What a role that loads has on its way from memory, a chunk ahead of what it puts to shared memory.
template <int K, typename F, typename P> struct Loading {
    const F& fetch;
    const P& put;
    const PatchPlace<K> at;
    const int count;
    decltype(fetch(0, at)) now;

    __device__ Loading(const F& fetch, const P& put, int thread, int count)
        : fetch(fetch), put(put), at(thread), count(count), now() {
        if (at.exists() && count > 0) now = fetch(0, at);
    }

    __device__ void load(int i) {
        if (!at.exists() || i >= count) return;
        decltype(now) next = {};
        if (i + 1 < count) next = fetch(i + 1, at);
        put(i, at, now);
        now = next;
    }
};

// Goes through `count` chunks in their order, with three of them at a time. The warps that multiply rows
// have time to load, too: the values.
template <int K, typename FK, typename PK, typename FV, typename PV, typename M, typename W>
__device__ inline void in_roles(int count, const FK& fetch_keys, const PK& put_keys, const FV& fetch_values,
                                const PV& put_values, M multiply, W walk) {
    const int warp = threadIdx.x / 32, thread = static_cast<int>(threadIdx.x) - 2 * K;
    // All roles meet at as many barriers. Each has a loop of its own, so that none has the others' registers.
    if (thread < 0) {
        for (int i = 0; i < count + 2; i++) {
            if (i >= 2) walk(i - 2);
            __syncthreads();
        }
    } else if (thread < ROLE) {
        Loading<K, FV, PV> values(fetch_values, put_values, thread, count);
        for (int i = 0; i < count + 2; i++) {
            values.load(i);
            if (i >= 1 && i <= count) multiply(i - 1, warp - 2 * K / 32);
            __syncthreads();
        }
    } else {
        Loading<K, FK, PK> keys(fetch_keys, put_keys, thread - ROLE, count);
        for (int i = 0; i < count + 2; i++) {
            keys.load(i);
            __syncthreads();
        }
    }
}

// Of the matrix, turned or not, the part of this warp, which walks: 16 of `rows` numbers, from this one.
__device__ inline int first_of_warp() { return threadIdx.x / 32 * 16; }

}  // namespace
}  // namespace delta
