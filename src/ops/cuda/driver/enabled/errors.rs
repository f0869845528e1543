//! What kind of error NVIDIA's libraries gave, which candle's errors hold somewhere inside.

use std::error::Error;

use candle_core::cuda_backend::CudaError;
use candle_core::cuda_backend::cudarc::cublas::result::CublasError;
use candle_core::cuda_backend::cudarc::cublas::sys::cublasStatus_t;
use candle_core::cuda_backend::cudarc::driver::DriverError;
use candle_core::cuda_backend::cudarc::driver::sys::CUresult;

pub const OUT_OF_MEMORY: DriverError = DriverError(CUresult::CUDA_ERROR_OUT_OF_MEMORY);

/// Whether an error says that the GPU's memory is full, by the driver or by cuBLAS.
pub fn is_out_of_memory(error: &(dyn Error + 'static)) -> bool {
    const CUBLAS: CublasError = CublasError(cublasStatus_t::CUBLAS_STATUS_ALLOC_FAILED);
    let error = error.downcast_ref().and_then(cuda_error);
    match error {
        Some(CudaError::Cuda(error)) => *error == OUT_OF_MEMORY,
        Some(CudaError::Cublas(error)) => *error == CUBLAS,
        _ => false,
    }
}

/// Whether the driver refused a kernel because it is older than the toolkit that compiled the
/// kernel.
pub fn is_of_old_driver(error: &candle_core::Error) -> bool {
    use CUresult::{
        CUDA_ERROR_INVALID_PTX, CUDA_ERROR_NO_BINARY_FOR_GPU, CUDA_ERROR_UNSUPPORTED_PTX_VERSION,
    };
    matches!(
        cuda_error(error),
        Some(CudaError::Cuda(DriverError(
            CUDA_ERROR_INVALID_PTX
                | CUDA_ERROR_NO_BINARY_FOR_GPU
                | CUDA_ERROR_UNSUPPORTED_PTX_VERSION
        )))
    )
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
