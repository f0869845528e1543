// What the files of the stand-in driver share: the types and error codes of NVIDIA's driver interface, and the
// state of the emulated devices. Everything happens at the call; a stream that is being captured only notes what would.
#pragma once

#include <cstddef>
#include <functional>

#define API extern "C" __attribute__((visibility("default")))

#define CU_RESULTS(RESULT)                                                                                          \
    RESULT(CUDA_SUCCESS, 0, "no error")                                                                             \
    RESULT(CUDA_ERROR_INVALID_VALUE, 1, "invalid argument")                                                         \
    RESULT(CUDA_ERROR_OUT_OF_MEMORY, 2, "out of memory")                                                            \
    RESULT(CUDA_ERROR_NOT_INITIALIZED, 3, "initialization error")                                                   \
    RESULT(CUDA_ERROR_NO_DEVICE, 100, "no CUDA-capable device is detected")                                         \
    RESULT(CUDA_ERROR_INVALID_DEVICE, 101, "invalid device ordinal")                                                \
    RESULT(CUDA_ERROR_INVALID_CONTEXT, 201, "invalid device context")                                               \
    RESULT(CUDA_ERROR_NO_BINARY_FOR_GPU, 209, "no kernel image is available for execution on the device")           \
    RESULT(CUDA_ERROR_UNSUPPORTED_PTX_VERSION, 222, "the provided PTX was compiled with an unsupported toolchain.") \
    RESULT(CUDA_ERROR_INVALID_HANDLE, 400, "invalid resource handle")                                               \
    RESULT(CUDA_ERROR_NOT_FOUND, 500, "named symbol not found")                                                     \
    RESULT(CUDA_ERROR_NOT_READY, 600, "device not ready")                                                           \
    RESULT(CUDA_ERROR_ILLEGAL_ADDRESS, 700, "an illegal memory access was encountered")                             \
    RESULT(CUDA_ERROR_LAUNCH_FAILED, 719, "unspecified launch failure")                                             \
    RESULT(CUDA_ERROR_NOT_SUPPORTED, 801, "operation not supported")                                                \
    RESULT(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, 900, "operation not permitted when stream is capturing")          \
    RESULT(CUDA_ERROR_STREAM_CAPTURE_INVALIDATED, 901, "operation failed due to a previous error during capture")   \
    RESULT(CUDA_ERROR_STREAM_CAPTURE_MERGE, 902, "operation would result in a merge of separate capture sequences") \
    RESULT(CUDA_ERROR_STREAM_CAPTURE_UNMATCHED, 903, "capture was not ended in the same stream as it began")        \
    RESULT(CUDA_ERROR_STREAM_CAPTURE_ISOLATION, 905, "dependency created on uncaptured work in another stream")     \
    RESULT(CUDA_ERROR_CAPTURED_EVENT, 907, "operation not permitted on an event last recorded in a capturing stream")

enum CUresult {
#define RESULT(name, value, text) name = value,
    CU_RESULTS(RESULT)
#undef RESULT
};

typedef int CUdevice;
typedef unsigned long long CUdeviceptr;
typedef struct EmulatedDevice* CUcontext;
typedef struct EmulatedStream* CUstream;
typedef struct EmulatedEvent* CUevent;
typedef struct EmulatedFunction* CUfunction;
typedef struct EmulatedPool* CUmemoryPool;

API CUresult cuDevicePrimaryCtxRetain(CUcontext* context, CUdevice device);

struct EmulatedDevice {
    int ordinal;
    size_t used, peak;
};

namespace emulator {

// The number in an environment variable.
long long setting(const char* name, long long otherwise);

// Bytes of a device's memory.
long long memory_of(CUdevice device);

// Capability times ten, as in sm_80.
int capability();
// Bytes of dynamic shared memory that a kernel may be given on a device of this capability.
size_t most_dynamic_shared();

// The device whose context is current on this thread; null if none is.
EmulatedDevice* current_device();

// After a kernel has failed, all calls fail with the same error until the program ends.
CUresult lasting_failure();
CUresult fail_for_good(CUresult result);

typedef std::function<CUresult()> Step;

// Does the step, or notes it if the stream is being captured.
CUresult submit(CUstream stream, Step step);

CUresult allocate(size_t bytes, CUdeviceptr* address);
CUresult release(CUdeviceptr address);
// Whether all of these bytes lie in one allocation.
bool on_device(CUdeviceptr address, size_t bytes);

}  // namespace emulator
