// Devices, contexts, attributes and error texts of the stand-in driver.
#include "api.h"

#include <atomic>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "kernel.h"

namespace emulator {

namespace {

const int MOST_DEVICES = 8;
EmulatedDevice devices[MOST_DEVICES];
std::atomic<CUresult> failure(CUDA_SUCCESS);

int device_count() {
    long long count = setting("EMULATED_CUDA_DEVICES", 1);
    return count < MOST_DEVICES ? count : MOST_DEVICES;
}

bool exists(CUdevice device) { return device >= 0 && device < device_count(); }

}  // namespace

long long setting(const char* name, long long otherwise) {
    const char* text = getenv(name);
    return text && *text ? strtoll(text, nullptr, 10) : otherwise;
}

long long memory_of(CUdevice device) {
    const char* text = getenv("EMULATED_CUDA_MEMORY");
    if (!text || !*text) return 8ll << 30;
    while (const char* comma = device-- > 0 ? strchr(text, ',') : nullptr) text = comma + 1;
    return strtoll(text, nullptr, 10);
}

int capability() {
    static const char* text = getenv("EMULATED_CUDA_CAPABILITY");
    static int tenfold = text && *text ? static_cast<int>(lround(10 * strtod(text, nullptr))) : 80;
    return tenfold;
}

size_t most_dynamic_shared() {
    switch (capability()) {
        case 70: return 96 << 10;
        case 75: return 64 << 10;
        case 80:
        case 87: return 163 << 10;
        case 90:
        case 100:
        case 103: return 227 << 10;
        default: return 99 << 10;
    }
}

EmulatedDevice* current_device() { return static_cast<EmulatedDevice*>(now.context); }

CUresult lasting_failure() { return failure; }

CUresult fail_for_good(CUresult result) {
    failure = result;
    return result;
}

}  // namespace emulator

using namespace emulator;

API CUresult cuInit(unsigned) { return device_count() > 0 ? CUDA_SUCCESS : CUDA_ERROR_NO_DEVICE; }

API CUresult cuDriverGetVersion(int* version) {
    *version = setting("EMULATED_CUDA_DRIVER_VERSION", 13000);
    return CUDA_SUCCESS;
}

API CUresult cuDeviceGetCount(int* count) {
    *count = device_count();
    return CUDA_SUCCESS;
}

API CUresult cuDeviceGet(CUdevice* device, int ordinal) {
    if (!exists(ordinal)) return CUDA_ERROR_INVALID_DEVICE;
    *device = ordinal;
    return CUDA_SUCCESS;
}

API CUresult cuDeviceGetName(char* name, int room, CUdevice device) {
    if (!exists(device)) return CUDA_ERROR_INVALID_DEVICE;
    snprintf(name, room, "Emulated CUDA device %d", device);
    return CUDA_SUCCESS;
}

API CUresult cuDeviceGetUuid_v2(char* uuid, CUdevice device) {
    if (!exists(device)) return CUDA_ERROR_INVALID_DEVICE;
    memcpy(uuid, "emulated device ", 16);
    uuid[15] = static_cast<char>('0' + device);
    return CUDA_SUCCESS;
}

API CUresult cuDeviceTotalMem_v2(size_t* bytes, CUdevice device) {
    if (!exists(device)) return CUDA_ERROR_INVALID_DEVICE;
    *bytes = memory_of(device);
    return CUDA_SUCCESS;
}

API CUresult cuDeviceGetAttribute(int* value, int attribute, CUdevice device) {
    if (!exists(device)) return CUDA_ERROR_INVALID_DEVICE;
    switch (attribute) {
        case 1:
        case 2:
        case 3: *value = 1024; break;  // threads a block; its x and y
        case 4: *value = 64; break;  // a block's z
        case 5: *value = 0x7fffffff; break;  // a grid's x
        case 6:
        case 7: *value = 65535; break;  // its y and z
        case 8: *value = 48 << 10; break;  // shared memory a block
        case 10: *value = 32; break;  // threads a warp
        case 12:
        case 82: *value = 65536; break;  // registers a block, a multiprocessor
        case 16: *value = 4; break;  // multiprocessors
        case 38: *value = 4 << 20; break;  // L2 cache
        case 39: *value = capability() == 75 ? 1024 : 2048; break;  // threads a multiprocessor
        case 41:
        case 115: *value = 1; break;  // unified addresses, memory pools
        case 75: *value = capability() / 10; break;
        case 76: *value = capability() % 10; break;
        case 81: *value = static_cast<int>(most_dynamic_shared() + 1024); break;  // shared memory a multiprocessor
        case 97: *value = static_cast<int>(most_dynamic_shared()); break;  // the most a kernel can ask for
        case 106: *value = 16; break;  // blocks a multiprocessor
        case 111: *value = 1024; break;  // shared memory that the system keeps
        default: *value = 0;
    }
    return CUDA_SUCCESS;
}

API CUresult cuDevicePrimaryCtxRetain(CUcontext* context, CUdevice device) {
    if (!exists(device)) return CUDA_ERROR_INVALID_DEVICE;
    devices[device].ordinal = device;
    *context = &devices[device];
    return CUDA_SUCCESS;
}

API CUresult cuDevicePrimaryCtxRelease_v2(CUdevice device) {
    return exists(device) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_DEVICE;
}

API CUresult cuCtxSetCurrent(CUcontext context) {
    now.context = context;
    return CUDA_SUCCESS;
}

API CUresult cuCtxGetCurrent(CUcontext* context) {
    *context = current_device();
    return CUDA_SUCCESS;
}

API CUresult cuCtxGetDevice(CUdevice* device) {
    if (!current_device()) return CUDA_ERROR_INVALID_CONTEXT;
    *device = current_device()->ordinal;
    return CUDA_SUCCESS;
}

API CUresult cuCtxSetFlags(unsigned) { return CUDA_SUCCESS; }

API CUresult cuCtxSynchronize() { return lasting_failure(); }

API CUresult cuGetErrorName(CUresult result, const char** name) {
    switch (result) {
#define RESULT(name_, value, text) \
    case name_: *name = #name_; return CUDA_SUCCESS;
        CU_RESULTS(RESULT)
#undef RESULT
    }
    return CUDA_ERROR_INVALID_VALUE;
}

API CUresult cuGetErrorString(CUresult result, const char** string) {
    switch (result) {
#define RESULT(name, value, text) \
    case name: *string = text; return CUDA_SUCCESS;
        CU_RESULTS(RESULT)
#undef RESULT
    }
    return CUDA_ERROR_INVALID_VALUE;
}

API CUresult cuProfilerStart() { return CUDA_SUCCESS; }
API CUresult cuProfilerStop() { return CUDA_SUCCESS; }
