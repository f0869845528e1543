//! What the GPU kernels of all ops share: their arguments, how they are launched, and what they
//! need to know of a batch.
//!
//! The kernels lie beside each op's `mod.rs` as `.cu` files. `build.rs` compiles them as one
//! module. They work on candle's tensors, on candle's stream, in the order of the calls; nothing
//! waits for the GPU until a tensor is read back. A kernel's name ends in the type that it stores
//! activations in.
//!
//! All calls of NVIDIA's libraries are in [`driver`], which exists twice: as it is, and, in a build
//! without the `cuda` feature, as errors. Everything else is compiled in both builds.

mod constants;
pub mod driver;
pub mod graph;
mod sequences;

pub use constants::constant;
pub use driver::{address, launch};
pub use sequences::sum_over_sequences;

use candle_core::{CudaDevice, DType, Result, Shape, Tensor, bail};

/// The head sizes that kernels are compiled for.
pub const HEAD_SIZES: [usize; 3] = [32, 64, 128];

/// An error unless there are kernels for heads of this size.
pub fn check_head_size(size: usize) -> Result<()> {
    if !HEAD_SIZES.contains(&size) {
        bail!("heads of {size} channels on a GPU, and not {HEAD_SIZES:?}");
    }
    Ok(())
}

/// A kernel's argument.
#[derive(Clone, Copy, Debug)]
pub enum Arg {
    /// An address in the GPU's memory; 0 for a tensor that is not there.
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

    /// One thread for each of `count` items, in blocks of 256.
    pub fn each(count: usize) -> Self {
        Self::blocks(count.div_ceil(256))
    }
}

/// The GPU that a tensor lies on.
pub fn gpu(tensor: &Tensor) -> Result<&CudaDevice> {
    tensor.device().as_cuda_device()
}

/// The address of a tensor's first number, as an argument. Errors when it is not contiguous, or not
/// on a GPU.
pub fn pointer(tensor: &Tensor) -> Result<Arg> {
    address(tensor).map(Arg::Pointer)
}

/// As [`pointer`], of a tensor of this type: kernels do not see what type their arguments have.
pub fn pointer_of(dtype: DType, tensor: &Tensor) -> Result<Arg> {
    if tensor.dtype() != dtype {
        bail!("a kernel takes {dtype:?} and got {:?}", tensor.dtype());
    }
    pointer(tensor)
}

/// As [`pointer`]; 0 if there is no tensor.
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

/// Memory on the GPU of `like` for a kernel to write; uninitialised until then.
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

/// Row numbers on the GPU of `like`.
pub fn indices(rows: &[u32], like: &Tensor) -> Result<Tensor> {
    let numbers: Vec<i32> = rows.iter().map(|&row| row as i32).collect();
    Tensor::from_vec(numbers, rows.len(), like.device())
}
