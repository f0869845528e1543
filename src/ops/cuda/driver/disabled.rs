//! The driver's functions in a build without the `cuda` feature. No GPU is opened, so nothing
//! reaches those that take one.

use std::error::Error;

use candle_core::{CudaDevice, Device, Error::NotCompiledWithCudaSupport, Result, Tensor};

use super::{Gemm, GpuMemory, Missing};
use crate::ops::cuda::{Arg, Grid};

/// Opens no GPU.
pub fn open(
    _: usize,
    _: impl FnOnce(&Device) -> Result<()>,
) -> std::result::Result<Device, Missing> {
    Err(Missing::Feature)
}

/// Launches nothing.
///
/// # Safety
///
/// None is needed.
pub unsafe fn launch(_: &CudaDevice, _: &str, _: Grid, _: &[Arg]) -> Result<()> {
    Err(NotCompiledWithCudaSupport)
}

/// Multiplies nothing.
///
/// # Safety
///
/// None is needed.
pub unsafe fn gemm(_: &CudaDevice, _: &Gemm) -> Result<()> {
    Err(NotCompiledWithCudaSupport)
}

/// No tensor lies on a GPU.
pub fn address(_: &Tensor) -> Result<u64> {
    Err(NotCompiledWithCudaSupport)
}

/// Writes nothing.
pub fn set(_: &Tensor, _: i32) -> Result<()> {
    Err(NotCompiledWithCudaSupport)
}

/// Always false: without a GPU its memory cannot be full.
pub fn is_out_of_memory(_: &(dyn Error + 'static)) -> bool {
    false
}

/// There is no GPU.
pub fn memory(_: &CudaDevice) -> Result<GpuMemory> {
    Err(NotCompiledWithCudaSupport)
}

/// There is no GPU.
pub fn give_back_memory(_: &CudaDevice) -> Result<()> {
    Err(NotCompiledWithCudaSupport)
}

/// There is no GPU.
pub fn name(_: &CudaDevice) -> Result<String> {
    Err(NotCompiledWithCudaSupport)
}

/// Recorded work, of which there is none.
pub enum Recording {}

impl Recording {
    /// Records nothing.
    pub fn new(_: &CudaDevice, _: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<Self> {
        Err(NotCompiledWithCudaSupport.into())
    }

    /// Is never called.
    pub fn launch(&self) -> Result<()> {
        match *self {}
    }
}
