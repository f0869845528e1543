// The kernels of candle's own tensor operations that tests are most likely to come across, by the names and arguments that
// candle-kernels gives them. `info` holds the dimensions and then the strides of each input; without it all is contiguous.
#include "common.cuh"

namespace {

double to_number(double x) { return x; }
double to_number(bf16 x) { return to_float(x); }
template <typename T> T from_number(double x) { return static_cast<T>(x); }
template <> bf16 from_number<bf16>(double x) { return rounded<bf16>(static_cast<float>(x)); }

// Where element i of a tensor lies.
size_t strided(size_t i, size_t num_dims, const size_t* dims, const size_t* strides) {
    size_t at = 0;
    for (size_t d = num_dims; d-- > 0;) {
        at += i % dims[d] * strides[d];
        i /= dims[d];
    }
    return at;
}

// Calls `each` for this thread's share of the elements.
template <typename F> void share(size_t numel, F each) {
    for (size_t i = static_cast<size_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < numel;
         i += static_cast<size_t>(blockDim.x) * gridDim.x)
        each(i);
}

template <typename S, typename T, typename F>
void map(size_t numel, size_t num_dims, const size_t* info, const S* in, T* out, F function) {
    share(numel, [&](size_t i) {
        // Without an input, out is changed in place.
        if (in) out[i] = function(in[info ? strided(i, num_dims, info, info + num_dims) : i]);
        else if constexpr (std::is_same<S, T>::value) out[i] = function(out[i]);
    });
}

template <typename T>
void copy_rows(const T* from, T* to, unsigned rows, unsigned columns, unsigned from_step, unsigned to_step) {
    unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < rows * columns) to[i / columns * to_step + i % columns] = from[i / columns * from_step + i % columns];
}

// One block for each result, over `count` neighbouring elements.
template <typename F>
void reduce(size_t numel, size_t count, size_t num_dims, const size_t* info, const float* in, float* out, float start,
            F join) {
    __shared__ float parts[1024];
    float mine = start;
    const size_t first = blockIdx.x * count, end = first + count < numel ? first + count : numel;
    for (size_t i = first + threadIdx.x; i < end; i += blockDim.x)
        mine = join(mine, in[strided(i, num_dims, info, info + num_dims)]);
    parts[threadIdx.x] = mine;
    __syncthreads();
    if (threadIdx.x != 0) return;
    for (unsigned i = 1; i < blockDim.x; i++) mine = join(mine, parts[i]);
    out[blockIdx.x] = mine;
}

}  // namespace

#define OF_TYPE(T, name)                                                                                      \
    KERNEL(1024, copy2d_##name, const T* from, T* to, unsigned rows, unsigned columns, unsigned from_step,    \
           unsigned to_step) {                                                                                \
        copy_rows(from, to, rows, columns, from_step, to_step);                                               \
    }                                                                                                         \
    KERNEL(1024, const_set_##name, size_t numel, size_t num_dims, const size_t* info, T value, T* out) {      \
        share(numel, [&](size_t i) { out[info ? strided(i, num_dims, info, info + num_dims) : i] = value; }); \
    }                                                                                                         \
    KERNEL(1024, ucopy_##name, size_t numel, size_t num_dims, const size_t* info, const T* in, T* out) {      \
        map(numel, num_dims, info, in, out, [](T x) { return x; });                                           \
    }
OF_TYPE(float, f32)
OF_TYPE(double, f64)
OF_TYPE(bf16, bf16)
OF_TYPE(uint8_t, u8)
OF_TYPE(uint32_t, u32)
OF_TYPE(int64_t, i64)

#define AFFINE(T, name)                                                                                           \
    KERNEL(1024, affine_##name, size_t numel, size_t num_dims, const size_t* info, const T* in, T* out, T factor, \
           T addend) {                                                                                            \
        map(numel, num_dims, info, in, out,                                                                       \
            [&](T x) { return from_number<T>(to_number(x) * to_number(factor) + to_number(addend)); });           \
    }
