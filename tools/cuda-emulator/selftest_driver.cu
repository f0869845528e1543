// Tests of the stand-in driver and of its products of matrices. Run by `tools/cuda-emulator/run selftest`.
#include "common.cuh"

#include <tuple>
#include <vector>

#include "api.h"
#include "check.h"

extern "C" {
CUresult cuInit(unsigned);
CUresult cuCtxSetCurrent(CUcontext);
CUresult cuMemGetInfo_v2(size_t*, size_t*);
CUresult cuMemAllocAsync(CUdeviceptr*, size_t, CUstream);
CUresult cuMemFreeAsync(CUdeviceptr, CUstream);
CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr, const void*, size_t, CUstream);
CUresult cuMemcpyDtoHAsync_v2(void*, CUdeviceptr, size_t, CUstream);
CUresult cuMemsetD8Async(CUdeviceptr, unsigned char, size_t, CUstream);
CUresult cuStreamCreate(CUstream*, unsigned);
CUresult cuStreamSynchronize(CUstream);
CUresult cuStreamWaitEvent(CUstream, CUevent, unsigned);
CUresult cuStreamBeginCapture_v2(CUstream, unsigned);
CUresult cuStreamEndCapture(CUstream, struct EmulatedGraph**);
CUresult cuGraphInstantiateWithFlags(struct EmulatedGraph**, struct EmulatedGraph*, unsigned long long);
CUresult cuGraphLaunch(struct EmulatedGraph*, CUstream);
CUresult cuGraphDestroy(struct EmulatedGraph*);
CUresult cuEventCreate(CUevent*, unsigned);
CUresult cuEventRecord(CUevent, CUstream);
CUresult cuModuleGetFunction(CUfunction*, void*, const char*);
CUresult cuFuncSetAttribute(CUfunction, int, int);
CUresult cuLaunchKernel(CUfunction, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, CUstream, void**,
                        void**);
int cublasCreate_v2(void**);
int cublasSetStream_v2(void*, CUstream);
int cublasGemmStridedBatchedEx(void*, int, int, int, int, int, const void*, const void*, int, int, long long, const void*,
                               int, int, long long, const void*, void*, int, int, long long, int, int, int);
}

KERNEL(128, add_to_each, float* x, float by, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) x[i] += by;
}

