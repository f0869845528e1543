//! A GPU's memory: the pool that tensors come from, how full it is, and giving it back.

use candle_core::cuda_backend::WrapErr;
use candle_core::cuda_backend::cudarc::driver::{DriverError, result, sys};
use candle_core::{CudaDevice, Result};

use crate::ops::cuda::driver::GpuMemory;

/// The pool that tensors are allocated from.
fn pool(gpu: &CudaDevice) -> std::result::Result<sys::CUmemoryPool, DriverError> {
    let context = gpu.cuda_stream().context().clone();
    context.bind_to_thread()?;
    // SAFETY: the context's own device.
    unsafe { result::device::get_default_mem_pool(context.cu_device()) }
}

/// Has the pool keep what is freed: a step allocates what the one before it freed, and giving it
/// back to the system at every wait would cost more than the kernels do.
pub fn keep_freed_memory(gpu: &CudaDevice) -> std::result::Result<(), DriverError> {
    // Some virtual GPUs have no pools.
    if !gpu.cuda_stream().context().has_async_alloc() {
        return Ok(());
    }
    let mut all = u64::MAX;
    // SAFETY: the attribute is one u64.
    unsafe {
        sys::cuMemPoolSetAttribute(
            pool(gpu)?,
            sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD,
            (&raw mut all).cast(),
        )
        .result()
    }
}

/// What the GPU has, and the most that this process's tensors took of it.
pub fn memory(gpu: &CudaDevice) -> Result<GpuMemory> {
    let context = gpu.cuda_stream().context().clone();
    let (free, total) = context.mem_get_info().w()?;
    if !context.has_async_alloc() {
        return Ok(GpuMemory {
            total: total as u64,
            free: free as u64,
            used: (total - free) as u64,
            peak: (total - free) as u64,
        });
    }
    let pool = pool(gpu).w()?;
    let attribute = |which| -> Result<u64> {
        let mut value = 0u64;
        // SAFETY: the attributes asked for are one u64 each.
        unsafe { sys::cuMemPoolGetAttribute(pool, which, (&raw mut value).cast()) }
            .result()
            .w()?;
        Ok(value)
    };
    // What the pool keeps is free for this program.
    let kept = attribute(sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT)?;
    let used = attribute(sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_USED_MEM_CURRENT)?;
    Ok(GpuMemory {
        total: total as u64,
        free: free as u64 + kept.saturating_sub(used),
        used,
        peak: attribute(sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_USED_MEM_HIGH)?,
    })
}

/// Waits for the GPU, and gives the memory that is not used back to the system.
pub fn give_back_memory(gpu: &CudaDevice) -> Result<()> {
    gpu.cuda_stream().synchronize().w()?;
    if !gpu.cuda_stream().context().has_async_alloc() {
        return Ok(());
    }
    // SAFETY: the context's own pool; what is used stays.
    unsafe { sys::cuMemPoolTrimTo(pool(gpu).w()?, 0) }
        .result()
        .w()
}
