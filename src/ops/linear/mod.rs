//! Products with a frozen matrix, which stays where the file has it, or is held in fewer bits.
//!
//! ```text
//! y  = x W'            x [N, in], W [out, in]
//! dx = dy W
//! ```
//!
//! W never gets a gradient. Its bytes lie in the mapped checkpoint as bf16, f16 or f32, or in memory as a
//! [`Quantised`] copy; a part at a time is packed and multiplied, so that no wider copy of it exists. A card gets its own
//! copy. With [`Product::Bf16`] both sides of a product are rounded to bf16 first, as a matrix unit takes them, and summed
//! in f32.

#[cfg(target_arch = "x86_64")]
pub(crate) mod amx;
mod cpu;
#[cfg(feature = "cuda")]
mod cuda;
mod panel;
mod part;
pub mod quantised;
#[doc(hidden)]
pub mod reference;
mod rows;
mod tile;

use std::fmt;
use std::ops::Range;

use candle_core::{DType, Device, Result, Tensor, bail};
use rayon::prelude::*;

use self::panel::Side;
use self::part::Part;
use self::quantised::{Form, Quantised};
use self::rows::{PARTS, Unit};
pub use self::rows::{Packed, PackedOutput, PackedParts, Writer};
use super::cpu::vector::Plain;
use super::{floats, tensor};
use crate::files::Bytes;
use crate::tensors::Element;

/// The type that the two sides of a product are rounded to before they are multiplied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Product {
    /// Nothing is rounded; where bf16 tiles multiply it, each number is the sum of a few, and every sum has f32's digits.
    F32,
    /// Both sides are rounded to bf16.
    Bf16,
}

impl Product {
    /// The type that activations are stored in.
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

/// What frozen matrices are held as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weights {
    /// As the file has them, where the file has them.
    File,
    Bf16,
    Int8,
    Nf4,
}

impl fmt::Display for Weights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::File => "file",
            Self::Bf16 => "bf16",
            Self::Int8 => "int8",
            Self::Nf4 => "nf4",
        })
    }
}

/// A frozen matrix W `[rows, columns]`.
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
    /// Little-endian numbers, row after row.
    Stored(Bytes),
    Quantised(Quantised),
    #[cfg(feature = "cuda")]
    Card(cuda::Numbers),
}

impl Matrix {
    /// Points at `data`, which must hold rows * columns numbers.
    pub fn new(
        data: Bytes,
        element: Element,
        [rows, columns]: [usize; 2],
        product: Product,
    ) -> Result<Self> {
        let needed = rows
            .checked_mul(columns)
            .and_then(|n| n.checked_mul(element.size()));
        if needed != Some(data.len()) || data.is_empty() {
            bail!(
                "a matrix of {rows} x {columns} {element:?} in {} bytes",
                data.len()
            );
        }
        Ok(Self {
            numbers: Numbers::Stored(data),
            element,
            rows,
            columns,
            product,
        })
    }

    /// The same matrix, held as `weights`. What it had of a mapped file goes out of memory.
    pub fn held_as(self, weights: Weights) -> Result<Self> {
        let Numbers::Stored(data) = &self.numbers else {
            bail!("{weights} weights of a matrix that is quantised already");
        };
        let (dims, width) = ([self.rows, self.columns], self.columns);
        let read = |row: usize, out: &mut [f32]| self.part(row, 0..width).widen::<Plain>(out);
        let quantised = |form| Quantised::new(form, dims, read).map(Numbers::Quantised);
        let (numbers, element) = match (weights, self.element) {
            (Weights::File, _) | (Weights::Bf16, Element::Bf16) => return Ok(self),
            (Weights::Bf16, _) => {
                let mut bytes = vec![0; self.rows * width * Element::Bf16.size()];
                let rows = bytes.par_chunks_mut(width * Element::Bf16.size());
                rows.enumerate().for_each(|(row, bytes)| {
                    let mut values = vec![0.0; width];
                    read(row, &mut values);
                    Element::Bf16.encode_into(&values, bytes);
                });
                (Numbers::Stored(bytes.into()), Element::Bf16)
            }
            (Weights::Int8, element) => (quantised(Form::Int8)?, element),
            (Weights::Nf4, element) => (quantised(Form::Nf4)?, element),
        };
        data.leave_memory();
        Ok(Self {
            numbers,
            element,
            ..self
        })
    }

