//! Products with a frozen matrix, which stays where the file has it.
//!
//! ```text
//! y  = x W'            x [N, in], W [out, in]
//! dx = dy W
//! ```
//!
//! W never gets a gradient. Its bytes lie in the mapped checkpoint as bf16, f16 or f32; a part at a time is packed and
//! multiplied, so that no second copy of the model exists. A card gets its own copy, which cuBLAS multiplies. With [`Product::Bf16`] both sides of a product are rounded
//! to bf16 first, as a matrix unit takes them, and summed in f32.

#[cfg(target_arch = "x86_64")]
pub(crate) mod amx;
mod cpu;
#[cfg(feature = "cuda")]
mod cuda;
mod panel;
#[doc(hidden)]
pub mod reference;
mod rows;
mod tile;

use std::fmt;
use std::ops::Range;

#[cfg(feature = "cuda")]
use candle_core::Device;
use candle_core::{DType, Result, Tensor, bail};
use safetensors::Dtype;

use self::panel::Side;
use self::rows::Unit;
pub use self::rows::{Packed, Writer};
use super::{Compute, floats, tensor};
use crate::files::Bytes;

/// The type that the two sides of a product are rounded to before they are multiplied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Product {
    /// Nothing is rounded.
    F32,
    /// Both sides are rounded to bf16.
    Bf16,
}

impl Product {
    /// The type that a card stores activations in.
    pub fn dtype(self) -> DType {
        match self {
            Self::F32 => DType::F32,
            Self::Bf16 => DType::BF16,
        }
    }
}

impl fmt::Display for Product {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
        })
    }
}

/// A matrix `[rows, columns]` of activations or of their gradients on the left of a product, rounded as the product
/// takes it.
pub enum Rows {
    /// In main memory.
    Packed(Packed),
    /// On a card: a tensor of the product's type.
    #[cfg(feature = "cuda")]
    Card(Tensor),
}

impl Rows {
    pub fn dims(&self) -> Result<[usize; 2]> {
        match self {
            Self::Packed(packed) => Ok(packed.dims()),
            #[cfg(feature = "cuda")]
            Self::Card(x) => x.dims2().map(Into::into),
        }
    }

    /// The numbers of a tensor `[N, C]`.
    pub fn of(product: Product, x: &Tensor) -> Result<Self> {
        #[cfg(feature = "cuda")]
        if x.device().is_cuda() {
            return Ok(Self::Card(cuda::cast(x, product.dtype())?));
        }
        Ok(Self::Packed(Packed::of(product, x)?))
    }

    /// The numbers again as f32, in main memory.
    pub fn tensor(&self) -> Result<Tensor> {
        match self {
            Self::Packed(packed) => tensor(packed.numbers(), packed.dims().to_vec()),
            #[cfg(feature = "cuda")]
            Self::Card(x) => x.to_device(&Device::Cpu)?.to_dtype(DType::F32),
        }
    }
}

impl From<Packed> for Rows {
    fn from(packed: Packed) -> Self {
        Self::Packed(packed)
    }
}

/// How a frozen number is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Element {
    Bf16,
    F16,
    F32,
}

/// As PyTorch's users call them.
impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bf16 => "bf16",
            Self::F16 => "f16",
            Self::F32 => "f32",
        })
    }
}

impl Element {
    /// The element for a file's type, or `None` for one that no RWKV checkpoint uses.
    pub fn of(dtype: Dtype) -> Option<Self> {
        match dtype {
            Dtype::BF16 => Some(Self::Bf16),
            Dtype::F16 => Some(Self::F16),
            Dtype::F32 => Some(Self::F32),
            _ => None,
        }
    }

    /// Bytes of one number.
    pub fn size(self) -> usize {
        match self {
            Self::Bf16 | Self::F16 => 2,
            Self::F32 => 4,
        }
    }
}

/// A frozen matrix W `[rows, columns]`, row after row.
#[derive(Clone, Debug)]
pub struct Matrix {
    numbers: Numbers,
    element: Element,
    rows: usize,
    columns: usize,
    product: Product,
}

#[derive(Clone, Debug)]
enum Numbers {
    /// Little-endian, where the file has them.
    Mapped(Bytes),
    /// On a card.
    #[cfg(feature = "cuda")]
    Card(Tensor),
}

