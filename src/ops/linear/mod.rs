//! Products with a frozen matrix, which stays where the file has it, or is held in fewer bits.
//!
//! ```text
//! y  = x W'            x [N, in], W [out, in]
//! dx = dy W
//! ```
//!
//! W never gets a gradient. Its bytes lie in the mapped checkpoint as bf16, f16 or f32, or in
//! memory as a [`quantised::Quantised`] copy; a part at a time is packed and multiplied, so that no
//! wider copy of it exists. A GPU gets its own copy. With [`ProductType::Bf16`] both sides of a
//! product are rounded to bf16 first, as a matrix unit takes them, and summed in f32.

pub(super) mod cpu;
mod cuda;
mod gpu_numbers;
mod matrix;
mod product;
pub mod quantised;
#[doc(hidden)]
pub mod reference;
mod row_part;
mod rows;
mod single_rows;
#[cfg(test)]
mod tests;
mod weights;

use candle_core::{DType, Result, Tensor, bail};

pub use self::cpu::packed::{Packed, PackedOutput, PackedParts, Writer};
use self::cpu::unit::Unit;
pub(crate) use self::gpu_numbers::NEIGHBOURS;
use self::matrix::Held;
pub use self::matrix::Matrix;
pub use self::product::ProductType;
pub use self::rows::Rows;
pub use self::weights::Weights;
use super::cpu::tensor::{Borrowed, borrow, tensor};

/// Which product a matrix is the right side of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// x W', which sums over W's columns.
    Forward,
    /// dy W, which sums over W's rows.
    Backward,
}

impl Side {
    /// (numbers summed over, columns) of a product with W.
    pub fn dims(self, w: &Matrix) -> (usize, usize) {
        match self {
            Self::Forward => (w.columns, w.rows),
            Self::Backward => (w.rows, w.columns),
        }
    }
}

/// Where a product goes.
#[derive(Clone, Copy)]
enum To<'a> {
    New,
    /// New, and f32 whatever type activations have.
    Wide,
    /// Added to this.
    Onto(&'a Tensor),
}

impl Matrix {
    /// x W': x `[N, columns]` to `[N, rows]`.
    pub fn forward(&self, x: &Rows) -> Result<Tensor> {
        self.multiply(x, Side::Forward, To::New)
    }

    /// As [`Self::forward`], with sums that stay f32 whatever type activations have.
    pub fn forward_wide(&self, x: &Rows) -> Result<Tensor> {
        self.multiply(x, Side::Forward, To::Wide)
    }

    /// As [`Self::forward`], for time-mix's r, k and v, RWKV-5's gate and channel-mix's r, whose rounding
    /// would show in the loss (docs/ACCURACY.md): in main memory sums stay f32. A GPU's kernels
    /// take the product's type.
    pub fn forward_sensitive(&self, x: &Rows) -> Result<Tensor> {
        match x {
            Rows::Packed(_) => self.forward_wide(x),
            Rows::Gpu(_) => self.forward(x),
        }
    }

    /// [`Self::forward_sensitive`] of several matrices with rows of their own: single rows are
    /// multiplied with all of them at once.
    pub fn forward_sensitive_each(products: Vec<(&Self, &Rows)>) -> Result<Vec<Tensor>> {
        if let Some(products) = on_gpu(&products, Side::Forward) {
            return single_rows::multiply_rows(&products);
        }
        if let Some(made) = single_rows_in_main_memory(&products, Side::Forward)? {
            return Ok(made);
        }
        let each = products.into_iter();
        each.map(|(matrix, x)| matrix.forward_sensitive(x))
            .collect()
    }

    /// x W' + to: x `[N, columns]`, to `[N, rows]`.
    pub fn forward_onto(&self, to: &Tensor, x: &Rows) -> Result<Tensor> {
        self.multiply(x, Side::Forward, To::Onto(to))
    }

    /// dy W: dy `[N, rows]` to dx `[N, columns]`.
    pub fn backward(&self, dy: &Rows) -> Result<Tensor> {
        self.multiply(dy, Side::Backward, To::New)
    }

    /// As [`Self::backward`], with sums that stay f32 whatever type activations have.
    pub fn backward_wide(&self, dy: &Rows) -> Result<Tensor> {
        self.multiply(dy, Side::Backward, To::Wide)
    }

