//! A block as kernels take it.

use std::ops::Range;

use super::Block;
use crate::ops::cpu::bf16::paired;
use crate::ops::cpu::level::Level;
use crate::ops::cpu::output::uncleared;
use crate::ops::linear::cpu::kernel::WIDTH;
use crate::ops::linear::cpu::panels;
use crate::ops::linear::cpu::unit::{LINE, Unit, pack};

/// A block as kernels take it: rows of units in panels of [`WIDTH`], panel by panel.
pub struct BlockUnits {
    level: Level,
    pub(super) unit: Unit,
    pub(super) units: Vec<u32>,
    pub(super) rows: usize,
    pub(super) columns: usize,
}

impl BlockUnits {
    /// With nothing yet.
    pub fn new(level: Level, unit: Unit) -> Self {
        Self {
            level,
            unit,
            units: Vec::new(),
            rows: 0,
            columns: 0,
        }
    }

    /// A block's rows; a unit has neighbours of a row. A left side of products that sum over columns.
    pub fn across(&mut self, block: &Block) -> &Self {
        self.shape(block.rows, self.units_of(block.columns));
        for row in 0..block.rows {
            let numbers = WIDTH * self.unit.numbers();
            for (panel, values) in block.row(row).chunks(numbers).enumerate() {
                let at = self.at(row, panel * WIDTH);
                let count = self.units_of(values.len());
                self.pack(values, at..at + count);
            }
        }
        self
    }

    /// A unit has neighbours of a column. A right side of products that sum over rows.
    pub fn down(&mut self, block: &Block) -> &Self {
        self.down_rows(block, 0..block.rows)
    }

    /// The same of some rows. What other rows of a block of this shape gave stays.
    pub fn down_rows(&mut self, block: &Block, rows: Range<usize>) -> &Self {
        self.shape(self.units_of(block.rows), block.columns);
        for row in self.units_of(rows.start)..self.units_of(rows.end) {
            for column in (0..block.columns).step_by(WIDTH) {
                let at = self.at(row, column);
                let part = |row: usize| &block.row(row)[column..][..WIDTH];
                match self.unit.numbers() {
                    1 => self.pack(part(row), at..at + WIDTH),
                    _ => {
                        let (a, b) = (part(2 * row), part(2 * row + 1));
                        paired(self.level, a, b, &mut self.units[at..]);
                    }
                }
            }
        }
        self
    }

    /// Rows for columns: makes a right side of what is packed across, and a left side of what is
    /// packed down.
    pub fn turned(&mut self, from: &Self) -> &Self {
        self.shape(from.columns, from.rows);
        for row in (0..from.rows).step_by(LINE) {
            for column in (0..from.columns).step_by(LINE) {
                let source = &from.units[from.at(row, column)..];
                let at = self.at(column, row);
                transpose(self.level, source, &mut self.units[at..]);
            }
        }
        self
    }

    fn pack(&mut self, values: &[f32], at: Range<usize>) {
        // SAFETY: `pack` fills what it is given.
        let out = unsafe { uncleared(&mut self.units[at]) };
        pack(self.level, self.unit, values, out);
    }

    fn units_of(&self, numbers: usize) -> usize {
        numbers / self.unit.numbers()
    }

    fn shape(&mut self, rows: usize, columns: usize) {
        (self.rows, self.columns) = (rows, columns);
        self.units.resize(rows * columns.next_multiple_of(WIDTH), 0);
    }

    /// Where a unit is.
    #[inline(always)]
    pub(super) fn at(&self, row: usize, column: usize) -> usize {
        (column / WIDTH * self.rows + row) * WIDTH + column % WIDTH
    }
}

/// Sixteen units of sixteen rows, each [`WIDTH`] from the one before, in both.
fn transpose(level: Level, from: &[u32], to: &mut [u32]) {
    const LAST: usize = (LINE - 1) * WIDTH + LINE;
    let (from, to) = (&from[..LAST], &mut to[..LAST]);
    #[cfg(target_arch = "x86_64")]
    if level >= Level::Avx512 {
        // SAFETY: the level has the instructions; both slices have sixteen rows.
        return unsafe { panels::transpose_rows(from, to) };
    }
    let _ = level;
    for row in 0..LINE {
        for column in 0..LINE {
            to[column * WIDTH + row] = from[row * WIDTH + column];
        }
    }
}