impl Matrix {
    /// Points at `data`, which must hold rows * columns numbers; a card gets a copy of them.
    pub fn new(
        data: Bytes,
        element: Element,
        [rows, columns]: [usize; 2],
        compute: impl Into<Compute>,
    ) -> Result<Self> {
        let compute: Compute = compute.into();

        let needed = rows
            .checked_mul(columns)
            .and_then(|n| n.checked_mul(element.size()));
        if needed != Some(data.len()) || data.is_empty() {
            bail!(
                "a matrix of {rows} x {columns} {element:?} in {} bytes",
                data.len()
            );
        }
        #[cfg(feature = "cuda")]
        let numbers = match compute.device.is_cuda() {
            true => Numbers::Card(cuda::load(&compute, &data, element, [rows, columns])?),
            false => Numbers::Mapped(data),
        };
        #[cfg(not(feature = "cuda"))]
        let numbers = Numbers::Mapped(data);
        Ok(Self {
            numbers,
            element,
            rows,
            columns,
            product: compute.product,
        })
    }

    /// `[rows, columns]`.
    pub fn dims(&self) -> [usize; 2] {
        [self.rows, self.columns]
    }

    /// How the file stores the numbers.
    pub fn element(&self) -> Element {
        self.element
    }

    /// What the two sides of its products are rounded to.
    pub fn product(&self) -> Product {
        self.product
    }

    /// x W': x `[N, columns]` to `[N, rows]`.
    pub fn forward(&self, x: &Rows) -> Result<Tensor> {
        self.multiply(x, Side::Forward, To::New)
    }

    /// As [`Self::forward`], with sums that stay f32 whatever type activations have.
    pub fn forward_wide(&self, x: &Rows) -> Result<Tensor> {
        self.multiply(x, Side::Forward, To::Wide)
    }

    /// x W' + to: x `[N, columns]`, to `[N, rows]`.
    pub fn forward_onto(&self, to: &Tensor, x: &Rows) -> Result<Tensor> {
        self.multiply(x, Side::Forward, To::Onto(to))
    }

    /// dy W: dy `[N, rows]` to dx `[N, columns]`.
    pub fn backward(&self, dy: &Rows) -> Result<Tensor> {
        self.multiply(dy, Side::Backward, To::New)
    }

    fn multiply(&self, left: &Rows, side: Side, to: To) -> Result<Tensor> {
        let ([n, width], (inner, outer)) = (left.dims()?, side.dims(self));
        if width != inner || matches!(to, To::Onto(to) if to.dims() != [n, outer]) {
            bail!(
                "{side:?}: a product of {:?} with a matrix of {} x {}",
                left.dims()?,
                self.rows,
                self.columns
            );
        }
        match (left, &self.numbers) {
            (Rows::Packed(left), Numbers::Mapped(_)) => {
                if left.unit() != Unit::of(self.product, left.level()) {
                    bail!("{:?} rows for a {:?} product", left.unit(), self.product);
                }
                let to = match to {
                    To::Onto(to) => Some(floats(to)?),
                    To::New | To::Wide => None,
                };
                tensor(cpu::multiply(left, self, side, to.as_deref()), (n, outer))
            }
            #[cfg(feature = "cuda")]
            (Rows::Card(left), Numbers::Card(w)) => cuda::multiply(left, w, side, to),
            #[cfg(feature = "cuda")]
            _ => bail!("a product of rows and a matrix that lie on different devices"),
        }
    }

    /// Row `index` widened to f32, appended to `out`: an embedding.
    pub(crate) fn push_row(&self, index: usize, out: &mut Vec<f32>) -> Result<()> {
        if index >= self.rows {
            bail!("row {index} of a matrix of {} rows", self.rows);
        }
        let start = out.len();
        out.resize(start + self.columns, 0.0);
        panel::widen(
            self.element,
            self.part(index, 0..self.columns),
            &mut out[start..],
        );
        Ok(())
    }

    /// The numbers as a card has them.
    #[cfg(feature = "cuda")]
    pub(crate) fn on_card(&self) -> Option<&Tensor> {
        match &self.numbers {
            Numbers::Card(tensor) => Some(tensor),
            Numbers::Mapped(_) => None,
        }
    }

