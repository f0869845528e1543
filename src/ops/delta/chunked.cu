// RWKV-7's recurrence on the tensor cores, in chunks of 16 tokens: the four sweeps of recurrent.cu, with
// the same arguments. Maths of one token: mod.rs; a = -kk, b = kk * alpha.
//
// P_t is the product of a chunk's decays up to row t and with it, and P that of all. With
//
//     R = r P_t     A = a P_{t-1}     K = k / P_s     B = b / P_s        (a row a token)
//     Ark = tri(R K')   Arb = tri(R B')   Aak = tri-(A K')   Aab = tri-(A B')   T = (I - Aab)^-1
//
// where tri keeps s <= t and tri- keeps s < t, a chunk takes S from its first row to its last, and L,
// the gradient of S, from its last row to its first:
//
//     by values, forward    SA = T (A S + Aak V)         Y = R S + Ark V + Arb SA        S = P (S + K' V + B' SA)
//     by values, backward   D = T' (B P L + Arb' dY)     dV = K P L + Ark' dY + Aak' D   L = P L + R' dY + A' D
//
// D is dsa. With SA and D known, dArk = tri(dY V'), dArb = tri(dY SA'), dAak = tri-(D V') and
// dAab = tri-(D SA'):
//
//     by keys, backward     (P L V' + R' dArk + A' dAak) / P_s      (P L SA' + R' dArb + A' dAab) / P_s
//     by keys, forward      (S dY' + K' dArk' + B' dArb') P_t       (S D' + K' dAak' + B' dAab') P_{t-1}
//
// are G v and G sa, S dy and S dsa, turned. Each pair of sweeps is one text, by Direction. A decay is at
// least e^-0.61, so that no 1 / P_s is above 2e4, and every quotient of two P that counts is at most 1.
//
// Numbers. A bf16 has 8 bits, and where keys repeat T magnifies what is lost: whatever is not bf16 by
// itself enters products as the sum of two (halves.cuh). What is carried, the inverse and all sums are
// f32.
//
// A block has a head of a sequence, and its warps have three roles, each with the chunk that the one
// before is done with: to load its keys, to load its values and multiply its rows with each other, and to
// take the matrix through it, which is all that must be done in order. What is loaded is asked for a
// chunk ahead. Of those that walk each warp has 16 values (or keys) of the head.
//
// Launches (K = 32 or 64):
//
//     kernel                                 grid                 block        dynamic shared bytes
//     delta_forward_chunked_{K}              (sequences, H)       2 K + 256    876 K + 20288
//     delta_backward_values_chunked_{K}      (sequences, H)       2 K + 256    876 K + 20288
//     delta_backward_keys_chunked_{K}        (sequences, H, 2)    2 K + 256    1164 K + 19968
#include "chunk.cuh"

