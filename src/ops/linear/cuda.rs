//! Products on a card: cuBLAS, and a kernel of our own for a single row, which is decoding.
//!
//! A matrix is stored as bf16 or f32. Where the product's type is the wider one, it is brought to that a part at a time.

use candle_core::cuda_backend::WrapErr;
use candle_core::cuda_backend::cudarc::cublas::sys::{
    cublasComputeType_t, cublasGemmAlgo_t, cublasOperation_t, cudaDataType,
};
use candle_core::cuda_backend::cudarc::cublas::{CudaBlas, result};
use candle_core::{DType, Result, Tensor, bail};
use half::bf16;

use super::panel::Side;
use super::{Element, Product, To, widen};
use crate::ops::Compute;
use crate::ops::cuda::{Arg, Grid, card, int, launch, output, pointer, pointer_if, suffix};

/// Numbers of W that are widened at once: 64 MB of f32.
const PART: usize = 1 << 24;
/// Rows of W that a block of the single row's kernel takes; as the `.cu` has it.
const ROWS_PER_BLOCK: usize = 8;

/// Copies a matrix to the card, in its own type where the card's kernels know it. f16 becomes what the product takes; so
/// does f32 where the product would round it anyway.
pub fn load(compute: &Compute, data: &[u8], element: Element, shape: [usize; 2]) -> Result<Tensor> {
    let Compute { device, product } = compute;
    match (element, *product) {
        (Element::Bf16, _) => {
            let numbers: Vec<bf16> = data
                .chunks_exact(2)
                .map(|bytes| bf16::from_le_bytes([bytes[0], bytes[1]]))
                .collect();
            Tensor::from_vec(numbers, shape.to_vec(), device)
        }
        (Element::F16 | Element::F32, Product::Bf16) => {
            let numbers: Vec<bf16> = widen(element, data)
                .into_iter()
                .map(bf16::from_f32)
                .collect();
            Tensor::from_vec(numbers, shape.to_vec(), device)
        }
        (Element::F16 | Element::F32, Product::F32) => {
            Tensor::from_vec(widen(element, data), shape.to_vec(), device)
        }
    }
}

/// The same numbers in another type.
pub fn cast(x: &Tensor, dtype: DType) -> Result<Tensor> {
    if x.dtype() == dtype {
        return Ok(x.clone());
    }
    let out = output(x, x.shape(), dtype)?;
    let count = x.elem_count();
    let kernel = format!("convert_{}_{}", suffix(x)?, suffix(&out)?);
    let args = [pointer(x)?, pointer(&out)?, Arg::Long(count as i64)];
    // SAFETY: the kernel's arguments, both of one shape.
    unsafe { launch(card(x)?, &kernel, Grid::each(count), &args)? };
    Ok(out)
}

/// left times W, or W transposed.
pub fn multiply(left: &Tensor, w: &Tensor, side: Side, to: To) -> Result<Tensor> {
    let (n, _) = left.dims2()?;
    let (rows, columns) = w.dims2()?;
    let outer = match side {
        Side::Forward => rows,
        Side::Backward => columns,
    };
    let dtype = match to {
        To::Wide => DType::F32,
        To::New | To::Onto(_) => left.dtype(),
    };
    let onto = match to {
        To::Onto(onto) => Some(onto),
        To::New | To::Wide => None,
    };
    if n == 1 && side == Side::Forward {
        let out = output(left, (1, outer), dtype)?;
        row_product(left, w, onto, &out)?;
        return Ok(out);
    }
    let out = match onto {
        Some(onto) => onto.copy()?,
        None => output(left, (n, outer), dtype)?,
    };
    let part = match w.dtype() == left.dtype() {
        true => rows,
        false => (PART / columns).max(1),
    };
    for first in (0..rows).step_by(part) {
        let some = cast(&w.narrow(0, first, part.min(rows - first))?, left.dtype())?;
        gemm(left, &some, first, side, onto.is_some(), &out)?;
    }
    Ok(out)
}

/// One row times W transposed, in f32 whatever the types, so that W is read as it is.
fn row_product(x: &Tensor, w: &Tensor, onto: Option<&Tensor>, y: &Tensor) -> Result<()> {
    let (rows, columns) = w.dims2()?;
    let kernel = format!("row_product_{}_{}_{}", suffix(w)?, suffix(x)?, suffix(y)?);
    let args = [
        pointer(w)?,
        pointer(x)?,
        pointer_if(onto)?,
        pointer(y)?,
        int(rows)?,
        int(columns)?,
    ];
    let grid = Grid::blocks(rows.div_ceil(ROWS_PER_BLOCK));
    // SAFETY: the kernel's arguments; `mod.rs` checked that shapes agree.
    unsafe { launch(card(x)?, &kernel, grid, &args) }
}

/// Adds to `out` what the rows of W from `first` on give, or sets it: forward they give some of its columns, backward
/// a part of every sum. cuBLAS goes by columns: what is `[a, b]` here is `[b, a]` there.
fn gemm(
    left: &Tensor,
    w: &Tensor,
    first: usize,
    side: Side,
    onto: bool,
    out: &Tensor,
) -> Result<()> {
    let ((n, inner), (rows, columns)) = (left.dims2()?, w.dims2()?);
    let (_, width) = out.dims2()?;
    let address = |tensor: &Tensor, skipped: usize| match pointer(tensor)? {
        Arg::Pointer(start) => Ok(start + (skipped * tensor.dtype().size_in_bytes()) as u64),
        other => bail!("{other:?} is no address"),
    };
    let (transpose, m, k, add, from, to) = match side {
        Side::Forward => (
            cublasOperation_t::CUBLAS_OP_T,
            rows,
            columns,
            onto,
            address(left, 0)?,
            address(out, first)?,
        ),
        Side::Backward => (
            cublasOperation_t::CUBLAS_OP_N,
            columns,
            rows,
            onto || first > 0,
            address(left, first)?,
            address(out, 0)?,
        ),
    };
    let (alpha, beta) = (1.0f32, if add { 1.0f32 } else { 0.0 });
    let narrow = |n: usize| {
        i32::try_from(n)
            .map_err(|_| candle_core::Error::Msg(format!("{n} is too large for cuBLAS")))
    };
    let blas = card(left)?.cublas_handle();
    let blas: &CudaBlas = &blas;
    // SAFETY: the shapes were checked by `mod.rs`, so every row of each side lies inside its tensor; alpha and beta are
    // f32, as the compute type asks, and live until the call returns. f32 products stay f32: tf32 is not asked for.
    unsafe {
        result::gemm_ex(
            *blas.handle(),
            transpose,
            cublasOperation_t::CUBLAS_OP_N,
            narrow(m)?,
            narrow(n)?,
            narrow(k)?,
            (&raw const alpha).cast(),
            address(w, 0)? as *const _,
            data_type(w)?,
            narrow(columns)?,
            from as *const _,
            data_type(left)?,
            narrow(inner)?,
            (&raw const beta).cast(),
            to as *mut _,
            data_type(out)?,
            narrow(width)?,
            cublasComputeType_t::CUBLAS_COMPUTE_32F,
            cublasGemmAlgo_t::CUBLAS_GEMM_DEFAULT,
        )
        .w()
    }
}

fn data_type(tensor: &Tensor) -> Result<cudaDataType> {
    match tensor.dtype() {
        DType::F32 => Ok(cudaDataType::CUDA_R_32F),
        DType::BF16 => Ok(cudaDataType::CUDA_R_16BF),
        dtype => bail!("no product of {dtype:?} on a GPU"),
    }
}
