//! Kernels recorded by the driver, to be launched as a whole.

use candle_core::cuda_backend::WrapErr;
use candle_core::cuda_backend::cudarc::driver::{CudaGraph, sys};
use candle_core::{CudaDevice, Result, Tensor};

use super::launch::address;

/// Recorded work.
pub struct Recording(CudaGraph);

impl Recording {
    /// Records the kernels that `work` launches, without running them.
    pub fn new(
        gpu: &CudaDevice,
        work: impl FnOnce() -> anyhow::Result<()>,
    ) -> anyhow::Result<Self> {
        let stream = gpu.cuda_stream();
        stream
            .begin_capture(sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL)
            .w()?;
        let worked = work();
        // Ended whatever happened, since nothing else can be done on the stream until then.
        let graph = stream.end_capture(sys::CUgraphInstantiate_flags(0)).w();
        worked?;
        let Some(graph) = graph? else {
            anyhow::bail!("the GPU's driver recorded nothing");
        };
        graph.upload().w()?;
        Ok(Self(graph))
    }

    /// Runs the recorded kernels, on the addresses that they were recorded with.
    pub fn launch(&self) -> Result<()> {
        self.0.launch().w()
    }
}

/// Writes a number into a tensor of one i32, in the order of the kernels.
pub fn set(number: &Tensor, value: i32) -> Result<()> {
    let stream = number.device().as_cuda_device()?.cuda_stream();
    // SAFETY: the tensor has one i32. The call takes the number itself, so that nothing of ours is
    // read later.
    unsafe { sys::cuMemsetD32Async(address(number)?, value as u32, 1, stream.cu_stream()) }
        .result()
        .w()
}