    /// The bytes of some columns of a row in main memory.
    #[inline(always)]
    fn part(&self, row: usize, columns: Range<usize>) -> &[u8] {
        let (start, size) = (row * self.columns, self.element.size());
        match &self.numbers {
            Numbers::Mapped(data) => {
                &data[(start + columns.start) * size..(start + columns.end) * size]
            }
            #[cfg(feature = "cuda")]
            Numbers::Card(_) => unreachable!("only rows in main memory come here"),
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

/// All numbers of a small frozen tensor (a norm's weight, a mix, a decay) as f32.
pub fn widen(element: Element, data: &[u8]) -> Vec<f32> {
    let mut out = vec![0.0; data.len() / element.size()];
    panel::widen(element, data, &mut out);
    out
}

#[cfg(test)]
mod tests {
    use candle_core::DType;
    use half::{bf16, f16};

    use super::super::check::{F32, close, f32, uniform};
    use super::super::level::{Level, tests::at_each_level};
    use super::*;

    fn stored(w: &Tensor, element: Element) -> Result<Vec<u8>> {
        let w: Vec<f32> = w.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
        Ok(match element {
            Element::Bf16 => w
                .iter()
                .flat_map(|&x| bf16::from_f32(x).to_le_bytes())
                .collect(),
            Element::F16 => w
                .iter()
                .flat_map(|&x| f16::from_f32(x).to_le_bytes())
                .collect(),
            Element::F32 => w.iter().flat_map(|x| x.to_le_bytes()).collect(),
        })
    }

    fn rounded(x: &Tensor, element: Element) -> Result<Tensor> {
        let dtype = match element {
            Element::Bf16 => DType::BF16,
            Element::F16 => DType::F16,
            Element::F32 => DType::F32,
        };
        x.to_dtype(dtype)?.to_dtype(DType::F64)
    }

    /// Sizes on both sides of the single-row path, of a tile, a panel and a sum's depth; odd ones; every storage and
    /// product type; every level of this machine.
    #[test]
    fn forward_and_gradient_agree_with_the_reference() -> Result<()> {
        at_each_level(|level| {
            for element in [Element::Bf16, Element::F16, Element::F32] {
                for product in [Product::F32, Product::Bf16] {
                    for sizes in [
                        [1, 5, 3],
                        [1, 130, 257],
                        [3, 64, 64],
                        [9, 1, 33],
                        [33, 31, 1100],
                        [37, 2100, 300],
                        [1000, 40, 70],
                        // Three blocks of rows one way; more panels than are packed at once the other.
                        [300, 1100, 33],
                        [3, 2100, 1100],
                        [0, 5, 3],
                    ] {
                        check(level, element, product, sizes)?;
                    }
                }
            }
            Ok(())
        })
    }

    fn check(
        level: Level,
        element: Element,
        product: Product,
        [n, rows, columns]: [usize; 3],
    ) -> Result<()> {
        let x = uniform(1, &[n, columns], -1.0, 1.0)?;
        let dy = uniform(2, &[n, rows], -1.0, 1.0)?;
        let to = uniform(4, &[n, rows], -1.0, 1.0)?;
        let w = rounded(&uniform(3, &[rows, columns], -1.0, 1.0)?, element)?;
        let matrix = Matrix::new(
            stored(&w, element)?.into(),
            element,
            [rows, columns],
            product,
        )?;
        let (x32, dy32) = (f32(&x)?, f32(&dy)?);
        let [x, dy, w] = match product {
            Product::F32 => [x, dy, w],
            Product::Bf16 => [
                rounded(&x32, Element::Bf16)?,
                rounded(&dy32, Element::Bf16)?,
                rounded(&w.to_dtype(DType::F32)?, Element::Bf16)?,
            ],
        };
        let what = format!("{level} {element:?} {product:?} {n} x {rows} x {columns}");
        let (x32, dy32) = (Rows::of(product, &x32)?, Rows::of(product, &dy32)?);
        let want = reference::forward(&x, &w)?;
        close(
            &format!("y, {what}"),
            &matrix.forward(&x32)?,
            &want,
            10.0 * F32,
        );
        close(
            &format!("y onto another, {what}"),
            &matrix.forward_onto(&f32(&to)?, &x32)?,
            &(want + to)?,
            10.0 * F32,
        );
        close(
            &format!("dx, {what}"),
            &matrix.backward(&dy32)?,
            &reference::backward(&dy, &w)?,
            10.0 * F32,
        );
        Ok(())
    }

    #[test]
    fn a_matrix_must_fill_its_bytes() {
        for shape in [[2, 3], [2, 5], [usize::MAX, 2], [0, 4]] {
            assert!(
                Matrix::new(vec![0; 16].into(), Element::Bf16, shape, Product::F32).is_err(),
                "{shape:?}"
            );
        }
        assert!(Matrix::new(vec![0; 16].into(), Element::Bf16, [2, 4], Product::F32).is_ok());
    }
}