namespace delta {
namespace {

// Bytes of shared memory of a sweep: so many for each channel of a head, and so many more.
constexpr int VALUES_SHARED_EACH = 876;
constexpr int VALUES_SHARED_MORE = 20288;
constexpr int KEYS_SHARED_EACH = 1164;
constexpr int KEYS_SHARED_MORE = 19968;

// ---- By values

template <int K> struct ValueStage {
    Halves<K> r, a, k, b;
    // V or dY.
    Tile<CHUNK, K> value;
    // P.
    float whole[K];
};

// What a thread loads.
struct ValueSweepKeys {
    Patch<bf16> r, k;
    Patch<float> w, kk, alpha;
};

struct ValueSquares {
    Halves<CHUNK> rk, rb, ak, inverse;
};

template <int K> struct ValueShared {
    ValueStage<K> stages[STAGES];
    ValueSquares squares[2];
    float ab[CHUNK][CHUNK + 1];
};

// S or L is held turned, [value, key]: so it is a left operand as it is.
template <Direction WALK, int K, typename O>
__device__ inline void walk_values_in_chunks(const Inputs<bf16>& in, const bf16* values, const float* state,
                                             const ValueOutputs<O>& out) {
    static_assert(sizeof(ValueShared<K>) == VALUES_SHARED_EACH * K + VALUES_SHARED_MORE, "what the launch gives");
    constexpr bool FORWARD = WALK == Direction::FORWARD;
    ValueShared<K>& shared = *reinterpret_cast<ValueShared<K>*>(dynamic_shared);
    const Place<K> place(in.offsets);
    const int count = (place.rows + CHUNK - 1) / CHUNK, own = first_of_warp();
    auto first_row = [&](int i) { return (FORWARD ? i : count - 1 - i) * CHUNK; };

    Sum matrix[K / 16] = {};
    auto cell = [&](int i, int value, int key) { return (16 * i + key) * K + own + value; };
    const bool walks = threadIdx.x < 2 * K;
    if (FORWARD && walks) {
#pragma unroll
        for (int i = 0; i < K / 16; i++)
            each_of(matrix[i], [&](float& x, int value, int key) { x = state[place.matrix() + cell(i, value, key)]; });
    }

    auto fetch_keys = [&](int i, const PatchPlace<K>& at) {
        const int first = first_row(i);
        return ValueSweepKeys{patch_of(in.r, place, first, at), patch_of(in.k, place, first, at),
                              patch_of(in.w, place, first, at), patch_of(in.kk, place, first, at),
                              patch_of(in.alpha, place, first, at)};
    };
    auto put_keys = [&](int i, const PatchPlace<K>& at, const ValueSweepKeys& x) {
        ValueStage<K>& stage = shared.stages[i % STAGES];
        const Logs logs = logs_of(x.w, in, place, first_row(i), at);
        put_readers(stage.r, stage.a, x.r, x.kk, logs, at);
        put_writers(stage.k, stage.b, x.k, x.kk, x.alpha, logs, at);
        put_whole(stage.whole, logs, at);
    };
    auto fetch_values = [&](int i, const PatchPlace<K>& at) { return patch_of(values, place, first_row(i), at); };
    auto put_values = [&](int i, const PatchPlace<K>& at, const Patch<bf16>& x) {
        put(shared.stages[i % STAGES].value, x, at);
    };
    auto multiply_chunk = [&](int i, int warp) {
        const ValueStage<K>& stage = shared.stages[i % STAGES];
        ValueSquares& squares = shared.squares[i % 2];
        if (warp == 0) {
            put(squares.rk, triangle<Kept::UP_TO_OWN, K>(stage.r, stage.k));
        } else if (warp == 1) {
            put(squares.rb, triangle<Kept::UP_TO_OWN, K>(stage.r, stage.b));
        } else if (warp == 2) {
            put(squares.ak, triangle<Kept::BEFORE_OWN, K>(stage.a, stage.k));
        } else {
            Sum ab = triangle<Kept::BEFORE_OWN, K>(stage.a, stage.b);
            each_of(ab, [&](float& x, int t, int s) { shared.ab[t][s] = x; });
            __syncwarp();
            invert(squares.inverse, shared.ab);
        }
    };
    auto walk_chunk = [&](int i) {
        const ValueStage<K>& stage = shared.stages[i % STAGES];
        const ValueSquares& squares = shared.squares[i % 2];
        auto decay = [&](int j) {
            each_of(matrix[j], [&](float& x, int, int key) { x *= stage.whole[16 * j + key]; });
        };
        // Turned, like the matrix: [value, token].
        Sum sum = {}, back = {}, solved = {};
#pragma unroll
        for (int j = 0; j < K / 16; j++) {
            if (!FORWARD) decay(j);
            const LeftHalves m = halves(matrix[j]);
            multiply(sum, m, turned_right(FORWARD ? stage.r : stage.k, 0, 16 * j));
            multiply(back, m, turned_right(FORWARD ? stage.a : stage.b, 0, 16 * j));
        }
        const Left value = turned_left(stage.value, 0, own);
        multiply(back, value, square<WALK>(FORWARD ? squares.ak : squares.rb));
        multiply(sum, value, square<WALK>(squares.rk));
        multiply(solved, halves(back), square<WALK>(squares.inverse));
        const LeftHalves known = halves(solved);
        multiply(sum, known, square<WALK>(FORWARD ? squares.rb : squares.ak));
#pragma unroll
        for (int j = 0; j < K / 16; j++) {
            multiply(matrix[j], value, right(FORWARD ? stage.k : stage.r, 0, 16 * j));
            multiply(matrix[j], known, right(FORWARD ? stage.b : stage.a, 0, 16 * j));
            if (FORWARD) decay(j);
        }
        const int first = first_row(i);
        each_of(sum, [&](float& x, int value, int token) {
            if (first + token < place.rows) from_float(out.sums[place.at(first + token) + own + value], x);
        });
        each_of(solved, [&](float& x, int value, int token) {
            if (first + token < place.rows) out.back[place.at(first + token) + own + value] = x;
        });
    };
    in_roles<K>(count, fetch_keys, put_keys, fetch_values, put_values, multiply_chunk, walk_chunk);

    if (!walks) return;
#pragma unroll
    for (int i = 0; i < K / 16; i++) {
        each_of(matrix[i], [&](float& x, int value, int key) {
            out.after[place.matrix_of_sequence() + cell(i, value, key)] = x;
        });
    }
}

// ---- By keys

template <int K> struct KeyStage {
    // K and B, or R and A.
    Halves<K> x, z;
    Tile<CHUNK, K> v, dy;
    Halves<K> sa, dsa;
    // P_t, or 1 / P_t.
    float scales[CHUNK][K];
    // P.
    float whole[K];
};

struct KeySweepKeys {
    // k or r.
    Patch<bf16> x;
    Patch<float> w, kk, alpha;
};

struct KeySweepValues {
    Patch<bf16> v, dy;
    Patch<float> sa, dsa;
};

struct KeySquares {
    Halves<CHUNK> rk, rb, ak, ab;
};

template <int K> struct KeyShared {
    KeyStage<K> stages[STAGES];
    KeySquares squares[2];
};

// What the sweeps by values gave.
struct Known {
    const bf16* dy;
    const float *sa, *dsa;
};

template <Direction WALK, int K>
__device__ inline void walk_keys_in_chunks(const Inputs<bf16>& in, const Known& known, const float* state,
                                           const KeyOutputs& out) {
    static_assert(sizeof(KeyShared<K>) == KEYS_SHARED_EACH * K + KEYS_SHARED_MORE, "what the launch gives");
    constexpr bool FORWARD = WALK == Direction::FORWARD;
    KeyShared<K>& shared = *reinterpret_cast<KeyShared<K>*>(dynamic_shared);
    const Place<K> place(in.offsets);
    const int count = (place.rows + CHUNK - 1) / CHUNK, own = first_of_warp();
    auto first_row = [&](int i) { return (FORWARD ? i : count - 1 - i) * CHUNK; };

    Sum matrix[K / 16] = {};
    if (FORWARD && threadIdx.x < 2 * K) {
#pragma unroll
        for (int i = 0; i < K / 16; i++)
            each_of(matrix[i], [&](float& x, int key, int value) { x = state[place.matrix() + (own + key) * K + 16 * i + value]; });
    }

    auto fetch_keys = [&](int i, const PatchPlace<K>& at) {
        const int first = first_row(i);
        KeySweepKeys out = {patch_of(FORWARD ? in.k : in.r, place, first, at), patch_of(in.w, place, first, at),
                            patch_of(in.kk, place, first, at), {}};
        if (FORWARD) out.alpha = patch_of(in.alpha, place, first, at);
        return out;
    };
    auto put_keys = [&](int i, const PatchPlace<K>& at, const KeySweepKeys& from) {
        KeyStage<K>& stage = shared.stages[i % STAGES];
        const Logs logs = logs_of(from.w, in, place, first_row(i), at);
        if (FORWARD) put_writers(stage.x, stage.z, from.x, from.kk, from.alpha, logs, at);
        else put_readers(stage.x, stage.z, from.x, from.kk, logs, at);
#pragma unroll
        for (int t = 0; t < PATCH_TOKENS; t++) {
            const float* log = logs.at[t];
            *reinterpret_cast<Two<float>*>(&stage.scales[at.token + t][at.channel]) = {
                fast_exp2(FORWARD ? log[0] : -log[0]), fast_exp2(FORWARD ? log[1] : -log[1])};
        }
        put_whole(stage.whole, logs, at);
    };
    auto fetch_values = [&](int i, const PatchPlace<K>& at) {
        const int first = first_row(i);
        return KeySweepValues{patch_of(in.v, place, first, at), patch_of(known.dy, place, first, at),
                              patch_of(known.sa, place, first, at), patch_of(known.dsa, place, first, at)};
    };
    auto put_values = [&](int i, const PatchPlace<K>& at, const KeySweepValues& from) {
        KeyStage<K>& stage = shared.stages[i % STAGES];
        put(stage.v, from.v, at);
        put(stage.dy, from.dy, at);
        put(stage.sa, from.sa, at);
        put(stage.dsa, from.dsa, at);
    };
    auto multiply_chunk = [&](int i, int warp) {
        const KeyStage<K>& stage = shared.stages[i % STAGES];
        KeySquares& squares = shared.squares[i % 2];
        if (warp == 0) put(squares.rk, triangle<Kept::UP_TO_OWN, K>(stage.dy, stage.v));
        else if (warp == 1) put(squares.rb, triangle<Kept::UP_TO_OWN, K>(stage.dy, stage.sa));
        else if (warp == 2) put(squares.ak, triangle<Kept::BEFORE_OWN, K>(stage.dsa, stage.v));
        else put(squares.ab, triangle<Kept::BEFORE_OWN, K>(stage.dsa, stage.sa));
    };
    auto walk_chunk = [&](int i) {
        const KeyStage<K>& stage = shared.stages[i % STAGES];
        const KeySquares& squares = shared.squares[i % 2];
        auto decay = [&](int j) {
            each_of(matrix[j], [&](float& x, int key, int) { x *= stage.whole[own + key]; });
        };
        // Turned: [key, token].
        Sum first_sum = {}, second_sum = {};
#pragma unroll
        for (int j = 0; j < K / 16; j++) {
            if (!FORWARD) decay(j);
            const LeftHalves m = halves(matrix[j]);
            multiply(first_sum, m, turned_right(FORWARD ? stage.dy : stage.v, 0, 16 * j));
            multiply(second_sum, m, turned_right(FORWARD ? stage.dsa : stage.sa, 0, 16 * j));
        }
        const LeftHalves x = turned_left(stage.x, 0, own), z = turned_left(stage.z, 0, own);
        multiply(first_sum, x, square<WALK>(squares.rk));
        multiply(first_sum, z, square<WALK>(FORWARD ? squares.rb : squares.ak));
        multiply(second_sum, x, square<WALK>(FORWARD ? squares.ak : squares.rb));
        multiply(second_sum, z, square<WALK>(squares.ab));
#pragma unroll
        for (int j = 0; j < K / 16; j++) {
            multiply(matrix[j], x, right(FORWARD ? stage.v : stage.dy, 0, 16 * j));
            multiply(matrix[j], z, right(FORWARD ? stage.sa : stage.dsa, 0, 16 * j));
            if (FORWARD) decay(j);
        }
        const int first = first_row(i);
        auto write = [&](float* to, Sum& sum, int shift) {
            each_of(sum, [&](float& x, int key, int token) {
                const float scale = token < shift ? 1.0f : stage.scales[token - shift][own + key];
                if (first + token < place.rows) to[place.at(first + token) + own + key] = x * scale;
            });
        };
        write(FORWARD ? out.sdy : out.gv, first_sum, 0);
        write(FORWARD ? out.sdsa : out.gsa, second_sum, FORWARD ? 1 : 0);
    };
    in_roles<K>(count, fetch_keys, put_keys, fetch_values, put_values, multiply_chunk, walk_chunk);
}

}  // namespace
}  // namespace delta

