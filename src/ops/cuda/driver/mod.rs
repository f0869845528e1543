//! The one place that calls NVIDIA's driver and libraries. A build without the `cuda` feature has
//! the same functions, each of which is an error: it opens no GPU, so that none of them is reached.

#[cfg(not(feature = "cuda"))]
mod disabled;
#[cfg(feature = "cuda")]
mod enabled;

#[cfg(not(feature = "cuda"))]
pub use disabled::*;
#[cfg(feature = "cuda")]
pub use enabled::*;

use candle_core::DType;

/// Why a GPU cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Missing {
    #[cfg_attr(
        feature = "cuda",
        expect(dead_code, reason = "this build can use GPUs")
    )]
    #[error("this build computes on the processor only; build with --features cuda")]
    Feature,
    #[error("no NVIDIA driver is installed (there is no libcuda)")]
    Driver,
    #[error("no NVIDIA GPU is visible here")]
    Gpus,
    #[error("there is no GPU {number}: the {count} that are visible are numbered from 0")]
    Number { number: usize, count: i32 },
    #[error(
        "the GPU {name} has compute capability {major}.{minor}, and 8.0 is needed (Ampere, from \
         2020)"
    )]
    Capability {
        name: String,
        major: i32,
        minor: i32,
    },
    #[error("the NVIDIA driver is broken: {0}; install it again")]
    Broken(String),
    #[error(
        "the NVIDIA driver is older than the CUDA toolkit that this program was built with ({0}); \
         update the driver"
    )]
    Old(String),
    #[error(
        "the CUDA libraries cannot be used ({0}); install CUDA's runtime, or name its folder in \
         LD_LIBRARY_PATH"
    )]
    Libraries(String),
    #[error("the GPU cannot be used: {0}")]
    Other(String),
}

/// A GPU's memory, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GpuMemory {
    /// What the GPU has.
    pub total: u64,
    /// What no process holds now.
    pub free: u64,
    /// What this process's tensors take now.
    pub used: u64,
    /// The most that they took so far.
    pub peak: u64,
}

/// A product that cuBLAS computes. cuBLAS counts by columns: what is `[a, b]` elsewhere is `[b, a]`
/// here.
#[derive(Clone, Copy, Debug)]
pub struct Gemm {
    /// The frozen matrix: `[inner, m]` where it is transposed first, else `[m, inner]`.
    pub w: Operand,
    pub transpose: Transpose,
    /// `[inner, n]`.
    pub left: Operand,
    /// `[m, n]`.
    pub out: Operand,
    pub sums: GemmOutput,
    pub m: usize,
    pub n: usize,
    pub inner: usize,
}

/// A matrix of a product.
#[derive(Clone, Copy, Debug)]
pub struct Operand {
    /// The address of its first number.
    pub start: u64,
    pub dtype: DType,
    /// Numbers from one column to the next.
    pub stride: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transpose {
    Yes,
    No,
}

/// What becomes of the numbers that a product's output has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GemmOutput {
    /// The product replaces them.
    Replace,
    /// The product is added to them.
    Add,
}
