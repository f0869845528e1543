//! Panels: a frozen matrix's numbers in the order that the kernels read them.
//!
//! The right side of a product is summed over k and has n columns. A panel holds [`WIDTH`] of the columns as
//! `[k, WIDTH]` units, zero where k or n end inside it. Forward, x W', its columns are rows of W and k runs along them;
//! backward, dy W, its columns are columns of W and k runs down the rows.

use std::mem::MaybeUninit;
use std::ops::Range;

use rayon::prelude::*;

use super::Matrix;
use super::part::Part;
use super::rows::{LINE, Line, PARTS, Unit, pack_inline};
use super::tile::{Pass, WIDTH};
use crate::ops::cpu::level::{Level, vectorised};
use crate::ops::cpu::numbers::round;
use crate::ops::cpu::output::{Output, cleared, uncleared};
use crate::ops::cpu::vector::Vector;
use crate::tensors::Element;

/// Which product a matrix is the right side of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Forward,
    Backward,
}

impl Side {
    /// (numbers summed over, columns) of a product with W.
    pub fn dims(self, w: &Matrix) -> (usize, usize) {
        match self {
            Self::Forward => (w.columns, w.rows),
            Self::Backward => (w.rows, w.columns),
        }
    }
}

/// Panels that a task packs at once: backward, it then reads four cache lines of a row of W one after another.
const GROUP: usize = 4;

/// Some panels of a right side, over some of its units: block of units by block, in each of them panel by panel, and of
/// each panel part by part. That is the order in which a task reads them.
pub struct Panels {
    lines: Vec<Line>,
    panels: Range<usize>,
    units: Range<usize>,
    /// Units of a block; the last may be shorter.
    depth: usize,
    parts: usize,
}

impl Panels {
    pub fn pack(
        level: Level,
        right: Right,
        panels: Range<usize>,
        units: Range<usize>,
        depth: usize,
    ) -> Self {
        let parts = right.parts();
        let blocks = units.clone().step_by(depth);
        let groups = panels.clone().step_by(GROUP);
        let tasks = blocks.flat_map(|unit| groups.clone().map(move |panel| (unit, panel)));
        let tasks: Vec<(usize, usize)> = tasks.collect();
        let mut lines = Output::new(panels.len() * units.len() * parts * WIDTH / LINE);
        let out = lines.parts();
        tasks.into_par_iter().for_each(|(unit, panel)| {
            let block = unit..unit.saturating_add(depth).min(units.end);
            let group = panel..(panel + GROUP).min(panels.end);
            let line = |panel: usize| {
                let before = (block.start - units.start) * panels.len();
                (before + (panel - panels.start) * block.len()) * parts * WIDTH / LINE
            };
            // SAFETY: no other task has this group of this block.
            let out = unsafe { out.part(line(group.start)..line(group.end)) };
            right.fill(level, group, block, Line::parts_of(out));
        });
        Self {
            // SAFETY: the groups of the blocks are the whole, and `fill` wrote each.
            lines: unsafe { lines.finish() },
            panels,
            units,
            depth,
            parts,
        }
    }

    /// The units of each block.
    pub fn blocks(&self) -> impl Iterator<Item = Range<usize>> {
        let end = self.units.end;
        let depth = self.depth;
        let starts = self.units.clone().step_by(depth);
        starts.map(move |start| start..start.saturating_add(depth).min(end))
    }

    /// All units.
    pub fn units(&self) -> &Range<usize> {
        &self.units
    }

    /// For each block, which runs of a row, each of `run` units, meet which parts of its panels: all whose product is not
    /// below f32's last bit, the smallest first.
    pub fn passes(&self, unit: Unit, run: usize) -> Vec<Vec<Pass>> {
        let mut pairs: Vec<(usize, usize)> = (0..unit.runs())
            .flat_map(|left| (0..self.parts).map(move |right| (left, right)))
            .filter(|(left, right)| left + right < PARTS)
            .collect();
        pairs.sort_by_key(|(left, right)| std::cmp::Reverse(left + right));
        let of_block = |block: Range<usize>| {
            let pass = |&(left, right): &(usize, usize)| Pass {
                left: left * run,
                panel: right * block.len() * WIDTH,
            };
            pairs.iter().map(pass).collect()
        };
        self.blocks().map(of_block).collect()
    }

    /// The `[parts, units, WIDTH]` units of one panel in one block.
    pub fn panel(&self, panel: usize, block: &Range<usize>) -> &[u32] {
        let before = (block.start - self.units.start) * self.panels.len();
        let start = (before + (panel - self.panels.start) * block.len()) * self.parts * WIDTH;
        &Line::units(&self.lines)[start..][..block.len() * self.parts * WIDTH]
    }
}

