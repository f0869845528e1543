// A chunk of RWKV-7's recurrence: how its rows are loaded and multiplied with each other, and how a
// block's warps share the work. chunked.cu has the maths.
#pragma once

#include "delta.cuh"
#include "halves.cuh"

namespace delta {
namespace {

// Chunks in shared memory, one for each role.
constexpr int STAGES = 3;
// Threads of each role but the last, which has two for each channel of a head.
constexpr int ROLE = 128;

// ---- Loading: `thread` counts from 0 to ROLE - 1

// A channel's numbers of a chunk; zeros beyond the sequence's end.
struct Column {
    float at[CHUNK];
};

template <int K, typename T>
__device__ inline Column column_of(const T* from, const Place<K>& place, int first, int channel) {
    Column out;
#pragma unroll
    for (int t = 0; t < CHUNK; t++)
        out.at[t] = first + t < place.rows ? to_float(from[place.at(first + t) + channel]) : 0.0f;
    return out;
}

// log P_t.
template <int K, typename T>
__device__ inline Column logs_of(const Inputs<T>& in, const Place<K>& place, int first, int channel) {
    Column out = column_of(in.w, place, first, channel);
    const float w0 = in.w0[place.head * K + channel];
    float sum = 0.0f;
#pragma unroll
    for (int t = 0; t < CHUNK; t++) {
        if (first + t < place.rows) sum -= STRONGEST * logistic(out.at[t] + w0);
        out.at[t] = sum;
    }
    return out;
}

// A channel of R and A.
template <int K>
__device__ inline void load_readers(Halves<K>& r, Halves<K>& a, const Inputs<bf16>& in, const Place<K>& place, int first,
                                    int channel, const Column& logs) {
    const Column rs = column_of(in.r, place, first, channel), kks = column_of(in.kk, place, first, channel);
#pragma unroll
    for (int t = 0; t < CHUNK; t++) {
        r.put(t, channel, rs.at[t] * expf(logs.at[t]));
        a.put(t, channel, -kks.at[t] * (t > 0 ? expf(logs.at[t - 1]) : 1.0f));
    }
}

// A channel of K and B.
template <int K>
__device__ inline void load_writers(Halves<K>& k, Halves<K>& b, const Inputs<bf16>& in, const Place<K>& place, int first,
                                    int channel, const Column& logs) {
    const Column ks = column_of(in.k, place, first, channel), kks = column_of(in.kk, place, first, channel);
    const Column alphas = column_of(in.alpha, place, first, channel);
#pragma unroll
    for (int t = 0; t < CHUNK; t++) {
        const float scale = expf(-logs.at[t]);
        k.put(t, channel, ks.at[t] * scale);
        b.put(t, channel, kks.at[t] * alphas.at[t] * scale);
    }
}

// Calls `each` with a row of the chunk, an eight's number in it, and where the row lies; -1 beyond the
// sequence's end.
template <int K, typename F> __device__ inline void each_row(const Place<K>& place, int first, int thread, F each) {
    for (int i = thread; i < CHUNK * (K / 8); i += ROLE) {
        const int row = i / (K / 8);
        each(row, i % (K / 8), first + row < place.rows ? place.at(first + row) : -1);
    }
}

template <int K>
__device__ inline void load(Tile<CHUNK, K>& tile, const bf16* from, const Place<K>& place, int first, int thread) {
    each_row<K>(place, first, thread, [&](int row, int i, long long at) {
        Pack<bf16> values;
        for (int j = 0; j < 8; j++) from_float(values.at[j], 0.0f);
        if (at >= 0) values = pack_at(from + at, i);
        pack_at(tile.at[row], i) = values;
    });
}

template <int K>
__device__ inline void load(Halves<K>& tile, const float* from, const Place<K>& place, int first, int thread) {
    each_row<K>(place, first, thread, [&](int row, int i, long long at) {
        Eight values = {};
        if (at >= 0) values = eight_at(from + at, i);
        for (int j = 0; j < 8; j++) tile.put(row, 8 * i + j, values.at[j]);
    });
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

// Goes through `count` chunks in their order, with three of them at a time.
template <int K, typename L, typename M, typename W>
__device__ inline void in_roles(int count, L load, M multiply, W walk) {
    const int warp = threadIdx.x / 32, thread = static_cast<int>(threadIdx.x) - 2 * K;
    for (int i = 0; i < count + 2; i++) {
        if (thread < 0) {
            if (i >= 2) walk(i - 2);
        } else if (thread < ROLE) {
            if (i >= 1 && i <= count) multiply(i - 1, warp - 2 * K / 32);
        } else if (i < count) {
            load(i, thread - ROLE);
        }
        __syncthreads();
    }
}

// Of the matrix, turned or not, the part of this warp, which walks: 16 of `rows` numbers, from this one.
__device__ inline int first_of_warp() { return threadIdx.x / 32 * 16; }

}  // namespace
}  // namespace delta
