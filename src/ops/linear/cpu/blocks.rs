//! Products of small matrices that one task makes and has in its core's cache, by the kernels of
//! large ones. Both sides are packed by the task, whichever way they lie.

use std::ops::Range;

use super::kernel::{Factors, HEIGHT, Kernel, Pass, Place, Running, WIDTH};
use super::unit::{LINE, Unit, pack};
use crate::ops::cpu::bf16::paired;
use crate::ops::cpu::level::Level;
use crate::ops::cpu::output::uncleared;

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

    /// A row, and the next one to be written.
    #[inline(always)]
    pub fn row_and_next(&mut self, row: usize) -> (&[f32], &mut [f32]) {
        let columns = self.columns;
        let (before, rest) = self.numbers.split_at_mut((row + 1) * columns);
        (&before[row * columns..], &mut rest[..columns])
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
}

/// A block as kernels take it: rows of units in panels of [`WIDTH`], panel by panel.
pub struct BlockUnits {
    level: Level,
    unit: Unit,
    units: Vec<u32>,
    rows: usize,
    columns: usize,
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
    fn at(&self, row: usize, column: usize) -> usize {
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
        return unsafe { super::panels::transpose_rows(from, to) };
    }
    let _ = level;
    for row in 0..LINE {
        for column in 0..LINE {
            to[column * WIDTH + row] = from[row * WIDTH + column];
        }
    }
}

/// A thread that multiplies blocks.
pub struct BlockProducts {
    kernel: Running,
    height: usize,
    unit: Unit,
}

/// What a product is added to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum BlockSum {
    /// Nothing.
    New,
    /// What is there.
    Onto,
}

impl BlockProducts {
    /// Makes this thread ready for blocks of any unit of the level but `Split`.
    pub fn new(level: Level, unit: Unit) -> Self {
        assert_eq!(unit.runs(), 1, "blocks have no parts");
        let kernel = Kernel::of(level, unit);
        Self {
            kernel: kernel.start(),
            height: kernel.height,
            unit,
        }
    }

    /// Units that so many numbers are.
    pub fn units(&self, numbers: usize) -> usize {
        numbers / self.unit.numbers()
    }

    /// `rows` rows of `left` from row `first` on, of which the first `units` units are multiplied with
    /// as many rows of `right`, to the same rows of `out`.
    pub fn multiply(
        &self,
        left: &BlockUnits,
        (first, rows): (usize, usize),
        units: usize,
        right: &BlockUnits,
        (out, sum): (&mut Block, BlockSum),
    ) {
        assert!(left.unit == self.unit && right.unit == self.unit);
        assert!(first + rows <= left.rows && first + rows <= out.rows);
        assert!(first.is_multiple_of(SIDE) && rows.is_multiple_of(SIDE));
        assert!(units.is_multiple_of(LINE) && units <= left.columns && units <= right.rows);
        assert_eq!(right.columns, out.columns);
        // What a panel has, or less where that does not go into it.
        let at_once = match units.is_multiple_of(WIDTH) {
            true => WIDTH,
            false => LINE,
        };
        let passes: Vec<Pass> = (0..units)
            .step_by(at_once)
            .map(|unit| Pass {
                left: left.at(0, unit),
                panel: right.at(unit, 0),
            })
            .collect();
        for row in (first..first + rows).step_by(self.height) {
            let left = &left.units[row * WIDTH..];
            for column in (0..out.columns).step_by(WIDTH) {
                let factors = Factors {
                    left,
                    stride: WIDTH,
                    rows: self.height.min(first + rows - row),
                    k: at_once,
                    panel: &right.units[right.at(0, column)..],
                    passes: &passes,
                    next: left,
                };
                let place = Place {
                    start: out.numbers[row * out.columns + column..].as_mut_ptr(),
                    stride: out.columns,
                };
                let from = (sum == BlockSum::Onto).then_some(place);
                // SAFETY: a block has room for a kernel's rows below each of its own.
                unsafe { self.kernel.run(&factors, from, place) };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::cpu::level::tests::at_each_level;
    use crate::ops::linear::ProductType;

    fn block(rows: usize, columns: usize, seed: u32) -> Block {
        let mut block = Block::zero(rows, columns);
        let mut state = seed;
        for row in 0..rows {
            for value in block.row_mut(row) {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                *value = (state >> 8) as f32 / (1 << 23) as f32 - 1.0;
            }
        }
        block
    }

    /// a b, a b', a' b and a' b', each added to what is there and by some rows, against float64.
    #[test]
    fn blocks_are_multiplied_whichever_way_they_lie() {
        at_each_level(|level| {
            let types = [(ProductType::F32, 1e-6), (ProductType::Bf16, 1e-2)];
            for (product, tolerance) in types {
                let unit = match Unit::of(product, level) {
                    Unit::Split => continue,
                    unit => unit,
                };
                for (m, k, n) in [(32, 32, 32), (64, 96, 32), (32, 64, 96), (96, 128, 64)] {
                    for turned in [[false; 2], [false, true], [true, false], [true; 2]] {
                        check(level, unit, tolerance, [m, k, n], turned);
                    }
                }
            }
            Ok(())
        })
        .unwrap();
    }

    fn check(
        level: Level,
        unit: Unit,
        tolerance: f64,
        [m, k, n]: [usize; 3],
        [a_turned, b_turned]: [bool; 2],
    ) {
        let sides = |turned, [rows, columns]: [usize; 2], seed| match turned {
            true => block(columns, rows, seed),
            false => block(rows, columns, seed),
        };
        let (a, b) = (sides(a_turned, [m, k], 1), sides(b_turned, [k, n], 2));
        let number = |block: &Block, turned, row: usize, column: usize| {
            f64::from(match turned {
                true => block.row(column)[row],
                false => block.row(row)[column],
            })
        };
        let [mut packed, mut left, mut right] = [(); 3].map(|()| BlockUnits::new(level, unit));
        match a_turned {
            true => left.turned(packed.down(&a)),
            false => left.across(&a),
        };
        match b_turned {
            true => right.turned(packed.across(&b)),
            false => right.down(&b),
        };
        let mut out = block(m, n, 3);
        let before = block(m, n, 3);
        let products = BlockProducts::new(level, unit);
        let half = m / 2 / SIDE * SIDE;
        let units = products.units(k);
        for rows in [(0, half), (half, m - half)] {
            products.multiply(&left, rows, units, &right, (&mut out, BlockSum::Onto));
        }
        for row in 0..m {
            for column in 0..n {
                let products =
                    (0..k).map(|i| number(&a, a_turned, row, i) * number(&b, b_turned, i, column));
                let want = f64::from(before.row(row)[column]) + products.sum::<f64>();
                let got = f64::from(out.row(row)[column]);
                assert!(
                    (got - want).abs() <= tolerance * (k as f64).sqrt(),
                    "{unit:?} at {level}, {m} {k} {n}: {got} {want}"
                );
            }
        }
    }
}