/// The right side of a product.
#[derive(Clone, Copy)]
pub struct Right<'a> {
    pub w: &'a Matrix,
    pub side: Side,
    pub unit: Unit,
}

impl Right<'_> {
    /// How many bf16 each of its numbers is the sum of, where they are taken apart.
    pub fn parts(self) -> usize {
        match self.unit {
            Unit::F32 | Unit::Rounded | Unit::Pair => 1,
            Unit::Split => self.w.parts(),
        }
    }

    /// Packs some panels over some units; `out` is filled.
    fn fill(
        self,
        level: Level,
        panels: Range<usize>,
        units: Range<usize>,
        out: &mut [MaybeUninit<u32>],
    ) {
        #[cfg(target_arch = "x86_64")]
        if self.unit.numbers() == 2 && self.is_whole(&panels, &units) {
            // SAFETY: units of two numbers are given out only where there are more instructions than these; `is_whole` saw
            // that all numbers are there.
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
            match self.side {
                Side::Forward => forward(level, self, part, units.start, panel * WIDTH, out),
                Side::Backward => backward(level, self, part, units.start, panel * WIDTH, out),
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

/// Sixteen units of each of 32 rows of W at a time, transposed.
fn forward(level: Level, right: Right, part: usize, first: usize, column: usize, out: &mut [u32]) {
    let (w, per_unit) = (right.w, right.unit.numbers());
    let rows = column..(column + WIDTH).min(w.rows);
    let mut block = [[0; LINE]; WIDTH];
    for (step, out) in out.chunks_exact_mut(LINE * WIDTH).enumerate() {
        let start = ((first + step * LINE) * per_unit).min(w.columns);
        let end = (start + LINE * per_unit).min(w.columns);
        load_block(level, right, part, rows.clone(), start..end, &mut block);
        for (half, block) in block.as_chunks().0.iter().enumerate() {
            transpose(block, &mut out[half * LINE..]);
        }
    }
}

vectorised! {
    /// The units of some columns of some rows of W, zero beyond their end.
    fn load_block(
        right: Right<'_>,
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
    fn backward(right: Right<'_>, part: usize, first: usize, column: usize, out: &mut [u32]) {
        const ZEROS: [u8; 2 * WIDTH] = [0; 2 * WIDTH];
        let (w, unit) = (right.w, right.unit);
        let columns = column..(column + WIDTH).min(w.columns);
        let nothing = Part::Stored(Element::Bf16, &ZEROS[..2 * columns.len()]);
        for (k, out) in (first..).zip(out.chunks_exact_mut(WIDTH)) {
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
                Unit::Pair | Unit::Split => pairs::<V>(part, one, two, out),
                Unit::F32 | Unit::Rounded => load::<V>(unit, 0, one, out),
            }
        }
    }
}

/// Pairs of bf16 from two rows: part `part` of their numbers.
#[inline(always)]
fn pairs<V: Vector>(part: usize, one: Part, two: Part, out: &mut [u32]) {
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
fn load<V: Vector>(unit: Unit, part: usize, numbers: Part, out: &mut [u32]) {
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

/// The same for whole panels of a bf16 matrix, whose numbers need only be put in order.
#[cfg(target_arch = "x86_64")]
mod avx512 {
    use std::arch::x86_64::*;

    use super::{LINE, Matrix, MaybeUninit, Range, WIDTH};

    /// Two lines of a panel.
    const BOTH: usize = WIDTH / LINE;

    /// Two rows of W to each row of a panel: their quarters are brought side by side, then their numbers.
    ///
    /// # Safety
    ///
    /// Where the instructions are, and all numbers.
    #[target_feature(enable = "avx512f,avx512bw")]
    pub unsafe fn backward(
        w: &Matrix,
        panels: Range<usize>,
        units: Range<usize>,
        out: &mut [MaybeUninit<u32>],
    ) {
        assert_eq!(out.len(), panels.len() * units.len() * WIDTH);
        let order = _mm512_setr_epi64(0, 4, 1, 5, 2, 6, 3, 7);
        let columns = panels.start * WIDTH..panels.end * WIDTH;
        for (k, unit) in units.clone().enumerate() {
            let rows = [2 * unit, 2 * unit + 1].map(|row| w.bf16_part(row, columns.clone()));
            for panel in 0..panels.len() {
                // SAFETY: each row has 32 bf16 for each panel, and `out` 32 units.
                unsafe {
                    let [a, b] = rows.map(|row| {
                        let row = row[panel * 2 * WIDTH..][..2 * WIDTH].as_ptr();
                        _mm512_permutexvar_epi64(order, _mm512_loadu_si512(row.cast()))
                    });
                    let to = out.as_mut_ptr().add((panel * units.len() + k) * WIDTH);
                    _mm512_storeu_si512(to.cast(), _mm512_unpacklo_epi16(a, b));
                    _mm512_storeu_si512(to.add(LINE).cast(), _mm512_unpackhi_epi16(a, b));
                }
            }
        }
    }

    /// Sixteen units of each of sixteen rows of W at a time, transposed in registers.
    ///
    /// # Safety
    ///
    /// Where the instructions are, and all numbers.
    #[target_feature(enable = "avx512f")]
    pub unsafe fn forward(
        w: &Matrix,
        panels: Range<usize>,
        units: Range<usize>,
        out: &mut [MaybeUninit<u32>],
    ) {
        /// Bytes ahead that are asked for.
        const AHEAD: usize = 256;
        assert_eq!(out.len(), panels.len() * units.len() * WIDTH);
        let outs = out.chunks_exact_mut(units.len() * WIDTH);
        for (panel, out) in panels.zip(outs) {
            let numbers = 2 * units.start..2 * units.end;
            let rows: [*const u8; WIDTH] = std::array::from_fn(|row| {
                w.bf16_part(panel * WIDTH + row, numbers.clone()).as_ptr()
            });
            for (step, out) in out.chunks_exact_mut(LINE * WIDTH).enumerate() {
                for half in 0..BOTH {
                    let mut block = [_mm512_setzero_si512(); LINE];
                    for (block, row) in block.iter_mut().zip(&rows[half * LINE..]) {
                        // SAFETY: a row has 64 bytes for each step.
                        unsafe {
                            let start = row.add(step * 4 * LINE);
                            _mm_prefetch::<_MM_HINT_T0>(start.wrapping_add(AHEAD).cast());
                            *block = _mm512_loadu_si512(start.cast());
                        }
                    }
                    // SAFETY: the instructions are there.
                    let columns = unsafe { transpose(block) };
                    for (k, column) in columns.into_iter().enumerate() {
                        let to = out[k * WIDTH + half * LINE..][..LINE].as_mut_ptr();
                        // SAFETY: a column is sixteen units.
                        unsafe { _mm512_storeu_si512(to.cast(), column) };
                    }
                }
            }
        }
    }

    /// Pairs of rows are interleaved by units, then by pairs of units, and the quarters that result are put in order
    /// twice. Plain loops: what `array::map` is given does not become part of this function.
    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn transpose(rows: [__m512i; LINE]) -> [__m512i; LINE] {
        // Quarter q of `quads[c][i]` holds units 4q + c of rows 4i to 4i + 3.
        let mut quads = [[_mm512_setzero_si512(); 4]; 4];
        for (i, four) in rows.as_chunks::<4>().0.iter().enumerate() {
            let [a, b, c, d] = *four;
            let (ab, cd) = (_mm512_unpacklo_epi32(a, b), _mm512_unpacklo_epi32(c, d));
            quads[0][i] = _mm512_unpacklo_epi64(ab, cd);
            quads[1][i] = _mm512_unpackhi_epi64(ab, cd);
            let (ab, cd) = (_mm512_unpackhi_epi32(a, b), _mm512_unpackhi_epi32(c, d));
            quads[2][i] = _mm512_unpacklo_epi64(ab, cd);
            quads[3][i] = _mm512_unpackhi_epi64(ab, cd);
        }
        const EVEN: i32 = 0b10_00_10_00;
        const ODD: i32 = 0b11_01_11_01;
        let mut columns = [_mm512_setzero_si512(); LINE];
        for (c, [a, b, d, e]) in quads.into_iter().enumerate() {
            let even = [
                _mm512_shuffle_i32x4(a, b, EVEN),
                _mm512_shuffle_i32x4(d, e, EVEN),
            ];
            let odd = [
                _mm512_shuffle_i32x4(a, b, ODD),
                _mm512_shuffle_i32x4(d, e, ODD),
            ];
            columns[c] = _mm512_shuffle_i32x4(even[0], even[1], EVEN);
            columns[4 + c] = _mm512_shuffle_i32x4(odd[0], odd[1], EVEN);
            columns[8 + c] = _mm512_shuffle_i32x4(even[0], even[1], ODD);
            columns[12 + c] = _mm512_shuffle_i32x4(odd[0], odd[1], ODD);
        }
        columns
    }
}
