//! Filling whole panels from a bf16 matrix, whose numbers need only be put in order.

use std::arch::x86_64::*;
use std::mem::MaybeUninit;
use std::ops::Range;

use super::{LINE, WIDTH};
use crate::ops::linear::Matrix;

/// Two lines of a panel.
const BOTH: usize = WIDTH / LINE;

/// Two rows of W to each row of a panel: their quarters are brought side by side, then their
/// numbers.
///
/// # Safety
///
/// Where the instructions are, for panels and units whose numbers are all there.
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
/// Where the instructions are, for panels and units whose numbers are all there.
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
        let rows: [*const u8; WIDTH] =
            std::array::from_fn(|row| w.bf16_part(panel * WIDTH + row, numbers.clone()).as_ptr());
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

/// Pairs of rows are interleaved by units, then by pairs of units, and the quarters that result are
/// put in order twice. Plain loops: what `array::map` is given does not become part of this
/// function.
///
/// # Safety
///
/// Where the instructions are.
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