    /// The same matrix on a device. A card gets a copy.
    pub fn on(self, device: &Device) -> Result<Self> {
        match device {
            Device::Cpu => Ok(self),
            #[cfg(feature = "cuda")]
            Device::Cuda(_) => {
                let numbers = cuda::Numbers::copy(&self, device)?;
                if let Numbers::Stored(data) = &self.numbers {
                    data.leave_memory();
                }
                Ok(Self {
                    numbers: Numbers::Card(numbers),
                    ..self
                })
            }
            _ => bail!("there are no products on {:?}", device.location()),
        }
    }

    /// Bytes that its numbers take in memory.
    pub fn bytes(&self) -> usize {
        match &self.numbers {
            Numbers::Stored(data) => data.len(),
            Numbers::Quantised(numbers) => numbers.bytes(),
            #[cfg(feature = "cuda")]
            Numbers::Card(numbers) => numbers.bytes(),
        }
    }

    /// `[rows, columns]`.
    pub fn dims(&self) -> [usize; 2] {
        [self.rows, self.columns]
    }

    /// How the numbers are stored, or were before they were quantised.
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

    /// As [`Self::forward`], for time-mix's r, k, v and gate and channel-mix's r, whose rounding would show in the loss
    /// (docs/ACCURACY.md): in main memory sums stay f32. A GPU's kernels take the product's type.
    pub fn forward_sensitive(&self, x: &Rows) -> Result<Tensor> {
        match x {
            Rows::Packed(_) => self.forward_wide(x),
            #[cfg(feature = "cuda")]
            Rows::Card(_) => self.forward(x),
        }
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
            (Rows::Packed(left), Numbers::Stored(_) | Numbers::Quantised(_)) => {
                if left.unit() != Unit::of(self.product, left.level()) {
                    bail!("{:?} rows for a {:?} product", left.unit(), self.product);
                }
                let (onto, dtype) = match to {
                    To::New => (None, self.product.dtype()),
                    To::Wide => (None, DType::F32),
                    To::Onto(to) => (Some(floats(to)?), DType::F32),
                };
                let sums = cpu::Sums {
                    onto: onto.as_deref(),
                    dtype,
                };
                cpu::multiply(left, self, side, sums)
            }
            #[cfg(feature = "cuda")]
            (Rows::Card(left), Numbers::Card(w)) => w.multiply(left, side, to),
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
        self.part(index, 0..self.columns)
            .widen::<Plain>(&mut out[start..]);
        Ok(())
    }

    /// The numbers as a card has them.
    #[cfg(feature = "cuda")]
    pub(crate) fn on_card(&self) -> Option<&cuda::Numbers> {
        match &self.numbers {
            Numbers::Card(numbers) => Some(numbers),
            Numbers::Stored(_) | Numbers::Quantised(_) => None,
        }
    }

    /// How many bf16 each number is the sum of, exactly.
    fn parts(&self) -> usize {
        match &self.numbers {
            Numbers::Stored(_) => match self.element {
                Element::Bf16 => 1,
                Element::F16 => 2,
                Element::F32 => PARTS,
            },
            // A code of eight bits times a scale of eight.
            Numbers::Quantised(numbers) if numbers.form() == Form::Int8 => 2,
            Numbers::Quantised(_) => PARTS,
            #[cfg(feature = "cuda")]
            Numbers::Card(_) => PARTS,
        }
    }

