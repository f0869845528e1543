//! Products on a GPU by cuBLAS; those of a single row are in `single_rows`.
//!
//! A matrix is held as bf16, f32 or quantised. Where the product takes another type, it is brought
//! to that first, some rows at a time.

use candle_core::{DType, Result, Tensor};

use super::gpu_numbers::Numbers;
use super::single_rows::{ColumnProduct, RowProduct, column_products, row_products};
use super::{Side, To, WIDENED};
use crate::ops::cuda::driver::{self, Gemm, GemmOutput, Operand, Transpose};
use crate::ops::cuda::{Arg, Grid, address, gpu, int, launch, output, pointer, suffix};
use crate::ops::linear::quantised::{BLOCK, LEVELS};

impl Numbers {
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
        match (n, side, self) {
            (1, Side::Forward, _) => {
                let out = output(left, (1, outer), dtype)?;
                let product = RowProduct {
                    w: self,
                    x: left,
                    y: &out,
                };
                row_products(&[product], onto)?;
                return Ok(out);
            }
            (1, Side::Backward, Self::Plain(w)) if onto.is_none() => {
                let out = output(left, (1, outer), dtype)?;
                let product = ColumnProduct {
                    w,
                    x: left,
                    y: &out,
                };
                column_products(&[product])?;
                return Ok(out);
            }
            _ => {}
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
            let w = WidenedRows {
                rows: self.widened(first, part.min(rows - first), left)?,
                first,
            };
            let sums = match (onto, side) {
                (None, Side::Forward) => GemmOutput::Replace,
                (None, Side::Backward) if first == 0 => GemmOutput::Replace,
                _ => GemmOutput::Add,
            };
            gemm(left, &w, side, sums, &out)?;
        }
        cast(&out, dtype)
    }

    /// Some rows in the type of `like`.
    fn widened(&self, first: usize, rows: usize, like: &Tensor) -> Result<Tensor> {
        let quantised = match self {
            Self::Plain(tensor) => return cast(&tensor.narrow(0, first, rows)?, like.dtype()),
            Self::Quantised(quantised) => quantised,
        };
        let [_, columns] = self.dims()?;
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
        unsafe { launch(gpu(like)?, &kernel, grid, &args)? };
        Ok(out)
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
    unsafe { launch(gpu(x)?, &kernel, Grid::each(count), &args)? };
    Ok(out)
}

/// Some rows of W, from `first` on, in the type that is multiplied.
struct WidenedRows {
    rows: Tensor,
    first: usize,
}

/// Brings to `out` what some rows of W give: forward they give some of its columns, backward a part
/// of every sum.
fn gemm(left: &Tensor, w: &WidenedRows, side: Side, sums: GemmOutput, out: &Tensor) -> Result<()> {
    let WidenedRows { rows: w, first } = w;
    let ((n, _), (rows, columns)) = (left.dims2()?, w.dims2()?);
    // A matrix, from a column of its first row on.
    let operand = |tensor: &Tensor, column: usize| -> Result<Operand> {
        let (_, stride) = tensor.dims2()?;
        let dtype = tensor.dtype();
        Ok(Operand {
            start: address(tensor)? + (column * dtype.size_in_bytes()) as u64,
            dtype,
            stride,
        })
    };
    let product = match side {
        Side::Forward => Gemm {
            w: operand(w, 0)?,
            transpose: Transpose::Yes,
            left: operand(left, 0)?,
            out: operand(out, *first)?,
            sums,
            m: rows,
            n,
            inner: columns,
        },
        Side::Backward => Gemm {
            w: operand(w, 0)?,
            transpose: Transpose::No,
            left: operand(left, *first)?,
            out: operand(out, 0)?,
            sums,
            m: columns,
            n,
            inner: rows,
        },
    };
    // SAFETY: the shapes were checked by `mod.rs`, so every row of each side lies inside its
    // tensor.
    unsafe { driver::gemm(gpu(left)?, &product) }
}
