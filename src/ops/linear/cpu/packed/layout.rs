//! How a packed matrix lies in memory.

use crate::ops::cpu::level::Level;
use crate::ops::linear::ProductType;
use crate::ops::linear::cpu::kernel::HEIGHT;
use crate::ops::linear::cpu::unit::{LINE, Unit};

/// Rows filled by one task.
pub const PIECE: usize = 32;

/// Rows begin at cache lines and are zero up to their end.
#[derive(Clone, Copy)]
pub struct PackedLayout {
    pub rows: usize,
    pub columns: usize,
    /// Lines from one row to the next.
    pub stride: usize,
    /// Lines of a run.
    pub run: usize,
    pub unit: Unit,
    pub level: Level,
}

impl PackedLayout {
    /// Of a matrix `[rows, columns]`, for the current level.
    pub fn new(product: ProductType, [rows, columns]: [usize; 2]) -> Self {
        let level = Level::current();
        let unit = Unit::of(product, level);
        let run = columns.div_ceil(unit.numbers()).div_ceil(LINE);
        let lines = run * unit.runs();
        Self {
            rows,
            columns,
            // Rows a multiple of 512 bytes apart would crowd into few sets of the cache.
            stride: lines + usize::from(lines.is_multiple_of(8)),
            run,
            unit,
            level,
        }
    }

    /// Rows, and those beyond: a kernel may read a whole tile of them, but of a single row, which goes
    /// another way.
    pub fn height(&self) -> usize {
        match self.rows {
            1 => 1,
            rows => rows.next_multiple_of(HEIGHT),
        }
    }

    /// Lines of the whole matrix.
    pub fn len(&self) -> usize {
        self.height() * self.stride
    }
}
