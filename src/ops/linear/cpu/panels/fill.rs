//! Filling panels from a frozen matrix, however it is held.

use std::mem::MaybeUninit;
use std::ops::Range;

#[cfg(target_arch = "x86_64")]
use super::avx512;
use super::{LINE, WIDTH};
use crate::ops::cpu::bf16::round;
use crate::ops::cpu::level::{Level, vectorised};
use crate::ops::cpu::output::{cleared, uncleared};
use crate::ops::cpu::vector::Vector;
use crate::ops::linear::cpu::unit::{Unit, pack_inline};
use crate::ops::linear::row_part::RowPart;
use crate::ops::linear::{Matrix, Side};
use crate::tensors::Element;

/// The right side of a product.
#[derive(Clone, Copy)]
pub struct RightSide<'a> {
    pub w: &'a Matrix,
    pub side: Side,
    pub unit: Unit,
}

impl RightSide<'_> {
    /// How many bf16 each of its numbers is the sum of, where they are taken apart.
    pub fn parts(self) -> usize {
        match self.unit {
            Unit::F32 | Unit::Rounded | Unit::Pair => 1,
            Unit::Split => self.w.parts(),
        }
    }

    /// Packs some panels over some units; `out` is filled.
    pub fn fill(
        self,
        level: Level,
        panels: Range<usize>,
        units: Range<usize>,
        out: &mut [MaybeUninit<u32>],
    ) {
        #[cfg(target_arch = "x86_64")]
        if self.unit.numbers() == 2 && self.is_whole(&panels, &units) {
            // SAFETY: units of two numbers are given out only where there are more instructions
            // than these; `is_whole` saw that all numbers are there.
            return unsafe {
                match self.side {
                    Side::Forward => avx512::forward(self.w, panels, units, out),
                    Side::Backward => avx512::backward(self.w, panels, units, out),
                }
            };
        }
        let runs = cleared(out, 0).chunks_exact_mut(units.len() * WIDTH);
        let parts = panels.flat_map(|panel| (0..self.parts()).map(move |part| (panel, part)));
        for ((panel, part), out) in parts.zip(runs) {
            let from = Start {
                part,
                unit: units.start,
                column: panel * WIDTH,
            };
            match self.side {
                Side::Forward => forward(level, self, from, out),
                Side::Backward => backward(level, self, from, out),
            }
        }
    }

    /// Whether W is bf16, and has all the numbers of some panels over some units.
    #[cfg(target_arch = "x86_64")]
    fn is_whole(self, panels: &Range<usize>, units: &Range<usize>) -> bool {
        let (numbers, columns) = self.side.dims(self.w);
        self.w.is_stored_as(Element::Bf16)
            && panels.end * WIDTH <= columns
            && 2 * units.end <= numbers
    }
}

/// What one run of a panel begins with.
#[derive(Clone, Copy)]
struct Start {
    /// Which part of the numbers is taken, where they are taken apart.
    part: usize,
    unit: usize,
    column: usize,
}

/// Sixteen units of each of 32 rows of W at a time, transposed.
fn forward(level: Level, right: RightSide, from: Start, out: &mut [u32]) {
    let (w, per_unit) = (right.w, right.unit.numbers());
    let rows = from.column..(from.column + WIDTH).min(w.rows);
    let mut block = [[0; LINE]; WIDTH];
    for (step, out) in out.chunks_exact_mut(LINE * WIDTH).enumerate() {
        let start = ((from.unit + step * LINE) * per_unit).min(w.columns);
        let end = (start + LINE * per_unit).min(w.columns);
        load_block(
            level,
            right,
            from.part,
            rows.clone(),
            start..end,
            &mut block,
        );
        for (half, block) in block.as_chunks().0.iter().enumerate() {
            transpose(block, &mut out[half * LINE..]);
        }
    }
}

vectorised! {
    /// The units of some columns of some rows of W, zero beyond their end.
    fn load_block<V: Vector>(
        level: Level,
        right: RightSide<'_>,
        part: usize,
        rows: Range<usize>,
        columns: Range<usize>,
        block: &mut [[u32; LINE]; WIDTH],
    ) {
        for (units, row) in block.iter_mut().zip(rows) {
            load::<V>(right.unit, part, right.w.part(row, columns.clone()), units);
        }
    }
}

/// Sixteen rows of sixteen units into as many columns of a panel.
fn transpose(block: &[[u32; LINE]; LINE], out: &mut [u32]) {
    for (k, out) in out.chunks_mut(WIDTH).take(LINE).enumerate() {
        for (out, units) in out.iter_mut().zip(block) {
            *out = units[k];
        }
    }
}

vectorised! {
    /// One or two rows of W a unit.
    fn backward<V: Vector>(level: Level, right: RightSide<'_>, from: Start, out: &mut [u32]) {
        const ZEROS: [u8; 2 * WIDTH] = [0; 2 * WIDTH];
        let (w, unit) = (right.w, right.unit);
        let columns = from.column..(from.column + WIDTH).min(w.columns);
        let nothing = RowPart::Stored(Element::Bf16, &ZEROS[..2 * columns.len()]);
        for (k, out) in (from.unit..).zip(out.chunks_exact_mut(WIDTH)) {
            let (out, beyond) = out.split_at_mut(columns.len());
            beyond.fill(0);
            let rows = match unit.numbers() {
                2 => [2 * k, 2 * k + 1],
                _ => [k, k],
            };
            let [one, two] = rows.map(|row| {
                if row < w.rows { w.part(row, columns.clone()) } else { nothing }
            });
            match unit {
                Unit::Pair | Unit::Split => pairs::<V>(from.part, one, two, out),
                Unit::F32 | Unit::Rounded => load::<V>(unit, 0, one, out),
            }
        }
    }
}

/// Pairs of bf16 from two rows: part `part` of their numbers.
#[inline(always)]
fn pairs<V: Vector>(part: usize, one: RowPart, two: RowPart, out: &mut [u32]) {
    let (mut a, mut b) = ([0.0; WIDTH], [0.0; WIDTH]);
    one.widen::<V>(&mut a[..out.len()]);
    two.widen::<V>(&mut b[..out.len()]);
    for numbers in [&mut a, &mut b] {
        leave_part(part, numbers);
    }
    for (out, (a, b)) in out.iter_mut().zip(a.into_iter().zip(b)) {
        *out = round(a) | round(b) << 16;
    }
}

/// Units from a run of numbers, of which part `part` is taken; zero beyond its end.
#[inline(always)]
fn load<V: Vector>(unit: Unit, part: usize, numbers: RowPart, out: &mut [u32]) {
    let mut values = [0.0; 2 * LINE];
    let values = &mut values[..numbers.len()];
    numbers.widen::<V>(values);
    leave_part(part, values);
    // SAFETY: `pack_inline` writes numbers.
    pack_inline(unit, values, unsafe { uncleared(out) });
}

/// What the parts before part `part` leave of some numbers; rounded, it is that part.
#[inline(always)]
fn leave_part(part: usize, numbers: &mut [f32]) {
    for _ in 0..part {
        for number in &mut *numbers {
            *number -= f32::from_bits(round(*number) << 16);
        }
    }
}