#define DELTA_CHUNKED(K)                                                                                                  \
    KERNEL(2 * K + 2 * delta::ROLE, delta_forward_chunked_##K, DELTA_INPUTS(bf16), const float* state, bf16* y,           \
           float* sa, float* ends) {                                                                                      \
        delta::walk_values_in_chunks<delta::Direction::FORWARD, K, bf16>(DELTA_GIVEN, v, state, {y, sa, ends});           \
    }                                                                                                                     \
    KERNEL(2 * K + 2 * delta::ROLE, delta_backward_values_chunked_##K, DELTA_INPUTS(bf16), const bf16* dy, float* dv,     \
           float* dsa, float* starts) {                                                                                   \
        delta::walk_values_in_chunks<delta::Direction::BACKWARD, K, float>(DELTA_GIVEN, dy, nullptr, {dv, dsa, starts});  \
    }                                                                                                                     \
    KERNEL(2 * K + 2 * delta::ROLE, delta_backward_keys_chunked_##K, DELTA_INPUTS(bf16), const float* state,              \
           const bf16* dy, const float* sa, const float* dsa, float* gv, float* gsa, float* sdsa, float* sdy) {           \
        const delta::KeyOutputs out = {gv, gsa, sdsa, sdy};                                                               \
        if (blockIdx.z == 0) {                                                                                            \
            delta::walk_keys_in_chunks<delta::Direction::BACKWARD, K>(DELTA_GIVEN, {dy, sa, dsa}, nullptr, out);          \
        } else {                                                                                                          \
            delta::walk_keys_in_chunks<delta::Direction::FORWARD, K>(DELTA_GIVEN, {dy, sa, dsa}, state, out);             \
        }                                                                                                                 \
    }

DELTA_CHUNKED(32)
DELTA_CHUNKED(64)
