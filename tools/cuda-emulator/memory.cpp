// Device memory: every allocation is one of malloc's, so that AddressSanitizer sees a kernel that leaves it, and holds no
// numbers until they are written. Every copy and filling must stay within one allocation.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>

#include "api.h"
#include "poison.h"

namespace emulator {

namespace {

struct Allocation {
    size_t bytes;
    EmulatedDevice* device;
};

std::mutex mutex;

std::map<CUdeviceptr, Allocation>& allocations() {
    static auto* all = new std::map<CUdeviceptr, Allocation>;
    return *all;
}

size_t total_bytes(const EmulatedDevice* device) { return memory_of(device->ordinal); }

void* host(CUdeviceptr address) { return reinterpret_cast<void*>(address); }

CUresult outside(const char* what, CUdeviceptr address, size_t bytes) {
    fprintf(stderr, "cuda-emulator: %s of %zu bytes at %p, which are not in one allocation\n", what, bytes, host(address));
    return CUDA_ERROR_INVALID_VALUE;
}

}  // namespace

CUresult allocate(size_t bytes, CUdeviceptr* address) {
    if (lasting_failure()) return lasting_failure();
    if (bytes == 0) return CUDA_ERROR_INVALID_VALUE;
    EmulatedDevice* device = current_device();
    if (!device) return CUDA_ERROR_INVALID_CONTEXT;
    std::lock_guard<std::mutex> lock(mutex);
    void* memory;
    if (device->used + bytes > total_bytes(device) || posix_memalign(&memory, 256, bytes) != 0) return CUDA_ERROR_OUT_OF_MEMORY;
    poison(memory, bytes);
    device->used += bytes;
    if (device->used > device->peak) device->peak = device->used;
    *address = reinterpret_cast<CUdeviceptr>(memory);
    allocations()[*address] = {bytes, device};
    return CUDA_SUCCESS;
}

CUresult release(CUdeviceptr address) {
    if (address == 0) return CUDA_SUCCESS;
    std::lock_guard<std::mutex> lock(mutex);
    auto found = allocations().find(address);
    if (found == allocations().end()) {
        fprintf(stderr, "cuda-emulator: %p is freed and is no allocation\n", host(address));
        return CUDA_ERROR_INVALID_VALUE;
    }
    found->second.device->used -= found->second.bytes;
    free(host(address));
    allocations().erase(found);
    return CUDA_SUCCESS;
}

bool on_device(CUdeviceptr address, size_t bytes) {
    std::lock_guard<std::mutex> lock(mutex);
    auto after = allocations().upper_bound(address);
    if (after == allocations().begin()) return false;
    auto& [begin, allocation] = *--after;
    size_t offset = address - begin;
    return offset <= allocation.bytes && bytes <= allocation.bytes - offset;
}

}  // namespace emulator

using namespace emulator;

API CUresult cuMemAlloc_v2(CUdeviceptr* address, size_t bytes) { return allocate(bytes, address); }

API CUresult cuMemAllocManaged(CUdeviceptr* address, size_t bytes, unsigned) { return allocate(bytes, address); }

API CUresult cuMemFree_v2(CUdeviceptr address) { return release(address); }

API CUresult cuMemHostAlloc(void** memory, size_t bytes, unsigned) {
    return posix_memalign(memory, 4096, bytes) == 0 ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

API CUresult cuMemFreeHost(void* memory) {
    free(memory);
    return CUDA_SUCCESS;
}

API CUresult cuMemGetInfo_v2(size_t* unused, size_t* total) {
    EmulatedDevice* device = current_device();
    if (!device) return CUDA_ERROR_INVALID_CONTEXT;
    std::lock_guard<std::mutex> lock(mutex);
    *total = total_bytes(device);
    *unused = *total - device->used;
    return CUDA_SUCCESS;
}

API CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr to, const void* from, size_t bytes, CUstream stream) {
    return submit(stream, [=] {
        if (!on_device(to, bytes)) return outside("copy to the device", to, bytes);
        memcpy(host(to), from, bytes);
        return CUDA_SUCCESS;
    });
}

