//! Products of small matrices that one task makes and has in its core's cache, by the kernels of
//! large ones. Both sides are packed by the task, whichever way they lie.

mod products;
#[cfg(test)]
mod tests;
mod units;

pub use self::products::{BlockProducts, BlockSum};
pub use self::units::BlockUnits;
use super::kernel::{HEIGHT, WIDTH};
use super::unit::Unit;
use crate::ops::cpu::level::{Level, vectorised};
use crate::ops::linear::ProductType;

/// The unit in which recurrences multiply chunks of tokens, where they do: in bf16 by matrix tiles. With
/// vectors alone that takes longer than token by token; what it takes with tiles has not been measured
/// (docs/PERFORMANCE.md).
pub fn unit_of_chunks(level: Level, product: ProductType) -> Option<Unit> {
    #[cfg(test)]
    if let Some(product) = CHUNKS_OF.get() {
        return Some(Unit::of(product, level));
    }
    let has_tiles = level == Level::Amx && product == ProductType::Bf16;
    has_tiles.then(|| Unit::of(product, level))
}

#[cfg(test)]
thread_local! {
    /// Chunks of products of this type for the ops that this thread starts, whatever the level.
    pub static CHUNKS_OF: std::cell::Cell<Option<ProductType>> =
        const { std::cell::Cell::new(None) };
}

/// What the sides of a block are multiples of.
pub const SIDE: usize = WIDTH;
const _: () = assert!(SIDE.is_multiple_of(HEIGHT), "kernels take whole blocks");

/// Numbers `[rows, columns]`, row by row; both sides are multiples of [`SIDE`].
#[derive(Clone)]
pub struct Block {
    numbers: Vec<f32>,
    rows: usize,
    columns: usize,
}

impl Block {
    /// Zeros.
    pub fn zero(rows: usize, columns: usize) -> Self {
        assert!(rows.is_multiple_of(SIDE) && columns.is_multiple_of(SIDE));
        Self {
            // A kernel may be promised more rows than a product has.
            numbers: vec![0.0; (rows + HEIGHT) * columns],
            rows,
            columns,
        }
    }

    /// One row.
    #[inline(always)]
    pub fn row(&self, row: usize) -> &[f32] {
        &self.numbers[row * self.columns..][..self.columns]
    }

    /// One row, to be written.
    #[inline(always)]
    pub fn row_mut(&mut self, row: usize) -> &mut [f32] {
        &mut self.numbers[row * self.columns..][..self.columns]
    }

    /// A row, and another one to be written.
    #[inline(always)]
    pub fn row_and_row_mut(&mut self, row: usize, written: usize) -> (&[f32], &mut [f32]) {
        let columns = self.columns;
        let (before, from) = self.numbers.split_at_mut(row.max(written) * columns);
        match row < written {
            true => (&before[row * columns..][..columns], &mut from[..columns]),
            false => (
                &from[..columns],
                &mut before[written * columns..][..columns],
            ),
        }
    }

    /// How many columns.
    #[inline(always)]
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// How many rows.
    #[inline(always)]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// A matrix `[size, size]`, with zeros below and beside it.
    pub fn of_square(numbers: &[f32], size: usize) -> Self {
        let wide = size.next_multiple_of(SIDE);
        let mut block = Self::zero(wide, wide);
        block.set_square(numbers, size);
        block
    }

    /// Replaces the numbers of such a matrix. What is below and beside it becomes zero again: products
    /// leave NaN there where its numbers were infinite.
    pub fn set_square(&mut self, numbers: &[f32], size: usize) {
        self.numbers.fill(0.0);
        for (row, numbers) in numbers.chunks_exact(size).enumerate() {
            self.row_mut(row)[..size].copy_from_slice(numbers);
        }
    }

    /// Writes the matrix `[size, size]` in it.
    pub fn write_square(&self, size: usize, out: &mut [f32]) {
        for (row, out) in out.chunks_exact_mut(size).enumerate() {
            out.copy_from_slice(&self.row(row)[..size]);
        }
    }
}

vectorised! {
    /// Rows of a block, each times a number.
    pub fn scale_rows<V: Vector>(level: Level, block: &mut Block, by: &[f32]) {
        for (row, by) in by.iter().enumerate() {
            for x in block.row_mut(row) {
                *x *= by;
            }
        }
    }
}
