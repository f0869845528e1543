//! Products on a card: cuBLAS, and a kernel of our own for a single row, which is decoding.
//!
//! A matrix is held as bf16, f32 or quantised. Where the product takes another type, it is brought to that first, some rows
//! at a time.

use candle_core::cuda_backend::WrapErr;
use candle_core::cuda_backend::cudarc::cublas::sys::{
    cublasComputeType_t, cublasGemmAlgo_t, cublasOperation_t, cudaDataType,
};
use candle_core::cuda_backend::cudarc::cublas::{CudaBlas, result};
use candle_core::{DType, Device, Result, Tensor, bail};
use half::bf16;

use super::{Product, Side, To, WIDENED};
use crate::ops::cuda::{Arg, Grid, card, int, launch, output, pointer, pointer_if, suffix};
use crate::ops::linear::quantised::{BLOCK, Form, LEVELS};
use crate::setting::DEVICE;
use crate::tensors::Element;

/// Numbers of bf16 that are sixteen bytes, which kernels read at once.
const NEIGHBOURS: usize = 8;
/// Rows of W that a block of the single row's kernel takes; as the `.cu` has it.
const ROWS_PER_BLOCK: usize = 16;

/// A matrix `[rows, columns]` as a card holds it.
#[derive(Clone, Debug)]
pub enum Numbers {
    /// bf16 or f32, row after row.
    Plain(Tensor),
    Quantised(Quantised),
}

/// `linear::quantised` has the layout.
#[derive(Clone, Debug)]
pub struct Quantised {
    form: Form,
    dims: [usize; 2],
    codes: Tensor,
    scales: Tensor,
    /// What nf4's codes stand for.
    levels: Tensor,
}

impl Numbers {
    /// Copies numbers that are stored as `element` to the card, in that type where the card's kernels
    /// know it: f16 becomes what the product takes, and so does f32 where the product would round it
    /// anyway.
    pub fn stored(
        data: &[u8],
        element: Element,
        dims: [usize; 2],
        product: Product,
        device: &Device,
    ) -> Result<Self> {
        check(dims)?;
        let tensor = match (element, product) {
            (Element::Bf16, _) => upload(data, device)?,
            (element, Product::Bf16) => {
                let numbers = element.decode(data).into_iter().map(bf16::from_f32);
                Tensor::from_iter(numbers, device)?
            }
            (element, Product::F32) => Tensor::from_iter(element.decode(data), device)?,
        };
        Ok(Self::Plain(tensor.reshape(dims.to_vec())?))
    }

    /// Copies quantised numbers to the card.
    pub fn quantised(
        numbers: &super::quantised::Quantised,
        dims: [usize; 2],
        device: &Device,
    ) -> Result<Self> {
        check(dims)?;
        let codes = numbers.codes();
        Ok(Self::Quantised(Quantised {
            form: numbers.form(),
            dims,
            codes: Tensor::from_slice(codes, codes.len(), device)?,
            scales: upload(numbers.scales(), device)?,
            levels: Tensor::new(&LEVELS, device)?,
        }))
    }

    /// Bytes of the card's memory.
    pub fn bytes(&self) -> usize {
        let bytes = |tensor: &Tensor| tensor.elem_count() * tensor.dtype().size_in_bytes();
        match self {
            Self::Plain(tensor) => bytes(tensor),
            Self::Quantised(Quantised { codes, scales, .. }) => bytes(codes) + bytes(scales),
        }
    }

    /// left times W, or W transposed.
    pub(super) fn multiply(&self, left: &Tensor, side: Side, to: To) -> Result<Tensor> {
        let (n, _) = left.dims2()?;
        let [rows, columns] = self.dims()?;
        let outer = match side {
            Side::Forward => rows,
            Side::Backward => columns,
        };
        let dtype = match to {
            To::Wide | To::Onto(_) => DType::F32,
            To::New => left.dtype(),
        };
        let onto = match to {
            To::Onto(onto) => Some(onto),
            To::New | To::Wide => None,
        };
        if n == 1 && side == Side::Forward {
            let out = output(left, (1, outer), dtype)?;
            self.row_product(left, onto, &out)?;
            return Ok(out);
        }
        let part = match self {
            Self::Plain(w) if w.dtype() == left.dtype() => rows,
            _ => (WIDENED / left.dtype().size_in_bytes() / columns).max(1),
        };
        // Backward each part gives a share of every sum: they are summed in f32, and rounded once.
        let is_summed = side == Side::Backward && part < rows;
        let out = match onto {
            Some(onto) => onto.copy()?,
            None if is_summed => output(left, (n, outer), DType::F32)?,
            None => output(left, (n, outer), dtype)?,
        };
        for first in (0..rows).step_by(part) {
            let some = self.widened(first, part.min(rows - first), left)?;
            gemm(left, &some, first, side, onto.is_some(), &out)?;
        }
        cast(&out, dtype)
    }

