//! What the tasks of a product do: each some rows of the left side times some panels of the right.

use std::ops::Range;

use half::bf16;

use super::kernel::{Factors, Kernel, NEXT, Place, SumBlock, WIDTH};
use super::packed::Packed;
use super::panels::Panels;
use crate::ops::cpu::bf16::{fence, narrowed, narrowed_past_caches};
use crate::ops::cpu::level::Level;
use crate::ops::cpu::output::{OutputParts, prefetch_for_writing};

/// Numbers of an output that the second cache of a core, of 2 MB, does not hold.
const LARGE: usize = 1 << 20;

/// What all tasks of a product share.
pub struct Multiplication<'a> {
    pub left: &'a Packed,
    pub kernel: Kernel,
    pub columns: usize,
    /// Units that are summed over.
    pub units: usize,
    /// `[rows, columns]` that the sums are added to.
    pub onto: Option<&'a [f32]>,
    /// Sums in f32, `[rows, columns]`: the output, or what waits for further units; else nothing.
    pub wide: OutputParts<'a, f32>,
    /// The output `[rows, columns]` where it is bf16.
    pub narrow: Option<OutputParts<'a, bf16>>,
}

impl Multiplication<'_> {
    /// One task: some rows times some panels. A few rows are taken through all panels while they
    /// are in the core's first caches, block of units by block; between blocks their sums wait in a
    /// `SumBlock` each.
    pub fn run(&self, packed: &Panels, rows: Range<usize>, panels: Range<usize>) {
        let kernel = self.kernel.start();
        let passes = packed.passes(self.left.unit(), self.left.run());
        let mut kept = vec![SumBlock::ZERO; panels.len()];
        for row in rows.clone().step_by(self.kernel.height) {
            let height = self.kernel.height.min(rows.end - row);
            for (block, passes) in packed.blocks().zip(&passes) {
                for (number, (panel, kept)) in panels.clone().zip(&mut kept).enumerate() {
                    let spot = Spot {
                        row,
                        column: panel * WIDTH,
                        height,
                        width: WIDTH.min(self.columns - panel * WIDTH),
                    };
                    let factors = Factors {
                        left: self.units(row, block.start),
                        stride: self.left.stride(),
                        rows: height,
                        k: block.len(),
                        panel: packed.panel(panel, &block),
                        passes,
                        // Each of eight panels fetches its share of the next rows.
                        next: self.units(row + self.kernel.height + number * NEXT, block.start),
                    };
                    let is_last = block.end == packed.units().end;
                    let is_first = block.start == packed.units().start;
                    if is_first {
                        self.copy_start(&spot, block.start, kept);
                    }
                    let waiting = kept.place();
                    let from = match is_first {
                        true => self.start(&spot, block.start, waiting),
                        false => Some(waiting),
                    };
                    let to = match is_last {
                        true => self.end(&spot, block.end, waiting),
                        false => waiting,
                    };
                    // SAFETY: a `SumBlock` is as high as any kernel; where sums go straight to the
                    // output, so is the spot, which no other task has.
                    unsafe { kernel.run(&factors, from, to) };
                    if is_last {
                        self.finish(&spot, block.end, kept);
                    }
                }
            }
        }
        fence();
    }

    /// The units of the rows from `row` on, from unit `unit` of that row; past the last row, those
    /// of the first.
    fn units(&self, row: usize, unit: usize) -> &[u32] {
        let (units, start) = (self.left.units(), row * self.left.stride() + unit);
        units.get(start..).unwrap_or(units)
    }

    /// Where the sums of the units before `unit` are, if there are any; `waiting` has them unless
    /// the spot is whole.
    fn start(&self, spot: &Spot, unit: usize, waiting: Place) -> Option<Place> {
        let before = self.before(spot, unit)?;
        Some(if self.is_whole(spot) { before } else { waiting })
    }

    /// Brings the sums of the units before `unit` to `kept`, if the spot is not whole.
    fn copy_start(&self, spot: &Spot, unit: usize, kept: &mut SumBlock) {
        let Some(before) = self.before(spot, unit).filter(|_| !self.is_whole(spot)) else {
            return;
        };
        for (i, sums) in kept.0[..spot.height].iter_mut().enumerate() {
            // SAFETY: the spot's rows and columns are there, and nobody writes them meanwhile.
            let before = unsafe {
                std::slice::from_raw_parts(before.start.add(i * before.stride), spot.width)
            };
            sums[..spot.width].copy_from_slice(before);
        }
    }

    /// Where a spot's sums of the units before `unit` are in a whole matrix; only to be read.
    fn before(&self, spot: &Spot, unit: usize) -> Option<Place> {
        match (unit, self.onto) {
            (0, None) => None,
            (0, Some(onto)) => Some(Place {
                start: onto[self.at(spot, 0).start..].as_ptr().cast_mut(),
                stride: self.columns,
            }),
            _ => Some(self.place(spot)),
        }
    }

    /// Where the sums of all units up to `unit` go first: where they belong, if that is so many
    /// whole rows of f32.
    fn end(&self, spot: &Spot, unit: usize, waiting: Place) -> Place {
        let narrow = self.narrow.as_ref().filter(|_| unit == self.units);
        let passes_caches = narrow.is_some_and(|narrow| self.passes_caches(narrow));
        for row in (0..spot.height).filter(|_| !passes_caches) {
            let range = self.at(spot, row);
            match narrow {
                Some(narrow) => prefetch_for_writing(narrow.pointer(range), spot.width),
                None => prefetch_for_writing(self.wide.pointer(range), spot.width),
            }
        }
        match narrow.is_none() && self.is_whole(spot) {
            true => self.place(spot),
            false => waiting,
        }
    }

    /// Brings sums that did not go where they belong there.
    fn finish(&self, spot: &Spot, unit: usize, kept: &SumBlock) {
        let narrow = self.narrow.as_ref().filter(|_| unit == self.units);
        if narrow.is_none() && self.is_whole(spot) {
            return;
        }
        let passes_caches = narrow.is_some_and(|narrow| self.passes_caches(narrow));
        for (row, sums) in kept.0[..spot.height].iter().enumerate() {
            let (range, sums) = (self.at(spot, row), &sums[..spot.width]);
            match narrow {
                Some(narrow) => {
                    let level = self.left.level();
                    // SAFETY: no other task has this spot.
                    let part = unsafe { narrow.part(range) };
                    match passes_caches {
                        // SAFETY: `run` ends with a fence.
                        true => unsafe { narrowed_past_caches(level, sums, part) },
                        false => narrowed(level, sums, part),
                    }
                }
                None => {
                    // SAFETY: as above.
                    unsafe { self.wide.part(range) }.write_copy_of_slice(sums);
                }
            }
        }
    }

    /// Whether the output is written past the caches: if it is too large for them and its rows are whole
    /// lines, on the processors where it was measured.
    fn passes_caches(&self, narrow: &OutputParts<bf16>) -> bool {
        let is_in_lines = self.columns.is_multiple_of(WIDTH)
            && narrow
                .pointer(0..0)
                .addr()
                .is_multiple_of(WIDTH * size_of::<bf16>());
        let is_large = self.left.dims()[0] * self.columns >= LARGE;
        self.left.level() == Level::Amx && is_large && is_in_lines
    }

    fn is_whole(&self, spot: &Spot) -> bool {
        spot.height == self.kernel.height && spot.width == WIDTH
    }

    /// A spot's sums in f32.
    fn place(&self, spot: &Spot) -> Place {
        Place {
            start: self.wide.pointer(self.at(spot, 0)),
            stride: self.columns,
        }
    }

    /// Numbers of one row of a spot.
    fn at(&self, spot: &Spot, row: usize) -> Range<usize> {
        let start = (spot.row + row) * self.columns + spot.column;
        start..start + spot.width
    }
}

/// Where a block of sums belongs in the output.
struct Spot {
    row: usize,
    column: usize,
    height: usize,
    width: usize,
}
