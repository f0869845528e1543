//! A frozen matrix, however it is held: where the file has it, in fewer bits, or on a GPU.

use std::ops::Range;

use candle_core::{Device, Result, bail};
use rayon::prelude::*;

use super::cpu::unit::PARTS;
use super::gpu_numbers::Numbers;
use super::quantised::{Form, Quantised};
use super::row_part::RowPart;
use super::{ProductType, Weights};
use crate::files::Bytes;
use crate::ops::cpu::vector::{Plain, Vector};
use crate::tensors::Element;

/// A frozen matrix W `[rows, columns]`.
#[derive(Clone, Debug)]
pub struct Matrix {
    pub(super) held: Held,
    pub(super) element: Element,
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) product: ProductType,
}

/// How a matrix's numbers are held.
#[derive(Clone, Debug)]
pub enum Held {
    /// Little-endian numbers, row after row.
    Stored(Bytes),
    Quantised(Quantised),
    Gpu(Numbers),
}

impl Matrix {
    /// Points at `data`, which must hold rows * columns numbers.
    pub fn new(
        data: Bytes,
        element: Element,
        [rows, columns]: [usize; 2],
        product: ProductType,
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
            held: Held::Stored(data),
            element,
            rows,
            columns,
            product,
        })
    }

    /// The same matrix, held as `weights`. What it had of a mapped file goes out of memory.
    pub fn held_as(self, weights: Weights) -> Result<Self> {
        let Held::Stored(data) = &self.held else {
            bail!("{weights} weights of a matrix that is quantised already");
        };
        let (dims, width) = ([self.rows, self.columns], self.columns);
        let read = |row: usize, out: &mut [f32]| self.part(row, 0..width).widen::<Plain>(out);
        let quantised = |form| Quantised::new(form, dims, read).map(Held::Quantised);
        let (held, element) = match (weights, self.element) {
            (Weights::File, _) | (Weights::Bf16, Element::Bf16) => return Ok(self),
            (Weights::Bf16, _) => {
                let mut bytes = vec![0; self.rows * width * Element::Bf16.size()];
                let rows = bytes.par_chunks_mut(width * Element::Bf16.size());
                rows.enumerate().for_each(|(row, bytes)| {
                    let mut values = vec![0.0; width];
                    read(row, &mut values);
                    Element::Bf16.encode_into(&values, bytes);
                });
                (Held::Stored(bytes.into()), Element::Bf16)
            }
            (Weights::Int8, element) => (quantised(Form::Int8)?, element),
            (Weights::Nf4, element) => (quantised(Form::Nf4)?, element),
        };
        data.leave_memory();
        Ok(Self {
            held,
            element,
            ..self
        })
    }

    /// The same numbers, and zeros after each row and after the last one. What is quantised cannot
    /// be padded.
    pub fn padded(self, [rows, columns]: [usize; 2]) -> Result<Self> {
        let Held::Stored(data) = &self.held else {
            bail!("a padded matrix of what is quantised or on a GPU");
        };
        if rows < self.rows || columns < self.columns {
            bail!(
                "{} x {} padded to {rows} x {columns}",
                self.rows,
                self.columns
            );
        }
        let size = self.element.size();
        let mut bytes = Vec::with_capacity(rows * columns * size);
        for row in data.chunks_exact(self.columns * size) {
            bytes.extend_from_slice(row);
            bytes.resize(bytes.len() + (columns - self.columns) * size, 0);
        }
        bytes.resize(rows * columns * size, 0);
        Self::new(bytes.into(), self.element, [rows, columns], self.product)
    }

    /// The same matrix on a device. A GPU gets a copy.
    pub fn on(self, device: &Device) -> Result<Self> {
        match device {
            Device::Cpu => Ok(self),
            Device::Cuda(_) => {
                let dims = self.dims();
                let numbers = match &self.held {
                    Held::Stored(data) => {
                        let (element, product) = (self.element, self.product);
                        let copy = Numbers::stored(data, element, dims, product, device)?;
                        data.leave_memory();
                        copy
                    }
                    Held::Quantised(numbers) => Numbers::quantised(numbers, dims, device)?,
                    Held::Gpu(numbers) => numbers.clone(),
                };
                Ok(Self {
                    held: Held::Gpu(numbers),
                    ..self
                })
            }
            _ => bail!("there are no products on {:?}", device.location()),
        }
    }

    /// Some of its rows, where it is in main memory.
    pub(crate) fn some_rows(&self, rows: Range<usize>) -> Result<Self> {
        let held = match &self.held {
            Held::Stored(data) => {
                let size = self.columns * self.element.size();
                data.slice(rows.start * size..rows.end * size)
                    .map(Held::Stored)
            }
            Held::Quantised(numbers) => numbers.some_rows(rows.clone()).map(Held::Quantised),
            Held::Gpu(_) => bail!("some rows of a matrix on a GPU"),
        };
        let Some(held) = held else {
            bail!("rows {rows:?} of a matrix of {} rows", self.rows);
        };
        Ok(Self {
            held,
            rows: rows.len(),
            ..*self
        })
    }

    /// Bytes that its numbers take in memory.
    pub fn bytes(&self) -> usize {
        match &self.held {
            Held::Stored(data) => data.len(),
            Held::Quantised(numbers) => numbers.bytes(),
            Held::Gpu(numbers) => numbers.bytes(),
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
    pub fn product(&self) -> ProductType {
        self.product
    }

    /// Row `index` widened to f32, appended to `out`: an embedding.
    pub(crate) fn push_row(&self, index: usize, out: &mut Vec<f32>) -> Result<()> {
        if index >= self.rows {
            bail!("row {index} of a matrix of {} rows", self.rows);
        }
        let start = out.len();
        out.resize(start + self.columns, 0.0);
        self.read_row::<Plain>(index, &mut out[start..]);
        Ok(())
    }

    /// Row `index` widened to f32.
    #[inline(always)]
    pub(crate) fn read_row<V: Vector>(&self, index: usize, out: &mut [f32]) {
        self.part(index, 0..self.columns).widen::<V>(out);
    }

    /// The numbers as a GPU has them.
    pub(crate) fn on_gpu(&self) -> Option<&Numbers> {
        match &self.held {
            Held::Gpu(numbers) => Some(numbers),
            Held::Stored(_) | Held::Quantised(_) => None,
        }
    }

    /// How many bf16 each number is the sum of, exactly.
    pub(super) fn parts(&self) -> usize {
        match &self.held {
            Held::Stored(_) => match self.element {
                Element::Bf16 => 1,
                Element::F16 => 2,
                Element::F32 => PARTS,
            },
            // A code of eight bits times a scale of eight.
            Held::Quantised(numbers) if numbers.form() == Form::Int8 => 2,
            Held::Quantised(_) => PARTS,
            Held::Gpu(_) => PARTS,
        }
    }

    /// Whether the numbers lie in main memory as this type.
    pub(super) fn is_stored_as(&self, element: Element) -> bool {
        matches!(self.held, Held::Stored(_)) && self.element == element
    }

    /// The bytes of some columns of a row of a matrix that is stored as bf16.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn bf16_part(&self, row: usize, columns: Range<usize>) -> &[u8] {
        match self.part(row, columns) {
            RowPart::Stored(Element::Bf16, bytes) => bytes,
            _ => unreachable!("asked of bf16 matrices alone"),
        }
    }

    /// Some columns of a row, of which the first is a multiple of sixteen.
    #[inline(always)]
    pub(super) fn part(&self, row: usize, columns: Range<usize>) -> RowPart<'_> {
        match &self.held {
            Held::Stored(data) => {
                let (start, size) = (row * self.columns, self.element.size());
                let bytes = &data[(start + columns.start) * size..(start + columns.end) * size];
                RowPart::Stored(self.element, bytes)
            }
            Held::Quantised(numbers) => RowPart::Quantised(numbers.part(row, columns)),
            Held::Gpu(_) => unreachable!("only rows in main memory come here"),
        }
    }
}