namespace {

CUdeviceptr allocated(size_t bytes, CUstream stream = nullptr) {
    CUdeviceptr address = 0;
    cuMemAllocAsync(&address, bytes, stream);
    return address;
}

template <typename T> CUdeviceptr uploaded(const std::vector<T>& x) {
    CUdeviceptr address = allocated(x.size() * sizeof(T));
    cuMemcpyHtoDAsync_v2(address, x.data(), x.size() * sizeof(T), nullptr);
    return address;
}

template <typename T> std::vector<T> downloaded(CUdeviceptr address, size_t count) {
    std::vector<T> x(count);
    cuMemcpyDtoHAsync_v2(x.data(), address, count * sizeof(T), nullptr);
    return x;
}

CUresult add(CUdeviceptr x, float by, int n, CUstream stream = nullptr, unsigned threads = 128, unsigned blocks = 4,
             unsigned shared = 0) {
    CUfunction function;
    if (CUresult result = cuModuleGetFunction(&function, nullptr, "add_to_each")) return result;
    void* arguments[] = {&x, &by, &n};
    return cuLaunchKernel(function, blocks, 1, 1, threads, 1, 1, shared, stream, arguments, nullptr);
}

void reports() {
    check_report(
        [] {
            CUdeviceptr x = allocated(400);
            cuMemFreeAsync(x, nullptr);
            if (add(x, 1, 100) == CUDA_ERROR_ILLEGAL_ADDRESS && cuStreamSynchronize(nullptr) == CUDA_ERROR_ILLEGAL_ADDRESS)
                exit(1);
        },
        {"kernel add_to_each: argument 0", "points to no device memory"}, "a kernel is given freed memory");
    check_report(
        [] {
            setenv("EMULATED_CUDA_FAIL_AT", "2", 1);
            CUdeviceptr x = allocated(400);
            if (add(x, 1, 100) == CUDA_SUCCESS && add(x, 1, 100) == CUDA_ERROR_LAUNCH_FAILED &&
                cuStreamSynchronize(nullptr) == CUDA_ERROR_LAUNCH_FAILED)
                exit(1);
        },
        {}, "a launch that is to fail does, and all after it");
    check_report(
        [] {
            setenv("EMULATED_CUDA_DEVICES", "0", 1);
            if (cuInit(0) == CUDA_ERROR_NO_DEVICE) exit(1);
        },
        {}, "no device");
}

void memory() {
    CUdeviceptr x = allocated(400);
    check(downloaded<float>(x, 1)[0] != downloaded<float>(x, 1)[0], "fresh memory holds no number");
    cuMemsetD8Async(x, 0, 400, nullptr);
    check(downloaded<float>(x, 100)[99] == 0, "filling");
    std::vector<char> large(401);
    check(cuMemcpyDtoHAsync_v2(large.data(), x, 401, nullptr) == CUDA_ERROR_INVALID_VALUE,
          "a copy beyond an allocation is refused");
    size_t unused, total;
    CUdeviceptr rest;
    cuMemGetInfo_v2(&unused, &total);
    check(total == 1 << 20 && unused <= total - 400, "memory in use is counted");
    check(cuMemAllocAsync(&rest, unused + 1, nullptr) == CUDA_ERROR_OUT_OF_MEMORY, "more memory than there is");
    check(cuMemAllocAsync(&rest, unused, nullptr) == CUDA_SUCCESS, "all memory that is left");
    cuMemFreeAsync(rest, nullptr);
    cuMemFreeAsync(x, nullptr);
}

void launches() {
    CUdeviceptr x = uploaded(std::vector<float>(500, 1));
    check(add(x, 2, 500) == CUDA_SUCCESS && downloaded<float>(x, 500) == std::vector<float>(500, 3), "a launch");
    check(add(x, 2, 500, nullptr, 129) == CUDA_ERROR_INVALID_VALUE, "more threads than the kernel is made for");
    check(add(x, 2, 500, nullptr, 128, 0) == CUDA_ERROR_INVALID_VALUE, "an empty grid");
    check(add(x, 2, 500, nullptr, 128, 4, 49 << 10) == CUDA_ERROR_INVALID_VALUE, "more shared memory than is allowed");
    CUfunction function;
    cuModuleGetFunction(&function, nullptr, "add_to_each");
    check(cuFuncSetAttribute(function, 8, 100 << 10) == CUDA_SUCCESS &&
              add(x, 2, 500, nullptr, 128, 4, 100 << 10) == CUDA_SUCCESS,
          "more shared memory once it is allowed");
    check(cuFuncSetAttribute(function, 8, 164 << 10) == CUDA_ERROR_INVALID_VALUE, "more shared memory than the device has");
    check(cuModuleGetFunction(&function, nullptr, "no_such_kernel") == CUDA_ERROR_NOT_FOUND, "an unknown kernel");
    cuMemFreeAsync(x, nullptr);
}

void graphs() {
    CUstream stream;
    cuStreamCreate(&stream, 1);
    CUdeviceptr x = uploaded(std::vector<float>(100, 1));
    cuStreamBeginCapture_v2(stream, 1);
    CUdeviceptr within = allocated(400, stream);
    add(x, 10, 100, stream);
    cuMemsetD8Async(within, 0, 400, stream);
    add(within, 7, 100, stream);
    struct EmulatedGraph *graph, *executable;
    check(cuStreamEndCapture(stream, &graph) == CUDA_SUCCESS && downloaded<float>(x, 1)[0] == 1,
          "capturing does nothing yet");
    cuGraphInstantiateWithFlags(&executable, graph, 1);
    cuGraphLaunch(executable, stream);
    cuGraphLaunch(executable, stream);
    check(downloaded<float>(x, 100) == std::vector<float>(100, 21), "a graph launched twice");
    check(downloaded<float>(within, 100) == std::vector<float>(100, 7), "memory that belongs to a graph");
    cuGraphDestroy(executable);
    cuGraphDestroy(graph);
    check(cuMemFreeAsync(within, stream) == CUDA_SUCCESS, "which outlives it until it is freed");

    CUevent event;
    cuEventCreate(&event, 0);
    cuEventRecord(event, stream);
    cuStreamBeginCapture_v2(stream, 1);
    check(cuStreamWaitEvent(stream, event, 0) == CUDA_ERROR_STREAM_CAPTURE_ISOLATION,
          "waiting in a capture for what came before it");
    check(cuStreamEndCapture(stream, &graph) == CUDA_ERROR_STREAM_CAPTURE_INVALIDATED, "which spoils the capture");
    cuStreamBeginCapture_v2(stream, 1);
    check(cuStreamSynchronize(stream) == CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, "waiting for a stream that is captured");
    cuStreamEndCapture(stream, &graph);
    cuMemFreeAsync(x, nullptr);
}

template <typename T> struct Number;
template <> struct Number<float> {
    static constexpr int TYPE = 0, COMPUTE = 68;
    typedef float Factor;
};
template <> struct Number<double> {
    static constexpr int TYPE = 1, COMPUTE = 70;
    typedef double Factor;
};
template <> struct Number<bf16> {
    static constexpr int TYPE = 14, COMPUTE = 68;
    typedef float Factor;
};

double value(double x) { return x; }
double value(bf16 x) { return to_float(x); }
void set(float& to, double x) { to = x; }
void set(double& to, double x) { to = x; }
void set(bf16& to, double x) { from_float(to, x); }

// The largest error of two products in a batch, with distances between columns and matrices that are larger than needed.
template <typename T, typename C> double product_error(int m, int n, int k, bool transpose_a, bool transpose_b) {
    const int lda = (transpose_a ? k : m) + 3, ldb = (transpose_b ? n : k) + 1, ldc = m + 2;
    const long long a_stride = lda * (transpose_a ? m : k) + 5, b_stride = ldb * (transpose_b ? k : n), c_stride = ldc * n;
    std::vector<T> a(2 * a_stride), b(2 * b_stride);
    std::vector<C> c(2 * c_stride);
    for (T& x : a) set(x, rand() % 2001 / 1000.0 - 1);
    for (T& x : b) set(x, rand() % 2001 / 1000.0 - 1);
    for (C& x : c) set(x, rand() % 2001 / 1000.0 - 1);
    CUdeviceptr on_a = uploaded(a), on_b = uploaded(b), on_c = uploaded(c);
    void* handle;
    cublasCreate_v2(&handle);
    typename Number<T>::Factor alpha = 0.5, beta = 2;
    int status = cublasGemmStridedBatchedEx(handle, transpose_a, transpose_b, m, n, k, &alpha, reinterpret_cast<void*>(on_a),
                                            Number<T>::TYPE, lda, a_stride, reinterpret_cast<void*>(on_b), Number<T>::TYPE,
                                            ldb, b_stride, &beta, reinterpret_cast<void*>(on_c), Number<C>::TYPE, ldc,
                                            c_stride, 2, Number<T>::COMPUTE, -1);
    std::vector<C> got = downloaded<C>(on_c, c.size());
    for (CUdeviceptr address : {on_a, on_b, on_c}) cuMemFreeAsync(address, nullptr);
    double worst = status;
    for (int batch = 0; batch < 2; batch++)
        for (int i = 0; i < m; i++)
            for (int j = 0; j < n; j++) {
                double sum = 0;
                for (int l = 0; l < k; l++)
                    sum += value(a[batch * a_stride + (transpose_a ? i * lda + l : l * lda + i)]) *
                           value(b[batch * b_stride + (transpose_b ? l * ldb + j : j * ldb + l)]);
                const long long at = batch * c_stride + j * ldc + i;
                worst = fmax(worst, fabs(0.5 * sum + 2 * value(c[at]) - value(got[at])));
            }
    return worst;
}

void products() {
    double floats = 0, doubles = 0, halves = 0, halves_to_floats = 0;
    for (int which = 0; which < 4; which++)
        for (auto [m, n, k] :
             {std::tuple(1, 1, 1), std::tuple(70, 3, 300), std::tuple(5, 130, 17), std::tuple(64, 64, 64)}) {
            floats = fmax(floats, product_error<float, float>(m, n, k, which & 1, which & 2));
            doubles = fmax(doubles, product_error<double, double>(m, n, k, which & 1, which & 2));
            halves = fmax(halves, product_error<bf16, bf16>(m, n, k, which & 1, which & 2));
            halves_to_floats = fmax(halves_to_floats, product_error<bf16, float>(m, n, k, which & 1, which & 2));
        }
    check(floats < 2e-5, "products in float");
    check(doubles < 1e-13, "products in double");
    check(halves < 0.05, "products of bf16 into bf16");
    check(halves_to_floats < 2e-5, "products of bf16 into float");
}

}  // namespace

int main() {
    setenv("EMULATED_CUDA_MEMORY", "1048576", 1);
    CUcontext context;
    cuDevicePrimaryCtxRetain(&context, 0);
    cuCtxSetCurrent(context);
    reports();  // first: they want a process of one thread
    memory();
    launches();
    graphs();
    products();
    return failures ? 1 : 0;
}