    /// [`Self::backward_wide`] of several, as [`Self::forward_sensitive_each`].
    pub fn backward_wide_each(products: Vec<(&Self, &Rows)>) -> Result<Vec<Tensor>> {
        if let Some(products) = on_gpu(&products, Side::Backward) {
            return single_rows::multiply_columns(&products);
        }
        if let Some(made) = single_rows_in_main_memory(&products, Side::Backward)? {
            return Ok(made);
        }
        let each = products.into_iter();
        each.map(|(matrix, dy)| matrix.backward_wide(dy)).collect()
    }

    /// The product of rows in main memory `[N, ..]` in f32, added to `onto` if there is one.
    pub(crate) fn multiply_packed(
        &self,
        left: &Packed,
        side: Side,
        onto: Option<&[f32]>,
    ) -> Result<Vec<f32>> {
        let ([n, _], (_, outer)) = (left.dims(), side.dims(self));
        self.check(left.dims(), side, None)?;
        self.check_unit(left)?;
        if let Some(onto) = onto.filter(|onto| onto.len() != n * outer) {
            bail!(
                "{} numbers to add a product of {n} x {outer} to",
                onto.len()
            );
        }
        Ok(cpu::multiply_wide(left, self, side, onto))
    }

    fn check(&self, left: [usize; 2], side: Side, onto: Option<&[usize]>) -> Result<()> {
        let ([n, width], (inner, outer)) = (left, side.dims(self));
        if width != inner || onto.is_some_and(|onto| onto != [n, outer]) {
            bail!(
                "{side:?}: a product of {left:?} with a matrix of {} x {}",
                self.rows,
                self.columns
            );
        }
        Ok(())
    }

    fn check_unit(&self, left: &Packed) -> Result<()> {
        if left.unit() != Unit::of(self.product, left.level()) {
            bail!("{:?} rows for a {:?} product", left.unit(), self.product);
        }
        Ok(())
    }

    fn multiply(&self, left: &Rows, side: Side, to: To) -> Result<Tensor> {
        let onto = match to {
            To::New | To::Wide => None,
            To::Onto(to) => Some(to.dims()),
        };
        self.check(left.dims()?, side, onto)?;
        match (left, &self.held) {
            (Rows::Packed(left), Held::Stored(_) | Held::Quantised(_)) => {
                self.check_unit(left)?;
                let onto = match to {
                    To::New | To::Wide => None,
                    To::Onto(to) => Some(borrow(to)?),
                };
                let sums = cpu::Sums {
                    onto: onto.as_ref().map(Borrowed::f32).transpose()?,
                    dtype: match to {
                        To::New => self.product.dtype(),
                        To::Wide | To::Onto(_) => DType::F32,
                    },
                };
                cpu::multiply(left, self, side, sums)
            }
            (Rows::Gpu(left), Held::Gpu(w)) => w.multiply(left, side, to),
            _ => bail!("a product of rows and a matrix that lie on different devices"),
        }
    }
}

/// Products as a GPU has them, if all are of single rows on it that fit.
fn on_gpu<'a>(
    products: &[(&'a Matrix, &'a Rows)],
    side: Side,
) -> Option<Vec<(&'a gpu_numbers::Numbers, &'a Tensor)>> {
    let of_gpu = |&(matrix, x): &(&'a Matrix, &'a Rows)| match (x, &matrix.held) {
        (Rows::Gpu(x), Held::Gpu(w)) if x.dims() == [1, side.dims(matrix).0] => Some((w, x)),
        _ => None,
    };
    products.iter().map(of_gpu).collect()
}

/// Products in f32, if all are of single rows in main memory.
fn single_rows_in_main_memory(
    products: &[(&Matrix, &Rows)],
    side: Side,
) -> Result<Option<Vec<Tensor>>> {
    let mut rows = Vec::with_capacity(products.len());
    for &(w, x) in products {
        let (Rows::Packed(left), None) = (x, w.on_gpu()) else {
            return Ok(None);
        };
        if left.dims()[0] != 1 {
            return Ok(None);
        }
        w.check(left.dims(), side, None)?;
        w.check_unit(left)?;
        rows.push(cpu::SingleRow {
            left,
            w,
            side,
            onto: None,
        });
    }
    let made = cpu::multiply_single_rows(&rows).into_iter();
    let tensors = made.map(|y| {
        let dims = (1, y.len());
        tensor(y, dims)
    });
    tensors.collect::<Result<_>>().map(Some)
}

/// Bytes of a matrix that are brought to the product's type at once, where a GPU holds it as
/// another.
pub const WIDENED: usize = 64 << 20;
