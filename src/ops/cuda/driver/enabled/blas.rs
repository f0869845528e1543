//! Products by cuBLAS.

use candle_core::cuda_backend::WrapErr;
use candle_core::cuda_backend::cudarc::cublas::sys::{
    cublasComputeType_t, cublasGemmAlgo_t, cublasOperation_t, cudaDataType,
};
use candle_core::cuda_backend::cudarc::cublas::{CudaBlas, result};
use candle_core::{CudaDevice, DType, Error, Result, bail};

use crate::ops::cuda::driver::{Gemm, GemmOutput, Transpose};

/// Multiplies, with sums in f32: tf32 is not asked for.
///
/// # Safety
///
/// The matrices lie on the GPU, are as large as the sizes say, and nobody else looks at what is
/// written.
pub unsafe fn gemm(gpu: &CudaDevice, product: &Gemm) -> Result<()> {
    let Gemm {
        w,
        transpose,
        left,
        out,
        sums,
        m,
        n,
        inner,
    } = product;
    let transpose = match transpose {
        Transpose::Yes => cublasOperation_t::CUBLAS_OP_T,
        Transpose::No => cublasOperation_t::CUBLAS_OP_N,
    };
    let alpha = 1.0f32;
    let beta = match sums {
        GemmOutput::Replace => 0.0f32,
        GemmOutput::Add => 1.0,
    };
    let narrow =
        |n: usize| i32::try_from(n).map_err(|_| Error::Msg(format!("{n} is too large for cuBLAS")));
    let blas = gpu.cublas_handle();
    let blas: &CudaBlas = &blas;
    // SAFETY: the matrices by the caller's word; alpha and beta are f32, as the compute type asks,
    // and live until the call returns.
    unsafe {
        result::gemm_ex(
            *blas.handle(),
            transpose,
            cublasOperation_t::CUBLAS_OP_N,
            narrow(*m)?,
            narrow(*n)?,
            narrow(*inner)?,
            (&raw const alpha).cast(),
            w.start as *const _,
            data_type(w.dtype)?,
            narrow(w.stride)?,
            left.start as *const _,
            data_type(left.dtype)?,
            narrow(left.stride)?,
            (&raw const beta).cast(),
            out.start as *mut _,
            data_type(out.dtype)?,
            narrow(out.stride)?,
            cublasComputeType_t::CUBLAS_COMPUTE_32F,
            cublasGemmAlgo_t::CUBLAS_GEMM_DEFAULT,
        )
        .w()
    }
}

fn data_type(dtype: DType) -> Result<cudaDataType> {
    match dtype {
        DType::F32 => Ok(cudaDataType::CUDA_R_32F),
        DType::BF16 => Ok(cudaDataType::CUDA_R_16BF),
        dtype => bail!("no product of {dtype:?} on a GPU"),
    }
}