AFFINE(float, f32)
AFFINE(double, f64)
AFFINE(bf16, bf16)

#define UNARY_OF(T, type, name, result)                                                                   \
    KERNEL(1024, name##_##type, size_t numel, size_t num_dims, const size_t* info, const T* in, T* out) { \
        map(numel, num_dims, info, in, out, [](T given) {                                                 \
            const double x = to_number(given);                                                            \
            return from_number<T>(result);                                                                \
        });                                                                                               \
    }
#define UNARY(name, result) UNARY_OF(float, f32, name, result) UNARY_OF(bf16, bf16, name, result)
UNARY(usqr, x* x)
UNARY(usqrt, sqrt(x))
UNARY(uneg, -x)
UNARY(uabs, fabs(x))
UNARY(uexp, exp(x))
UNARY(ulog, log(x))
UNARY(urecip, 1 / x)
UNARY(utanh, tanh(x))
UNARY(urelu, x > 0 ? x : 0)
UNARY(usigmoid, 1 / (1 + exp(-x)))
UNARY(usilu, x / (1 + exp(-x)))

#define BINARY_OF(T, type, name, result)                                                                                    \
    KERNEL(1024, name##_##type, size_t numel, size_t num_dims, const size_t* info, const T* left, const T* right, T* out) { \
        share(numel, [&](size_t i) {                                                                                        \
            const double x = to_number(left[info ? strided(i, num_dims, info, info + num_dims) : i]);                       \
            const double y = to_number(right[info ? strided(i, num_dims, info, info + 2 * num_dims) : i]);                  \
            out[i] = from_number<T>(result);                                                                                \
        });                                                                                                                 \
    }
#define BINARY(name, result) \
    BINARY_OF(float, f32, name, result) BINARY_OF(double, f64, name, result) BINARY_OF(bf16, bf16, name, result)
BINARY(badd, x + y)
BINARY(bsub, x - y)
BINARY(bmul, x* y)
BINARY(bdiv, x / y)
BINARY(bmaximum, x > y ? x : y)
BINARY(bminimum, x < y ? x : y)

#define CAST(S, from, T, to)                                                                                   \
    KERNEL(1024, cast_##from##_##to, size_t numel, size_t num_dims, const size_t* info, const S* in, T* out) { \
        map(numel, num_dims, info, in, out, [](S x) { return from_number<T>(to_number(x)); });                 \
    }
CAST(float, f32, float, f32)
CAST(float, f32, double, f64)
CAST(float, f32, bf16, bf16)
CAST(double, f64, float, f32)
CAST(double, f64, double, f64)
CAST(double, f64, bf16, bf16)
CAST(bf16, bf16, float, f32)
CAST(bf16, bf16, double, f64)
CAST(bf16, bf16, bf16, bf16)
CAST(uint32_t, u32, float, f32)
CAST(uint8_t, u8, float, f32)

KERNEL(1024, fast_sum_f32, size_t numel, size_t count, size_t num_dims, const size_t* info, const float* in, float* out) {
    reduce(numel, count, num_dims, info, in, out, 0, [](float x, float y) { return x + y; });
}

KERNEL(1024, fast_max_f32, size_t numel, size_t count, size_t num_dims, const size_t* info, const float* in, float* out) {
    reduce(numel, count, num_dims, info, in, out, -INFINITY, [](float x, float y) { return x < y ? y : x; });
}

// Up to 32 elements for each result: one thread does it alone.
KERNEL(1024, fast_sum_small_f32, size_t results, size_t count, size_t num_dims, const size_t* info, const float* in,
       float* out) {
    share(results, [&](size_t result) {
        float sum = 0;
        for (size_t i = 0; i < count; i++) sum += in[strided(result * count + i, num_dims, info, info + num_dims)];
        out[result] = sum;
    });
}
