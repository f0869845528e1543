//! Panels: a frozen matrix's numbers in the order that the kernels read them.
//!
//! The right side of a product is summed over k and has n columns. A panel holds [`WIDTH`] of the columns as
//! `[k, WIDTH]` units, zero where k or n end inside it. Forward, x W', its columns are rows of W and k runs along them;
//! backward, dy W, its columns are columns of W and k runs down the rows.

use half::f16;
use half::slice::HalfFloatSliceExt;

use super::rows::{LINE, Unit, pack_inline, round};
use super::tile::WIDTH;
use super::{Element, Matrix};
use crate::ops::level::vectorised;

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

vectorised! {
    /// Fills a panel with the columns from `column` and the units from `first` on; `out` says how many units.
    pub fn pack(side: Side, w: &Matrix, unit: Unit, first: usize, column: usize, out: &mut [u32]) {
        match side {
            Side::Forward => forward(w, unit, first, column, out),
            Side::Backward => backward(w, unit, first, column, out),
        }
    }
}

/// Sixteen units of each of 32 rows of W at a time, transposed.
#[inline(always)]
fn forward(w: &Matrix, unit: Unit, first: usize, column: usize, out: &mut [u32]) {
    let per_unit = unit.numbers();
    let rows = column..(column + WIDTH).min(w.rows);
    let mut block = [[0; LINE]; WIDTH];
    for (step, out) in out.chunks_exact_mut(LINE * WIDTH).enumerate() {
        let start = ((first + step * LINE) * per_unit).min(w.columns);
        let end = (start + LINE * per_unit).min(w.columns);
        for (units, row) in block.iter_mut().zip(rows.clone()) {
            load(unit, w.element, w.part(row, start..end), units);
        }
        for (k, out) in out.chunks_exact_mut(WIDTH).enumerate() {
            for (out, units) in out.iter_mut().zip(&block) {
                *out = units[k];
            }
        }
    }
}

/// One or two rows of W a unit.
#[inline(always)]
fn backward(w: &Matrix, unit: Unit, first: usize, column: usize, out: &mut [u32]) {
    let columns = column..(column + WIDTH).min(w.columns);
    let count = columns.len();
    let number_bits = |row: usize, out: &mut [u32; WIDTH]| {
        if row < w.rows {
            let mut values = [0.0; WIDTH];
            widen(
                w.element,
                w.part(row, columns.clone()),
                &mut values[..count],
            );
            *out = values.map(f32::to_bits);
        } else {
            out.fill(0);
        }
    };
    let (mut one, mut two) = ([0; WIDTH], [0; WIDTH]);
    for (k, out) in out.chunks_exact_mut(WIDTH).enumerate() {
        let k = first + k;
        match unit {
            Unit::F32 => {
                number_bits(k, &mut one);
                out.copy_from_slice(&one);
            }
            Unit::Rounded => {
                number_bits(k, &mut one);
                for (out, &bits) in out.iter_mut().zip(&one) {
                    *out = round(f32::from_bits(bits)) << 16;
                }
            }
            Unit::Pair => {
                number_bits(2 * k, &mut one);
                number_bits(2 * k + 1, &mut two);
                // bf16 numbers are the upper halves already.
                if w.element == Element::Bf16 {
                    for ((out, one), two) in out.iter_mut().zip(&one).zip(&two) {
                        *out = one >> 16 | two & 0xffff_0000;
                    }
                } else {
                    for ((out, &one), &two) in out.iter_mut().zip(&one).zip(&two) {
                        *out = round(f32::from_bits(one)) | round(f32::from_bits(two)) << 16;
                    }
                }
            }
        }
    }
}

/// Up to a line of units from a run of numbers, zero beyond its end.
#[inline(always)]
fn load(unit: Unit, element: Element, bytes: &[u8], out: &mut [u32; LINE]) {
    if (unit, element) == (Unit::Pair, Element::Bf16) && bytes.len() == 4 * LINE {
        for (out, b) in out.iter_mut().zip(bytes.chunks_exact(4)) {
            *out = u32::from_le_bytes([b[0], b[1], b[2], b[3]]);
        }
        return;
    }
    let mut values = [0.0; 2 * LINE];
    let values = &mut values[..bytes.len() / element.size()];
    widen(element, bytes, values);
    pack_inline(unit, values, out);
}

/// Little-endian numbers, at any alignment, as f32.
#[inline(always)]
pub fn widen(element: Element, bytes: &[u8], out: &mut [f32]) {
    match element {
        Element::Bf16 => {
            for (out, b) in out.iter_mut().zip(bytes.chunks_exact(2)) {
                *out = f32::from_bits(u32::from(u16::from_le_bytes([b[0], b[1]])) << 16);
            }
        }
        // `half` converts f16 by the processor's own instruction where there is one, which is only worth it in bulk.
        Element::F16 => {
            const STRIP: usize = 256;
            let mut strip = [f16::ZERO; STRIP];
            for (out, bytes) in out.chunks_mut(STRIP).zip(bytes.chunks(STRIP * 2)) {
                let strip = &mut strip[..out.len()];
                for (half, b) in strip.iter_mut().zip(bytes.chunks_exact(2)) {
                    *half = f16::from_le_bytes([b[0], b[1]]);
                }
                strip.convert_to_f32_slice(out);
            }
        }
        Element::F32 => {
            for (out, b) in out.iter_mut().zip(bytes.chunks_exact(4)) {
                *out = f32::from_le_bytes([b[0], b[1], b[2], b[3]]);
            }
        }
    }
}