    fn dims(&self) -> Result<[usize; 2]> {
        match self {
            Self::Plain(tensor) => Ok(tensor.dims2()?.into()),
            Self::Quantised(Quantised { dims, .. }) => Ok(*dims),
        }
    }

    /// Some rows in the type of `like`.
    fn widened(&self, first: usize, rows: usize, like: &Tensor) -> Result<Tensor> {
        let quantised = match self {
            Self::Plain(tensor) => return cast(&tensor.narrow(0, first, rows)?, like.dtype()),
            Self::Quantised(quantised) => quantised,
        };
        let [_, columns] = quantised.dims;
        let out = output(like, (rows, columns), like.dtype())?;
        let kernel = format!("widen_{}_{}", quantised.form, suffix(&out)?);
        let pieces = columns.div_ceil(BLOCK) * quantised.form.size() / 16;
        let mut args = quantised.args()?.to_vec();
        args.extend([pointer(&out)?, int(first)?, int(rows)?, int(columns)?]);
        let grid = Grid {
            shared: size_of_val(&LEVELS),
            ..Grid::each(rows * pieces)
        };
        // SAFETY: the kernel's arguments; the rows are the matrix's.
        unsafe { launch(card(like)?, &kernel, grid, &args)? };
        Ok(out)
    }

    /// One row x times W transposed, in f32 whatever the types, so that W is read as it is.
    fn row_product(&self, x: &Tensor, onto: Option<&Tensor>, y: &Tensor) -> Result<()> {
        let [rows, columns] = self.dims()?;
        let (held, mut args, shared) = match self {
            Self::Plain(w) => (suffix(w)?.to_string(), vec![pointer(w)?], 0),
            Self::Quantised(quantised) => (
                quantised.form.to_string(),
                quantised.args()?.to_vec(),
                size_of_val(&LEVELS),
            ),
        };
        args.extend([
            pointer(x)?,
            pointer_if(onto)?,
            pointer(y)?,
            int(rows)?,
            int(columns)?,
        ]);
        let kernel = format!("row_product_{held}_{}_{}", suffix(x)?, suffix(y)?);
        let grid = Grid {
            shared,
            ..Grid::blocks(rows.div_ceil(ROWS_PER_BLOCK))
        };
        // SAFETY: the kernel's arguments; `mod.rs` checked that shapes agree.
        unsafe { launch(card(x)?, &kernel, grid, &args) }
    }

    /// Rows of it for tokens, `[N, columns]`; see `rows::embed`.
    pub fn table(&self) -> Result<&Tensor> {
        match self {
            Self::Plain(tensor) => Ok(tensor),
            Self::Quantised(_) => bail!("an embedding is not quantised"),
        }
    }
}

/// What the kernels can read.
fn check([_, columns]: [usize; 2]) -> Result<()> {
    if !columns.is_multiple_of(NEIGHBOURS) {
        bail!(
            "a matrix of {columns} columns: the GPU's kernels take {NEIGHBOURS} neighbours at a time; use {DEVICE} cpu"
        );
    }
    Ok(())
}

/// Little-endian bf16 as a tensor on the card.
fn upload(bytes: &[u8], device: &Device) -> Result<Tensor> {
    // SAFETY: any two bytes are a bf16.
    let (before, numbers, after) = unsafe { bytes.align_to::<bf16>() };
    if cfg!(target_endian = "little") && before.is_empty() && after.is_empty() {
        return Tensor::from_slice(numbers, numbers.len(), device);
    }
    let numbers = bytes.as_chunks().0.iter().copied();
    Tensor::from_iter(numbers.map(bf16::from_le_bytes), device)
}

impl Quantised {
    fn args(&self) -> Result<[Arg; 3]> {
        Ok([
            pointer(&self.codes)?,
            pointer(&self.scales)?,
            pointer(&self.levels)?,
        ])
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