API CUresult cuMemcpyDtoHAsync_v2(void* to, CUdeviceptr from, size_t bytes, CUstream stream) {
    return submit(stream, [=] {
        if (!on_device(from, bytes)) return outside("copy from the device", from, bytes);
        memcpy(to, host(from), bytes);
        return CUDA_SUCCESS;
    });
}

API CUresult cuMemcpyDtoDAsync_v2(CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream stream) {
    return submit(stream, [=] {
        if (!on_device(from, bytes)) return outside("copy on the device", from, bytes);
        if (!on_device(to, bytes)) return outside("copy on the device", to, bytes);
        memmove(host(to), host(from), bytes);
        return CUDA_SUCCESS;
    });
}

API CUresult cuMemcpyPeerAsync(CUdeviceptr to, CUcontext, CUdeviceptr from, CUcontext, size_t bytes, CUstream stream) {
    return cuMemcpyDtoDAsync_v2(to, from, bytes, stream);
}

API CUresult cuMemsetD8Async(CUdeviceptr to, unsigned char value, size_t bytes, CUstream stream) {
    return submit(stream, [=] {
        if (!on_device(to, bytes)) return outside("filling", to, bytes);
        memset(host(to), value, bytes);
        return CUDA_SUCCESS;
    });
}

API CUresult cuMemsetD32Async(CUdeviceptr to, unsigned value, size_t count, CUstream stream) {
    return submit(stream, [=] {
        if (!on_device(to, 4 * count)) return outside("filling", to, 4 * count);
        for (size_t i = 0; i < count; i++) memcpy(static_cast<char*>(host(to)) + 4 * i, &value, 4);
        return CUDA_SUCCESS;
    });
}

API CUresult cuMemcpyHtoD_v2(CUdeviceptr to, const void* from, size_t bytes) {
    return cuMemcpyHtoDAsync_v2(to, from, bytes, nullptr);
}
API CUresult cuMemcpyDtoH_v2(void* to, CUdeviceptr from, size_t bytes) {
    return cuMemcpyDtoHAsync_v2(to, from, bytes, nullptr);
}
API CUresult cuMemcpyDtoD_v2(CUdeviceptr to, CUdeviceptr from, size_t bytes) {
    return cuMemcpyDtoDAsync_v2(to, from, bytes, nullptr);
}
API CUresult cuMemsetD8_v2(CUdeviceptr to, unsigned char value, size_t bytes) {
    return cuMemsetD8Async(to, value, bytes, nullptr);
}

// ---- The one memory pool of each device, which tells how much is in use and was at most

API CUresult cuDeviceGetDefaultMemPool(CUmemoryPool* pool, CUdevice device) {
    CUcontext context;
    CUresult result = cuDevicePrimaryCtxRetain(&context, device);
    if (result == CUDA_SUCCESS) *pool = reinterpret_cast<CUmemoryPool>(context);
    return result;
}

API CUresult cuDeviceGetMemPool(CUmemoryPool* pool, CUdevice device) { return cuDeviceGetDefaultMemPool(pool, device); }

API CUresult cuMemPoolTrimTo(CUmemoryPool, size_t) { return CUDA_SUCCESS; }

API CUresult cuMemPoolGetAttribute(CUmemoryPool pool, int attribute, void* value) {
    EmulatedDevice* device = reinterpret_cast<EmulatedDevice*>(pool);
    std::lock_guard<std::mutex> lock(mutex);
    switch (attribute) {
        case 1:
        case 2:
        case 3: *static_cast<int*>(value) = 1; break;  // ways of reuse
        case 4: *static_cast<unsigned long long*>(value) = 0; break;  // release threshold
        case 5:
        case 7: *static_cast<unsigned long long*>(value) = device->used; break;  // now
        case 6:
        case 8: *static_cast<unsigned long long*>(value) = device->peak; break;  // at most
        default: return CUDA_ERROR_INVALID_VALUE;
    }
    return CUDA_SUCCESS;
}

API CUresult cuMemPoolSetAttribute(CUmemoryPool pool, int attribute, void*) {
    EmulatedDevice* device = reinterpret_cast<EmulatedDevice*>(pool);
    std::lock_guard<std::mutex> lock(mutex);
    if (attribute == 6 || attribute == 8) device->peak = device->used;
    return CUDA_SUCCESS;
}