    /// Whether the numbers lie in main memory as this type.
    #[cfg(target_arch = "x86_64")]
    fn is_stored_as(&self, element: Element) -> bool {
        matches!(self.numbers, Numbers::Stored(_)) && self.element == element
    }

    /// The bytes of some columns of a row of a matrix that is stored as bf16.
    #[cfg(target_arch = "x86_64")]
    fn bf16_part(&self, row: usize, columns: Range<usize>) -> &[u8] {
        match self.part(row, columns) {
            Part::Stored(Element::Bf16, bytes) => bytes,
            _ => unreachable!("asked of bf16 matrices alone"),
        }
    }

    /// Some columns of a row, of which the first is a multiple of sixteen.
    #[inline(always)]
    fn part(&self, row: usize, columns: Range<usize>) -> Part<'_> {
        match &self.numbers {
            Numbers::Stored(data) => {
                let (start, size) = (row * self.columns, self.element.size());
                let bytes = &data[(start + columns.start) * size..(start + columns.end) * size];
                Part::Stored(self.element, bytes)
            }
            Numbers::Quantised(numbers) => Part::Quantised(numbers.part(row, columns)),
            #[cfg(feature = "cuda")]
            Numbers::Card(_) => unreachable!("only rows in main memory come here"),
        }
    }
}

/// Bytes of a matrix that a card brings to the product's type at once, where it holds it as another.
pub const WIDENED: usize = 64 << 20;

/// Where a product goes.
#[derive(Clone, Copy)]
enum To<'a> {
    New,
    /// New, and f32 whatever type activations have.
    Wide,
    /// Added to this.
    Onto(&'a Tensor),
}

#[cfg(test)]
mod tests {
    use candle_core::DType;

    use super::super::cpu::level::tests::at_each_level;
    use super::super::testing::{BF16, F32, close, f32, uniform};
    use super::*;

