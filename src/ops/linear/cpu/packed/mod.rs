//! The left side of a product: a matrix of activations as rows of units.

mod layout;
mod output;
mod writer;

use std::ops::Range;

use candle_core::{Result, Tensor};
use rayon::prelude::*;

use self::layout::{PIECE, PackedLayout};
pub use self::output::{PackedOutput, PackedParts};
pub use self::writer::Writer;
use super::unit::{LINE, Line, Unit};
use crate::ops::cpu::level::Level;
use crate::ops::cpu::output::Output;
use crate::ops::cpu::tensor::borrow;
use crate::ops::linear::ProductType;

/// A matrix `[rows, columns]` on the left of a product, as the kernels of a processor take it.
pub struct Packed {
    lines: Vec<Line>,
    layout: PackedLayout,
}

impl Packed {
    /// `count` matrices of one shape. `fill` is called in parallel with ranges of rows, and puts
    /// every row of its range into every matrix, in order.
    pub fn fill(
        product: ProductType,
        dims: [usize; 2],
        count: usize,
        fill: impl Fn(Range<usize>, &mut Writer) + Sync,
    ) -> Vec<Self> {
        let layout = PackedLayout::new(product, dims);
        let mut outs: Vec<Output<Line>> = (0..count).map(|_| Output::new(layout.len())).collect();
        // Each task's rows of each matrix.
        let mut pieces: Vec<Vec<_>> = Vec::new();
        pieces.resize_with(layout.height().div_ceil(PIECE), Vec::new);
        for out in &mut outs {
            let parts = out.memory().chunks_mut(PIECE * layout.stride);
            for (piece, part) in pieces.iter_mut().zip(parts) {
                piece.push(part);
            }
        }
        pieces.into_par_iter().enumerate().for_each(|(i, parts)| {
            let first = i * PIECE;
            let mut writer = Writer::new(first, layout, parts);
            fill(
                first.min(layout.rows)..(first + PIECE).min(layout.rows),
                &mut writer,
            );
            writer.finish();
        });
        outs.into_iter()
            .map(|out| Self {
                // SAFETY: the pieces are the whole, and `Writer::finish` saw that each was written.
                lines: unsafe { out.finish() },
                layout,
            })
            .collect()
    }

    /// One matrix, each row computed by itself.
    pub fn each(
        product: ProductType,
        [rows, columns]: [usize; 2],
        row: impl Fn(usize, &mut [f32]) + Sync,
    ) -> Self {
        let mut made = Self::fill(product, [rows, columns], 1, |range, writer| {
            let mut values = vec![0.0; columns];
            for i in range {
                row(i, &mut values);
                writer.put(0, i, &values);
            }
        });
        made.swap_remove(0)
    }

    /// The numbers of a tensor `[N, C]`.
    pub fn of(product: ProductType, x: &Tensor) -> Result<Self> {
        let (rows, columns) = x.dims2()?;
        let (values, level) = (borrow(x)?, Level::current());
        let values = values.get();
        let mut made = Self::fill(product, [rows, columns], 1, |range, writer| {
            let mut scratch = vec![0.0; columns];
            for i in range {
                let row = i * columns..(i + 1) * columns;
                writer.put(0, i, values.part(level, row, &mut scratch));
            }
        });
        Ok(made.swap_remove(0))
    }

    /// `[rows, columns]`.
    pub fn dims(&self) -> [usize; 2] {
        [self.layout.rows, self.layout.columns]
    }

    /// What its units hold.
    pub fn unit(&self) -> Unit {
        self.layout.unit
    }

    /// The level whose kernels the units are meant for.
    pub fn level(&self) -> Level {
        self.layout.level
    }

    /// Units from one row to the next.
    pub fn stride(&self) -> usize {
        self.layout.stride * LINE
    }

    /// Units of a run of a row.
    pub fn run(&self) -> usize {
        self.layout.run * LINE
    }

    /// All units, rows beyond the last included.
    pub fn units(&self) -> &[u32] {
        Line::units(&self.lines)
    }

    /// The numbers again, rounded as they are.
    pub fn numbers(&self) -> Vec<f32> {
        let [rows, columns] = self.dims();
        let mut values = vec![0.0; rows * columns];
        for (i, row) in values.chunks_mut(columns).enumerate() {
            let units = &self.units()[i * self.stride()..];
            self.unit().unpack(units, self.run(), row);
        }
        values
    }
}
