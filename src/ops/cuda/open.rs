//! Opening a card: everything that can be missing is told apart, since cudarc panics where a library is.

use std::panic::{AssertUnwindSafe, catch_unwind};

use candle_core::cuda_backend::WrapErr;
use candle_core::cuda_backend::cudarc::driver::sys::{self, CUdevice_attribute};
use candle_core::cuda_backend::cudarc::driver::{CudaContext, DriverError, result};
use candle_core::{CudaDevice, DType, Device, Result, Tensor, bail};
use thiserror::Error;

use crate::ops::adam::sum_of_squares;
use crate::ops::device::CardMemory;

/// The least that has bf16 and the tensor cores' products of it.
const CAPABILITY: (i32, i32) = (8, 0);
const DRIVER: [&str; 3] = ["libcuda.so.1", "libcuda.so", "nvcuda.dll"];

/// Why a card cannot be had.
#[derive(Debug, Error)]
pub enum Missing {
    #[error("no NVIDIA driver is installed (there is no libcuda)")]
    Driver,
    #[error("no NVIDIA GPU is visible here")]
    Cards,
    #[error("there is no GPU {number}: the {count} that are visible are numbered from 0")]
    Number { number: usize, count: i32 },
    #[error(
        "the GPU {name} has compute capability {major}.{minor}, and 8.0 is needed (Ampere, from 2020)"
    )]
    Capability {
        name: String,
        major: i32,
        minor: i32,
    },
    #[error("the NVIDIA driver is broken: {0}; install it again")]
    Broken(DriverError),
    #[error(
        "the NVIDIA driver is older than the CUDA toolkit that this program was built with ({0}); update the driver"
    )]
    Old(String),
    #[error(
        "the CUDA libraries cannot be used ({0}); install CUDA's runtime, or name its folder in LD_LIBRARY_PATH"
    )]
    Libraries(String),
    #[error("the GPU cannot be used: {0}")]
    Other(String),
}

/// Opens the card with this number.
pub fn card(number: usize) -> std::result::Result<Device, Missing> {
    // SAFETY: the driver's own library, whose initialisers every CUDA program runs.
    let has_driver = DRIVER
        .iter()
        .any(|name| unsafe { libloading::Library::new(*name) }.is_ok());
    if !has_driver {
        return Err(Missing::Driver);
    }
    quietly(|| open(number)).unwrap_or_else(|missing| Err(Missing::Libraries(missing)))
}

fn open(number: usize) -> std::result::Result<Device, Missing> {
    let count = match CudaContext::device_count() {
        Ok(count) => count,
        Err(error) if error.0 == sys::CUresult::CUDA_ERROR_NO_DEVICE => return Err(Missing::Cards),
        Err(error) => return Err(Missing::Broken(error)),
    };
    if count == 0 {
        return Err(Missing::Cards);
    }
    if number >= count as usize {
        return Err(Missing::Number { number, count });
    }
    let other = |error: DriverError| Missing::Other(error.to_string());
    let device = result::device::get(number as i32).map_err(other)?;
    let attribute = |which| unsafe {
        // SAFETY: the device was just got.
        result::device::get_attribute(device, which).map_err(other)
    };
    let major = attribute(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?;
    let minor = attribute(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?;
    if (major, minor) < CAPABILITY {
        let name = result::device::get_name(device).map_err(other)?;
        return Err(Missing::Capability { name, major, minor });
    }
    // A stream of its own: the default one cannot be captured.
    let gpu =
        CudaDevice::new_with_stream(number).map_err(|error| Missing::Other(error.to_string()))?;
    // SAFETY: this program uses no other stream, and the calls' order is the stream's.
    unsafe { gpu.disable_event_tracking() };
    keep_memory(&gpu).map_err(|error| Missing::Other(error.to_string()))?;
    let device = Device::Cuda(gpu);
    match try_kernels(&device) {
        Ok(()) => Ok(device),
        Err(error) if is_by_an_old_driver(&error) => Err(Missing::Old(error.to_string())),
        Err(error) => Err(Missing::Other(error.to_string())),
    }
}

/// Runs a kernel of ours and one of candle's, which come in another form: better now than after a model is loaded.
fn try_kernels(device: &Device) -> Result<()> {
    let one = Tensor::zeros(1, DType::F32, device)?.affine(1.0, 1.0)?;
    match sum_of_squares(&one)? {
        1.0 => Ok(()),
        other => bail!("it computes {other} where 1 is right"),
    }
}

fn is_by_an_old_driver(error: &candle_core::Error) -> bool {
    use sys::CUresult::{
        CUDA_ERROR_INVALID_PTX, CUDA_ERROR_NO_BINARY_FOR_GPU, CUDA_ERROR_UNSUPPORTED_PTX_VERSION,
    };
    matches!(
        super::driver_error(error),
        Some(
            CUDA_ERROR_INVALID_PTX
                | CUDA_ERROR_NO_BINARY_FOR_GPU
                | CUDA_ERROR_UNSUPPORTED_PTX_VERSION
        )
    )
}

/// Runs `work`, and gives back what it says if it panics, without its being printed.
fn quietly<R>(work: impl FnOnce() -> R) -> std::result::Result<R, String> {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let done = catch_unwind(AssertUnwindSafe(work));
    std::panic::set_hook(hook);
    done.map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        // cudarc names the library in quotes, and then every file name that it looked for.
        let text = text.unwrap_or("unknown");
        match text.split('"').nth(1) {
            Some(library) => format!("{library} is missing"),
            None => text.lines().next().unwrap_or_default().to_string(),
        }
    })
}

/// The card's pool of memory that tensors come from.
fn pool(gpu: &CudaDevice) -> std::result::Result<sys::CUmemoryPool, DriverError> {
    let context = gpu.cuda_stream().context().clone();
    context.bind_to_thread()?;
    // SAFETY: the context's own device.
    unsafe { result::device::get_default_mem_pool(context.cu_device()) }
}

/// Has the card keep what is freed: a step allocates what the one before it freed, and giving it back to the system at
/// every wait would cost more than the kernels do.
fn keep_memory(gpu: &CudaDevice) -> std::result::Result<(), DriverError> {
    // Some virtual cards have no pools.
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

/// What the card has, and the most that this process's tensors took of it.
pub fn memory(gpu: &CudaDevice) -> Result<CardMemory> {
    let context = gpu.cuda_stream().context().clone();
    let (free, total) = context.mem_get_info().w()?;
    if !context.has_async_alloc() {
        return Ok(CardMemory {
            total: total as u64,
            free: free as u64,
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
    // What the pool keeps is free to us.
    let kept = attribute(sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT)?;
    let used = attribute(sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_USED_MEM_CURRENT)?;
    Ok(CardMemory {
        total: total as u64,
        free: free as u64 + kept.saturating_sub(used),
        peak: attribute(sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_USED_MEM_HIGH)?,
    })
}

/// Waits, and gives what is not used back to the system.
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

/// The card's name.
pub fn name(gpu: &CudaDevice) -> Result<String> {
    gpu.cuda_stream().context().name().w()
}
