//! Opening a GPU: everything that can be missing is told apart, since cudarc panics where a library
//! is.

use candle_core::cuda_backend::WrapErr;
use candle_core::cuda_backend::cudarc::driver::sys::{CUdevice_attribute, CUresult};
use candle_core::cuda_backend::cudarc::driver::{CudaContext, DriverError, result};
use candle_core::{CudaDevice, Device, Result};

use super::errors::is_of_old_driver;
use super::memory::keep_freed_memory;
use crate::ops::cuda::driver::Missing;
use crate::system::quiet::catch_quietly;

/// The least that has bf16 and the tensor cores' products of it.
const CAPABILITY: (i32, i32) = (8, 0);
const DRIVER: [&str; 3] = ["libcuda.so.1", "libcuda.so", "nvcuda.dll"];

/// Opens the GPU with this number, and tries `kernels` on it.
pub fn open(
    number: usize,
    kernels: impl FnOnce(&Device) -> Result<()>,
) -> std::result::Result<Device, Missing> {
    // SAFETY: the driver's own library, whose initialisers every CUDA program runs.
    let has_driver = DRIVER
        .iter()
        .any(|name| unsafe { libloading::Library::new(*name) }.is_ok());
    if !has_driver {
        return Err(Missing::Driver);
    }
    catch_quietly(|| {
        let device = device(number)?;
        match kernels(&device) {
            Ok(()) => Ok(device),
            Err(error) if is_of_old_driver(&error) => Err(Missing::Old(error.to_string())),
            Err(error) => Err(Missing::Other(error.to_string())),
        }
    })
    .unwrap_or_else(|panic| Err(Missing::Libraries(missing_library(&panic))))
}

fn device(number: usize) -> std::result::Result<Device, Missing> {
    let count = match CudaContext::device_count() {
        Ok(count) => count,
        Err(error) if error.0 == CUresult::CUDA_ERROR_NO_DEVICE => return Err(Missing::Gpus),
        Err(error) => return Err(Missing::Broken(error.to_string())),
    };
    if count == 0 {
        return Err(Missing::Gpus);
    }
    if number >= count as usize {
        return Err(Missing::Number { number, count });
    }
    let other = |error: DriverError| Missing::Other(error.to_string());
    let device = result::device::get(number as i32).map_err(other)?;
    let attribute = |which| {
        // SAFETY: the device was just got.
        unsafe { result::device::get_attribute(device, which) }.map_err(other)
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
    keep_freed_memory(&gpu).map_err(other)?;
    Ok(Device::Cuda(gpu))
}

/// What a panic of cudarc's means, which names the library in quotes, and then every file name that it
/// looked for.
fn missing_library(panic: &str) -> String {
    match panic.split('"').nth(1) {
        Some(library) => format!("{library} is missing"),
        None => panic.lines().next().unwrap_or("unknown").to_string(),
    }
}

/// The GPU's name.
pub fn name(gpu: &CudaDevice) -> Result<String> {
    gpu.cuda_stream().context().name().w()
}