    fn stored(w: &Tensor, element: Element) -> Result<Vec<u8>> {
        let w: Vec<f32> = w.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
        Ok(element.encode(&w))
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
                        let [_, rows, columns] = sizes;
                        let w = uniform(3, &[rows, columns], -1.0, 1.0)?;
                        let w = rounded(&w, element)?;
                        let bytes = stored(&w, element)?.into();
                        let matrix = Matrix::new(bytes, element, [rows, columns], product)?;
                        let what = format!("{level} {element} {product} {sizes:?}");
                        check(&what, sizes[0], &matrix, &w)?;
                    }
                }
            }
            Ok(())
        })
    }

    /// Where f32 is multiplied as a sum of bf16, all parts count: with two of a number's three it is 2.2e-6 off.
    #[test]
    fn f32_products_have_the_digits_of_f32() -> Result<()> {
        let norm = |x: &Tensor| x.sqr()?.sum_all()?.to_scalar::<f64>().map(f64::sqrt);
        at_each_level(|level| {
            for element in [Element::Bf16, Element::F16, Element::F32] {
                let [n, rows, columns] = [33, 70, 500];
                let w = rounded(&uniform(3, &[rows, columns], -1.0, 1.0)?, element)?;
                let bytes = stored(&w, element)?.into();
                let matrix = Matrix::new(bytes, element, [rows, columns], Product::F32)?;
                let x = rounded(&uniform(1, &[n, columns], -1.0, 1.0)?, Element::F32)?;
                let got = matrix.forward(&Rows::of(Product::F32, &f32(&x)?)?)?;
                let want = reference::forward(&x, &w)?;
                let off = norm(&(got.to_dtype(DType::F64)? - &want)?)? / norm(&want)?;
                assert!(off < 5e-7, "{level} {element}: {off:.1e}");
            }
            Ok(())
        })
    }

    /// A matrix that is held in fewer bits, against the numbers that its codes stand for.
    #[test]
    fn held_in_fewer_bits_a_matrix_is_what_its_codes_stand_for() -> Result<()> {
        at_each_level(|level| {
            for weights in [Weights::Bf16, Weights::Int8, Weights::Nf4] {
                for product in [Product::F32, Product::Bf16] {
                    for [n, rows, columns] in [
                        [1, 5, 3],
                        [1, 130, 257],
                        [1, 3, 2048],
                        [9, 1, 33],
                        [33, 31, 1100],
                        [37, 2100, 300],
                    ] {
                        let w = uniform(3, &[rows, columns], -1.0, 1.0)?;
                        let bytes = stored(&w, Element::F32)?.into();
                        let matrix = Matrix::new(bytes, Element::F32, [rows, columns], product)?;
                        let matrix = matrix.held_as(weights)?;
                        assert_eq!(
                            matrix.element(),
                            match weights {
                                Weights::Bf16 => Element::Bf16,
                                _ => Element::F32,
                            }
                        );
                        let mut numbers = Vec::new();
                        for row in 0..rows {
                            matrix.push_row(row, &mut numbers)?;
                        }
                        let held = tensor(numbers, (rows, columns))?.to_dtype(DType::F64)?;
                        let what = format!("{level} {weights} {product} {n} x {rows} x {columns}");
                        let off = (&held - &w)?.abs()?.max_all()?.to_scalar::<f64>()?;
                        let most = match weights {
                            Weights::File | Weights::Bf16 => 0.002,
                            Weights::Int8 => 0.004,
                            Weights::Nf4 => 0.155,
                        };
                        assert!(off <= most, "{what}: {off}");
                        check(&what, n, &matrix, &held)?;
                    }
                }
            }
            Ok(())
        })
    }

    /// The products of n rows with a matrix whose numbers are those of w.
    fn check(what: &str, n: usize, matrix: &Matrix, w: &Tensor) -> Result<()> {
        let ([rows, columns], product) = (matrix.dims(), matrix.product());
        let x = uniform(1, &[n, columns], -1.0, 1.0)?;
        let dy = uniform(2, &[n, rows], -1.0, 1.0)?;
        let to = uniform(4, &[n, rows], -1.0, 1.0)?;
        let (x32, dy32) = (f32(&x)?, f32(&dy)?);
        let [x, dy, w] = match product {
            Product::F32 => [x, dy, w.clone()],
            Product::Bf16 => [
                rounded(&x32, Element::Bf16)?,
                rounded(&dy32, Element::Bf16)?,
                rounded(&w.to_dtype(DType::F32)?, Element::Bf16)?,
            ],
        };
        let (x32, dy32) = (Rows::of(product, &x32)?, Rows::of(product, &dy32)?);
        let want = reference::forward(&x, &w)?;
        let wide = matrix.forward_wide(&x32)?;
        close(&format!("y, {what}"), &wide, &want, 10.0 * F32);
        // What a product gives is the same sums, rounded once.
        let given = matrix.forward(&x32)?;
        assert_eq!(given.dtype(), product.dtype(), "{what}");
        let rounded = wide.to_dtype(product.dtype())?.to_dtype(DType::F32)?;
        close(&format!("y as given, {what}"), &given, &rounded, 0.0);
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
            match product {
                Product::F32 => 10.0 * F32,
                Product::Bf16 => BF16,
            },
        );
        Ok(())
    }

    #[test]
    fn what_is_held_in_fewer_bits_takes_less_and_is_not_quantised_twice() -> Result<()> {
        let bytes = vec![0; 2 * 10 * 100];
        let matrix = || Matrix::new(bytes.clone().into(), Element::Bf16, [10, 100], Product::F32);
        for (weights, want) in [
            (Weights::File, 2000),
            (Weights::Bf16, 2000),
            (Weights::Int8, 10 * 2 * (64 + 2)),
            (Weights::Nf4, 10 * 2 * (32 + 2)),
        ] {
            assert_eq!(matrix()?.held_as(weights)?.bytes(), want, "{weights}");
        }
        assert!(
            matrix()?
                .held_as(Weights::Nf4)?
                .held_as(Weights::Int8)
                .is_err()
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
