//! A packed matrix that tasks write disjoint parts of, several tasks to a row.

use std::mem::MaybeUninit;

use rayon::prelude::*;

use super::Packed;
use super::layout::{PIECE, PackedLayout};
use crate::ops::cpu::bf16::round;
use crate::ops::cpu::output::{Output, OutputParts, cleared, prefetch_for_writing};
use crate::ops::linear::ProductType;
use crate::ops::linear::cpu::unit::{LINE, Line, Unit};

/// Numbers that are taken apart at once.
const STRIP: usize = 64;

/// A packed matrix of which tasks write rows by parts.
pub struct PackedOutput {
    lines: Output<Line>,
    layout: PackedLayout,
}

impl PackedOutput {
    /// Memory for a matrix of shape `dims`, zero where no number is.
    pub fn new(product: ProductType, dims: [usize; 2]) -> Self {
        let layout = PackedLayout::new(product, dims);
        let mut lines = Output::new(layout.len());
        let used = layout.columns / (LINE * layout.unit.numbers());
        lines
            .memory()
            .par_chunks_mut(PIECE * layout.stride)
            .enumerate()
            .for_each(|(piece, lines)| {
                for (row, lines) in (piece * PIECE..).zip(lines.chunks_mut(layout.stride)) {
                    // What no part reaches: rows beyond the last, and the ends of runs.
                    if row >= layout.rows {
                        cleared(lines, Line::ZERO);
                        continue;
                    }
                    let (runs, rest) = lines.split_at_mut(layout.run * layout.unit.runs());
                    cleared(rest, Line::ZERO);
                    for run in runs.chunks_mut(layout.run) {
                        cleared(&mut run[used..], Line::ZERO);
                    }
                }
            });
        Self { lines, layout }
    }

    /// The whole, for tasks that write parts of it.
    pub fn parts(&mut self) -> PackedParts<'_> {
        PackedParts {
            lines: self.lines.parts(),
            layout: self.layout,
        }
    }

    /// What was written.
    ///
    /// # Safety
    ///
    /// Every number must have been written.
    pub unsafe fn finish(self) -> Packed {
        Packed {
            // SAFETY: the caller has had every number written, and `new` cleared the rest.
            lines: unsafe { self.lines.finish() },
            layout: self.layout,
        }
    }
}

/// A packed matrix that tasks write disjoint parts of.
pub struct PackedParts<'a> {
    lines: OutputParts<'a, Line>,
    layout: PackedLayout,
}

impl PackedParts<'_> {
    /// Has the cache fetch where `len` numbers of row `row`, from column `column` on, will be
    /// written.
    #[inline(always)]
    pub fn prefetch(&self, row: usize, column: usize, len: usize) {
        let PackedLayout {
            stride, run, unit, ..
        } = self.layout;
        let (line, size) = (LINE * unit.numbers(), size_of::<Line>());
        let start = self
            .lines
            .pointer(row * stride..(row + 1) * stride)
            .cast::<u8>();
        for number in 0..unit.runs() {
            let start = start.wrapping_add(number * run * size + column * size / line);
            prefetch_for_writing(start, len * size / line);
        }
    }

    /// Writes some numbers of row `row`, from column `column` on. It is compiled along with its
    /// caller.
    ///
    /// # Safety
    ///
    /// No other task may write them meanwhile.
    #[inline(always)]
    pub unsafe fn write_inline(&self, row: usize, column: usize, values: &[f32]) {
        let PackedLayout {
            rows,
            columns,
            stride,
            run,
            unit,
            ..
        } = self.layout;
        assert!(row < rows && column + values.len() <= columns);
        let lines = row * stride..(row + 1) * stride;
        let start = self.lines.pointer(lines);
        // SAFETY: the assert keeps every number inside its row's runs, and the caller keeps others
        // away.
        unsafe {
            match unit {
                Unit::F32 | Unit::Rounded => {
                    let to = start.cast::<u32>().add(column);
                    let to =
                        std::slice::from_raw_parts_mut(to.cast::<MaybeUninit<u32>>(), values.len());
                    for (to, value) in to.iter_mut().zip(values) {
                        to.write(match unit.rounds() {
                            true => round(*value) << 16,
                            false => value.to_bits(),
                        });
                    }
                }
                Unit::Pair | Unit::Split => {
                    let mut rest = [0.0; STRIP];
                    for (values, column) in values.chunks(STRIP).zip((column..).step_by(STRIP)) {
                        let rest = &mut rest[..values.len()];
                        rest.copy_from_slice(values);
                        for number in 0..unit.runs() {
                            let to = start.add(number * run).cast::<u16>().add(column);
                            let to = std::slice::from_raw_parts_mut(
                                to.cast::<MaybeUninit<u16>>(),
                                values.len(),
                            );
                            for (to, rest) in to.iter_mut().zip(&*rest) {
                                to.write(round(*rest) as u16);
                            }
                            if number + 1 < unit.runs() {
                                for rest in &mut *rest {
                                    *rest -= f32::from_bits(round(*rest) << 16);
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}
