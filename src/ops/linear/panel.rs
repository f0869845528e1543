//! Panels: a frozen matrix's numbers in the order that the kernels read them.
//!
//! The right side of a product is summed over k and has n columns. A panel holds [`WIDTH`] of the columns as
//! `[k, WIDTH]` units, zero where k or n end inside it. Forward, x W', its columns are rows of W and k runs along them;
//! backward, dy W, its columns are columns of W and k runs down the rows.

use std::ops::Range;

use super::part::Part;
use super::rows::{LINE, Unit, pack_inline, round};
use super::tile::WIDTH;
use super::{Element, Matrix};
use crate::ops::level::{Level, vectorised};
use crate::ops::vector::Vector;

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

/// Fills a panel with the columns from `column` and the units from `first` on; `out` says how many units.
pub fn pack(
    level: Level,
    side: Side,
    w: &Matrix,
    unit: Unit,
    first: usize,
    column: usize,
    out: &mut [u32],
) {
    match side {
        Side::Forward => forward(level, w, unit, first, column, out),
        Side::Backward => backward(level, w, unit, first, column, out),
    }
}

/// Sixteen units of each of 32 rows of W at a time, transposed.
fn forward(level: Level, w: &Matrix, unit: Unit, first: usize, column: usize, out: &mut [u32]) {
    let per_unit = unit.numbers();
    let rows = column..(column + WIDTH).min(w.rows);
    let mut block = [[0; LINE]; WIDTH];
    for (step, out) in out.chunks_exact_mut(LINE * WIDTH).enumerate() {
        let start = ((first + step * LINE) * per_unit).min(w.columns);
        let end = (start + LINE * per_unit).min(w.columns);
        load_block(level, w, unit, rows.clone(), start..end, &mut block);
        for (half, block) in block.as_chunks().0.iter().enumerate() {
            transpose(level, block, &mut out[half * LINE..]);
        }
    }
}

vectorised! {
    /// The units of some columns of some rows of W, zero beyond their end.
    fn load_block(
        w: &Matrix,
        unit: Unit,
        rows: Range<usize>,
        columns: Range<usize>,
        block: &mut [[u32; LINE]; WIDTH],
    ) {
        for (units, row) in block.iter_mut().zip(rows) {
            load::<V>(unit, w.part(row, columns.clone()), units);
        }
    }
}

/// Sixteen rows of sixteen units into as many columns of a panel.
fn transpose(level: Level, block: &[[u32; LINE]; LINE], out: &mut [u32]) {
    assert!(out.len() >= (LINE - 1) * WIDTH + LINE);
    #[cfg(target_arch = "x86_64")]
    if level >= Level::Avx512 {
        // SAFETY: the level is given out only where its instructions are; `out` holds what is written.
        return unsafe { transpose_avx512(block, out) };
    }
    let _ = level;
    for (k, out) in out.chunks_mut(WIDTH).take(LINE).enumerate() {
        for (out, units) in out.iter_mut().zip(block) {
            *out = units[k];
        }
    }
}

/// In registers: pairs of rows are interleaved by units, then by pairs of units, and the quarters that result are put
/// in order twice. Plain loops: what `array::map` is given does not become part of this function.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
unsafe fn transpose_avx512(block: &[[u32; LINE]; LINE], out: &mut [u32]) {
    use std::arch::x86_64::*;
    let mut rows = [_mm512_setzero_si512(); LINE];
    for (row, units) in rows.iter_mut().zip(block) {
        // SAFETY: a row is 512 bits.
        *row = unsafe { _mm512_loadu_si512(units.as_ptr().cast()) };
    }
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
    for (c, [a, b, d, e]) in quads.into_iter().enumerate() {
        let even = [
            _mm512_shuffle_i32x4(a, b, EVEN),
            _mm512_shuffle_i32x4(d, e, EVEN),
        ];
        let odd = [
            _mm512_shuffle_i32x4(a, b, ODD),
            _mm512_shuffle_i32x4(d, e, ODD),
        ];
        let columns = [
            _mm512_shuffle_i32x4(even[0], even[1], EVEN),
            _mm512_shuffle_i32x4(odd[0], odd[1], EVEN),
            _mm512_shuffle_i32x4(even[0], even[1], ODD),
            _mm512_shuffle_i32x4(odd[0], odd[1], ODD),
        ];
        for (q, column) in columns.into_iter().enumerate() {
            // SAFETY: 4q + c is below sixteen, and the caller checked that `out` reaches that far.
            unsafe {
                _mm512_storeu_si512(out.as_mut_ptr().add((4 * q + c) * WIDTH).cast(), column)
            };
        }
    }
}

vectorised! {
    /// One or two rows of W a unit.
    fn backward(w: &Matrix, unit: Unit, first: usize, column: usize, out: &mut [u32]) {
        const ZEROS: [u8; 2 * WIDTH] = [0; 2 * WIDTH];
        let columns = column..(column + WIDTH).min(w.columns);
        let nothing = Part::Stored(Element::Bf16, &ZEROS[..2 * columns.len()]);
        for (k, out) in (first..).zip(out.chunks_exact_mut(WIDTH)) {
            let (out, beyond) = out.split_at_mut(columns.len());
            beyond.fill(0);
            let rows = match unit {
                Unit::Pair => [2 * k, 2 * k + 1],
                Unit::F32 | Unit::Rounded => [k, k],
            };
            let [one, two] = rows.map(|row| {
                if row < w.rows { w.part(row, columns.clone()) } else { nothing }
            });
            match unit {
                Unit::Pair => pairs::<V>(one, two, out),
                Unit::F32 | Unit::Rounded => load::<V>(unit, one, out),
            }
        }
    }
}

/// Pairs of bf16 from two rows.
#[inline(always)]
fn pairs<V: Vector>(one: Part, two: Part, out: &mut [u32]) {
    if let (Part::Stored(Element::Bf16, one), Part::Stored(Element::Bf16, two)) = (one, two) {
        let halves = one.chunks_exact(2).zip(two.chunks_exact(2));
        for (out, (a, b)) in out.iter_mut().zip(halves) {
            *out = u32::from_le_bytes([a[0], a[1], b[0], b[1]]);
        }
        return;
    }
    let (mut a, mut b) = ([0.0; WIDTH], [0.0; WIDTH]);
    one.widen::<V>(&mut a[..out.len()]);
    two.widen::<V>(&mut b[..out.len()]);
    for (out, (a, b)) in out.iter_mut().zip(a.into_iter().zip(b)) {
        *out = round(a) | round(b) << 16;
    }
}

/// Units from a run of numbers, zero beyond its end.
#[inline(always)]
fn load<V: Vector>(unit: Unit, part: Part, out: &mut [u32]) {
    if let (Unit::Pair, Part::Stored(Element::Bf16, bytes)) = (unit, part)
        && bytes.len() == 4 * out.len()
    {
        for (out, b) in out.iter_mut().zip(bytes.chunks_exact(4)) {
            *out = u32::from_le_bytes([b[0], b[1], b[2], b[3]]);
        }
        return;
    }
    let mut values = [0.0; 2 * LINE];
    let values = &mut values[..part.len()];
    part.widen::<V>(values);
    pack_inline(unit, values, out);
}
