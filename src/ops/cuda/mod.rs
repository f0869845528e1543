//! What the kernels for NVIDIA cards have in common: opening a card, finding a kernel, launching it.
//!
//! The kernels lie beside each op's `mod.rs` as `.cu` files, are compiled as one module by `build.rs`, and work on
//! candle's tensors, on candle's stream, in the order of the calls. A kernel's name ends in the type that it stores
//! activations in. Nothing waits for a card but reading a tensor back.

pub mod graph;
pub mod open;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::cuda_backend::cudarc::cublas::result::CublasError;
use candle_core::cuda_backend::cudarc::cublas::sys::cublasStatus_t;
use candle_core::cuda_backend::cudarc::driver::sys::{self, CUresult};
use candle_core::cuda_backend::cudarc::driver::{
    CudaFunction, CudaModule, CudaSlice, DevicePtr, DriverError, LaunchConfig, PushKernelArg,
};
use candle_core::cuda_backend::cudarc::nvrtc::Ptx;
use candle_core::cuda_backend::{CudaDType, CudaError, DeviceId, WrapErr};
use candle_core::{CudaDevice, DType, Result, Shape, Storage, Tensor, bail};
use half::bf16;

use super::offsets::{Offsets, Sequences};

/// All kernels, for every card from compute capability 8.0 on.
static KERNELS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/kernels.fatbin"));

/// Shared memory that a block may have without asking for it: 48 KB, less what kernels have for themselves.
const SHARED_AS_IS: u32 = 40 << 10;

const OUT_OF_MEMORY: DriverError = DriverError(CUresult::CUDA_ERROR_OUT_OF_MEMORY);

/// A kernel's argument.
#[derive(Clone, Copy, Debug)]
pub enum Arg {
    /// An address on the card; 0 for a tensor that is not there.
    Pointer(u64),
    Int(i32),
    Long(i64),
    Float(f32),
}

/// How many threads a kernel is run with.
#[derive(Clone, Copy, Debug)]
pub struct Grid {
    pub blocks: [usize; 3],
    /// In each block.
    pub threads: usize,
    /// Bytes of dynamic shared memory of each block.
    pub shared: usize,
}

impl Grid {
    /// So many blocks of 256 threads.
    pub fn blocks(blocks: usize) -> Self {
        Self {
            blocks: [blocks, 1, 1],
            threads: 256,
            shared: 0,
        }
    }

    /// One of 256 threads for each of `count` things.
    pub fn each(count: usize) -> Self {
        Self::blocks(count.div_ceil(256))
    }
}

/// The card that a tensor lies on.
pub fn card(tensor: &Tensor) -> Result<&CudaDevice> {
    tensor.device().as_cuda_device()
}

/// Runs a kernel.
///
/// # Safety
///
/// The arguments are the kernel's own, in number, order and type; what they point at is as large as the kernel takes it
/// to be; and nobody else looks at what it writes.
pub unsafe fn launch(gpu: &CudaDevice, kernel: &str, grid: Grid, args: &[Arg]) -> Result<()> {
    let function = function(gpu, kernel)?;
    let [x, y, z] = grid.blocks;
    let narrow = |n: usize| u32::try_from(n).map_err(|_| too_large(kernel, grid));
    let config = LaunchConfig {
        grid_dim: (narrow(x)?, narrow(y)?, narrow(z)?),
        block_dim: (narrow(grid.threads)?, 1, 1),
        shared_mem_bytes: narrow(grid.shared)?,
    };
    if config.shared_mem_bytes > SHARED_AS_IS {
        let most = sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
        function
            .set_attribute(most, config.shared_mem_bytes as i32)
            .w()?;
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
                "the GPU failed at {kernel} ({blocks:?} blocks of {threads} threads and {shared} bytes): {error}"
            )
        }
    }
}

fn too_large(kernel: &str, grid: Grid) -> candle_core::Error {
    candle_core::Error::Msg(format!("{kernel} would need {grid:?}"))
}

/// The module as one card has it, and its kernels by name, each of which is looked up once.
struct Loaded {
    module: Arc<CudaModule>,
    functions: HashMap<String, CudaFunction>,
}

