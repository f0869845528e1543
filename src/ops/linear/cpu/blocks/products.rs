//! Products of blocks.

use super::{Block, BlockUnits, SIDE};
use crate::ops::cpu::level::Level;
use crate::ops::linear::cpu::kernel::{Factors, Kernel, Pass, Place, Running, WIDTH};
use crate::ops::linear::cpu::unit::{LINE, Unit};

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
