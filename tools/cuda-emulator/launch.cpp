// Modules, functions and launches. Modules are empty: a function is found by its name among the kernels compiled into this
// library.
//
// EMULATED_CUDA_FAIL_AT=n makes the n-th launch fail, and everything after it, as a kernel that crashes does.
#include <atomic>
#include <cstdio>
#include <map>
#include <mutex>
#include <vector>

#include "api.h"
#include "kernel.h"

using namespace emulator;

struct EmulatedFunction {
    const Kernel* kernel;
    std::atomic<size_t> dynamic_shared{48 << 10};
};

namespace {

struct Module {};

CUfunction function_of(const Kernel* kernel) {
    static std::mutex mutex;
    static auto* functions = new std::map<const Kernel*, EmulatedFunction>;
    std::lock_guard<std::mutex> lock(mutex);
    EmulatedFunction& function = (*functions)[kernel];
    function.kernel = kernel;
    return &function;
}

bool is_to_fail() {
    static std::atomic<long long> launches(0);
    static const long long fail_at = setting("EMULATED_CUDA_FAIL_AT", 0);
    return ++launches == fail_at;
}

CUresult refuse(const Kernel& kernel, const char* why) {
    fprintf(stderr, "cuda-emulator: launch of kernel %s: %s\n", kernel.name, why);
    return CUDA_ERROR_INVALID_VALUE;
}

// A launch with its arguments, which may be made long after its caller has gone.
struct Noted {
    Launch launch;
    std::vector<std::vector<unsigned char>> arguments;
};

CUresult execute(const Noted& noted) {
    if (is_to_fail()) return fail_for_good(CUDA_ERROR_LAUNCH_FAILED);
    const Kernel& kernel = *noted.launch.kernel;
    std::vector<void*> pointers;
    for (size_t i = 0; i < noted.arguments.size(); i++) {
        void* at = const_cast<unsigned char*>(noted.arguments[i].data());
        CUdeviceptr address = kernel.arguments[i].is_pointer ? *static_cast<CUdeviceptr*>(at) : 0;
        if (address != 0 && !on_device(address, 0)) {
            fprintf(stderr, "cuda-emulator: kernel %s: argument %zu (%#llx) points to no device memory\n", kernel.name, i,
                    address);
            return fail_for_good(CUDA_ERROR_ILLEGAL_ADDRESS);
        }
        pointers.push_back(at);
    }
    Launch launch = noted.launch;
    launch.arguments = pointers.data();
    run(launch);
    return CUDA_SUCCESS;
}

CUresult load(Module** module) {
    if (lasting_failure()) return lasting_failure();
    // Programs are built for compute capability 8.0 and later, with CUDA 13.
    if (capability() < 80) return CUDA_ERROR_NO_BINARY_FOR_GPU;
    if (setting("EMULATED_CUDA_DRIVER_VERSION", 13000) < 13000) return CUDA_ERROR_UNSUPPORTED_PTX_VERSION;
    *module = new Module;
    return CUDA_SUCCESS;
}

}  // namespace

API CUresult cuModuleLoadData(Module** module, const void*) { return load(module); }
API CUresult cuModuleLoadDataEx(Module** module, const void*, unsigned, int*, void**) { return load(module); }
API CUresult cuModuleLoad(Module** module, const char*) { return load(module); }

API CUresult cuModuleUnload(Module* module) {
    delete module;
    return CUDA_SUCCESS;
}

API CUresult cuModuleGetFunction(CUfunction* function, Module*, const char* name) {
    const Kernel* kernel = find_kernel(name);
    if (!kernel) {
        fprintf(stderr, "cuda-emulator: there is no kernel %s\n", name);
        return CUDA_ERROR_NOT_FOUND;
    }
    *function = function_of(kernel);
    return CUDA_SUCCESS;
}

API CUresult cuFuncGetAttribute(int* value, int attribute, CUfunction function) {
    switch (attribute) {
        case 0: *value = function->kernel->most_threads; break;
        case 4: *value = 32; break;  // registers
        case 5:
        case 6: *value = capability(); break;
        case 8: *value = function->dynamic_shared; break;
        default: *value = 0;
    }
    return CUDA_SUCCESS;
}

API CUresult cuFuncSetAttribute(CUfunction function, int attribute, int value) {
    const int MOST_DYNAMIC_SHARED = 8;
    if (attribute != MOST_DYNAMIC_SHARED) return CUDA_SUCCESS;
    if (value < 0 || static_cast<size_t>(value) > most_dynamic_shared()) return CUDA_ERROR_INVALID_VALUE;
    function->dynamic_shared = value;
    return CUDA_SUCCESS;
}

API CUresult cuFuncSetCacheConfig(CUfunction, int) { return CUDA_SUCCESS; }

API CUresult cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int* blocks, CUfunction function, int threads, size_t,
                                                                  unsigned) {
    if (threads <= 0) return CUDA_ERROR_INVALID_VALUE;
    *blocks = threads > static_cast<int>(function->kernel->most_threads) ? 0 : 1024 / threads;
    return CUDA_SUCCESS;
}

API CUresult cuOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, CUfunction function, int threads,
                                                         size_t shared_bytes) {
    return cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(blocks, function, threads, shared_bytes, 0);
}

API CUresult cuLaunchKernel(CUfunction function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,
                            unsigned block_y, unsigned block_z, unsigned shared_bytes, CUstream stream, void** arguments,
                            void** extra) {
    const Kernel& kernel = *function->kernel;
    if (extra) return refuse(kernel, "arguments in one buffer are not supported");
    if (grid_x == 0 || grid_y == 0 || grid_z == 0) return refuse(kernel, "a grid of no blocks");
    if (grid_x > 0x7fffffff || grid_y > 65535 || grid_z > 65535) return refuse(kernel, "the grid is too large");
    if (block_x == 0 || block_y == 0 || block_z == 0) return refuse(kernel, "a block of no threads");
    if (block_z > 64 || static_cast<unsigned long long>(block_x) * block_y * block_z > kernel.most_threads)
        return refuse(kernel, "more threads a block than the kernel is made for");
    if (shared_bytes > function->dynamic_shared)
        return refuse(kernel, "more dynamic shared memory than the function is allowed");

    Noted noted = {{&kernel, {grid_x, grid_y, grid_z}, {block_x, block_y, block_z}, shared_bytes, nullptr}, {}};
    for (size_t i = 0; i < kernel.arguments.size(); i++) {
        const unsigned char* at = static_cast<unsigned char*>(arguments[i]);
        noted.arguments.emplace_back(at, at + kernel.arguments[i].size);
    }
    return submit(stream, [noted] { return execute(noted); });
}