fn function(gpu: &CudaDevice, kernel: &str) -> Result<CudaFunction> {
    static LOADED: Mutex<Option<HashMap<DeviceId, Loaded>>> = Mutex::new(None);
    let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
    let Loaded { module, functions } = match loaded.get_or_insert_default().entry(gpu.id()) {
        Entry::Occupied(found) => found.into_mut(),
        Entry::Vacant(place) => place.insert(Loaded {
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

/// The address of a tensor's first number. Errors when it is not contiguous, or not on a card.
pub fn pointer(tensor: &Tensor) -> Result<Arg> {
    let (storage, layout) = tensor.storage_and_layout();
    let (Storage::Cuda(storage), Some((start, _))) = (&*storage, layout.contiguous_offsets())
    else {
        bail!(
            "a kernel got a tensor of shape {:?} that is not contiguous, or not on the GPU",
            tensor.shape()
        );
    };
    fn address<T: CudaDType>(slice: Result<&CudaSlice<T>>, start: usize) -> Result<Arg> {
        let slice = slice?;
        let stream = slice.stream().clone();
        let (address, _order) = slice.device_ptr(&stream);
        Ok(Arg::Pointer(address + (start * size_of::<T>()) as u64))
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

/// The same, or 0.
pub fn pointer_if(tensor: Option<&Tensor>) -> Result<Arg> {
    tensor.map_or(Ok(Arg::Pointer(0)), pointer)
}

/// A number of things as kernels count them.
pub fn int(count: usize) -> Result<Arg> {
    match i32::try_from(count) {
        Ok(count) => Ok(Arg::Int(count)),
        Err(_) => bail!("{count} is more than a kernel can count"),
    }
}

/// Memory on the card of `like`, for a kernel to write: what it holds until then is anything.
pub fn output(like: &Tensor, shape: impl Into<Shape>, dtype: DType) -> Result<Tensor> {
    let shape = shape.into();
    // SAFETY: every caller has a kernel write all of it before anyone reads.
    graph::output(&shape, dtype, || unsafe {
        Tensor::empty(&shape, dtype, like.device())
    })
}

/// What a kernel's name ends in.
pub fn suffix(tensor: &Tensor) -> Result<&'static str> {
    match tensor.dtype() {
        DType::F32 => Ok("f32"),
        DType::BF16 => Ok("bf16"),
        dtype => bail!("there are kernels for f32 and bf16, not for {dtype:?}"),
    }
}

/// Row numbers on the card of `like`.
pub fn indices(rows: &[u32], like: &Tensor) -> Result<Tensor> {
    let numbers: Vec<i32> = rows.iter().map(|&row| row as i32).collect();
    Tensor::from_vec(numbers, rows.len(), like.device())
}

/// Rows of a chunk.
pub const CHUNK: usize = 64;

impl Offsets {
    /// On the card of `like`.
    pub(crate) fn on_card(&self, like: &Tensor) -> Result<&Sequences> {
        if let Some(sequences) = self.on_card.get() {
            return Ok(sequences);
        }
        let (chunks, first_chunks) = chunks(self);
        let upload = |numbers: Vec<usize>| {
            let numbers: Vec<i32> = numbers.into_iter().map(|number| number as i32).collect();
            let count = numbers.len();
            Tensor::from_vec(numbers, count, like.device())
        };
        let sequences = Sequences {
            offsets: upload(self.starts.clone())?,
            last_rows: upload(self.ranges().map(|range| range.end - 1).collect())?,
            chunks: upload(chunks.into_iter().flatten().collect())?.reshape(((), 2))?,
            first_chunks: upload(first_chunks)?,
        };
        Ok(self.on_card.get_or_init(|| sequences))
    }
}

/// (first row and number of rows of each chunk; the first chunk of each sequence, and how many there are).
fn chunks(offsets: &Offsets) -> (Vec<[usize; 2]>, Vec<usize>) {
    let (mut chunks, mut first) = (Vec::new(), vec![0]);
    for range in offsets.ranges() {
        for start in range.clone().step_by(CHUNK) {
            chunks.push([start, CHUNK.min(range.end - start)]);
        }
        first.push(chunks.len());
    }
    (chunks, first)
}

/// Whether an error is the card's, or cuBLAS's, about memory.
pub fn is_out_of_memory(error: &(dyn Error + 'static)) -> bool {
    const CUBLAS: CublasError = CublasError(cublasStatus_t::CUBLAS_STATUS_ALLOC_FAILED);
    let error = error.downcast_ref().and_then(cuda_error);
    match error {
        Some(CudaError::Cuda(error)) => *error == OUT_OF_MEMORY,
        Some(CudaError::Cublas(error)) => *error == CUBLAS,
        _ => false,
    }
}

/// What the driver said, if an error is the driver's.
pub fn driver_error(error: &candle_core::Error) -> Option<CUresult> {
    match cuda_error(error) {
        Some(CudaError::Cuda(error)) => Some(error.0),
        _ => None,
    }
}

fn cuda_error(mut error: &candle_core::Error) -> Option<&CudaError> {
    while let candle_core::Error::Context { inner, .. }
    | candle_core::Error::WithBacktrace { inner, .. } = error
    {
        error = inner;
    }
    match error {
        candle_core::Error::Cuda(error) => error.downcast_ref(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_never_span_sequences() {
        let offsets = Offsets::from_lengths([1, 64, 130]);
        let want = vec![[0, 1], [1, 64], [65, 64], [129, 64], [193, 2]];
        assert_eq!(chunks(&offsets), (want, vec![0, 1, 2, 5]));
    }
}
