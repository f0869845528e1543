//! Kernels found by name and launched, and the addresses of tensors that they are given.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::cuda_backend::cudarc::driver::sys::CUfunction_attribute;
use candle_core::cuda_backend::cudarc::driver::{
    CudaFunction, CudaModule, CudaSlice, DevicePtr, LaunchConfig, PushKernelArg,
};
use candle_core::cuda_backend::cudarc::nvrtc::Ptx;
use candle_core::cuda_backend::{CudaDType, CudaError, DeviceId, WrapErr};
use candle_core::{CudaDevice, DType, Result, Storage, Tensor, bail};
use half::bf16;

use super::errors::OUT_OF_MEMORY;
use crate::ops::cuda::{Arg, Grid};
use crate::setting::DEVICE;

/// All kernels, for every GPU from compute capability 8.0 on.
static KERNELS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/kernels.fatbin"));

/// Dynamic shared memory that a block may have without asking for it: 48 KB, less what kernels
/// declare themselves.
const SHARED_WITHOUT_ASKING: u32 = 40 << 10;

/// Runs a kernel.
///
/// # Safety
///
/// The arguments are the kernel's own, in number, order and type; what they point at is as large as
/// the kernel takes it to be; and nobody else looks at what it writes.
pub unsafe fn launch(gpu: &CudaDevice, kernel: &str, grid: Grid, args: &[Arg]) -> Result<()> {
    let function = function(gpu, kernel)?;
    let [x, y, z] = grid.blocks;
    let narrow = |n: usize| u32::try_from(n).map_err(|_| too_large(kernel, grid));
    let config = LaunchConfig {
        grid_dim: (narrow(x)?, narrow(y)?, narrow(z)?),
        block_dim: (narrow(grid.threads)?, 1, 1),
        shared_mem_bytes: narrow(grid.shared)?,
    };
    if config.shared_mem_bytes > SHARED_WITHOUT_ASKING {
        let most = CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
        let raised = function.set_attribute(most, config.shared_mem_bytes as i32);
        raised.map_err(|error| {
            candle_core::Error::Msg(format!(
                "{kernel} needs {} bytes of shared memory for a block, which this GPU does not give \
                 ({error}); use {DEVICE} cpu",
                config.shared_mem_bytes
            ))
        })?;
    }
    let stream = gpu.cuda_stream();
    let mut builder = stream.launch_builder(&function);
    for arg in args {
        match arg {
            Arg::Pointer(value) => builder.arg(value),
            Arg::Int(value) => builder.arg(value),
            Arg::Long(value) => builder.arg(value),
            Arg::Float(value) => builder.arg(value),
        };
    }
    // SAFETY: by the caller's word.
    let launched = unsafe { builder.launch(config) };
    match launched {
        Ok(_) => Ok(()),
        Err(error) if error == OUT_OF_MEMORY => Err(CudaError::from(error).into()),
        Err(error) => {
            let Grid {
                blocks,
                threads,
                shared,
            } = grid;
            bail!(
                "the GPU failed at {kernel} ({blocks:?} blocks of {threads} threads and {shared} \
                 bytes): {error}"
            )
        }
    }
}

fn too_large(kernel: &str, grid: Grid) -> candle_core::Error {
    candle_core::Error::Msg(format!("{kernel} would need {grid:?}"))
}

/// The module as one GPU has it, and its kernels by name, each of which is looked up once.
struct LoadedKernels {
    module: Arc<CudaModule>,
    functions: HashMap<String, CudaFunction>,
}

fn function(gpu: &CudaDevice, kernel: &str) -> Result<CudaFunction> {
    static LOADED: Mutex<Option<HashMap<DeviceId, LoadedKernels>>> = Mutex::new(None);
    let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
    let LoadedKernels { module, functions } = match loaded.get_or_insert_default().entry(gpu.id()) {
        Entry::Occupied(found) => found.into_mut(),
        Entry::Vacant(place) => place.insert(LoadedKernels {
            module: load(gpu)?,
            functions: HashMap::new(),
        }),
    };
    if let Some(function) = functions.get(kernel) {
        return Ok(function.clone());
    }
    let function = module.load_function(kernel).w();
    let function = function
        .map_err(|error| candle_core::Error::Msg(format!("no kernel {kernel}: {error}")))?;
    functions.insert(kernel.to_string(), function.clone());
    Ok(function)
}

fn load(gpu: &CudaDevice) -> Result<Arc<CudaModule>> {
    let image = Ptx::from_binary(KERNELS.to_vec());
    gpu.cuda_stream().context().load_module(image).w()
}

/// The address of a tensor's first number. Errors when it is not contiguous, or not on a GPU.
pub fn address(tensor: &Tensor) -> Result<u64> {
    let (storage, layout) = tensor.storage_and_layout();
    let (Storage::Cuda(storage), Some((start, _))) = (&*storage, layout.contiguous_offsets())
    else {
        bail!(
            "a kernel got a tensor of shape {:?} that is not contiguous, or not on the GPU",
            tensor.shape()
        );
    };
    fn address<T: CudaDType>(slice: Result<&CudaSlice<T>>, start: usize) -> Result<u64> {
        let slice = slice?;
        let stream = slice.stream().clone();
        let (address, _order) = slice.device_ptr(&stream);
        Ok(address + (start * size_of::<T>()) as u64)
    }
    match tensor.dtype() {
        DType::F32 => address::<f32>(storage.as_cuda_slice(), start),
        DType::BF16 => address::<bf16>(storage.as_cuda_slice(), start),
        DType::F64 => address::<f64>(storage.as_cuda_slice(), start),
        DType::I32 => address::<i32>(storage.as_cuda_slice(), start),
        DType::I64 => address::<i64>(storage.as_cuda_slice(), start),
        DType::U8 => address::<u8>(storage.as_cuda_slice(), start),
        dtype => bail!("a kernel got a tensor of {dtype:?}"),
    }
}
