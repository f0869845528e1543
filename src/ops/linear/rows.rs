//! Rows of activations as a product takes them.
//!
//! A row is a run of 32-bit *units* along the summed dimension: one f32, or two neighbouring bf16 where the processor
//! multiplies pairs of them. That is the one thing in which product types differ; the loops over tiles and panels are
//! the same. Rows begin at cache lines and are zero up to their end.

use std::ops::Range;

use candle_core::{Result, Tensor};
use rayon::prelude::*;

use super::Product;
use super::tile::HEIGHT;
use crate::ops::floats;
use crate::ops::level::{Level, vectorised};
use crate::ops::output::{Output, cleared};

/// Units in a cache line, and in a step of the widest kernel.
pub const LINE: usize = 16;
/// Rows filled by one task.
const PIECE: usize = 32;

/// What a unit holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// One f32.
    F32,
    /// One f32 with a bf16's value, where no instruction multiplies pairs.
    Rounded,
    /// Two bf16, the first in the low half.
    Pair,
}

impl Unit {
    pub fn of(product: Product, level: Level) -> Self {
        match product {
            Product::F32 => Self::F32,
            Product::Bf16 if level.has_bf16() => Self::Pair,
            Product::Bf16 => Self::Rounded,
        }
    }

    /// Numbers in one unit.
    pub fn numbers(self) -> usize {
        match self {
            Self::F32 | Self::Rounded => 1,
            Self::Pair => 2,
        }
    }

    /// Numbers from units: the reverse of [`pack`].
    fn unpack(self, units: &[u32], out: &mut [f32]) {
        match self {
            Self::F32 | Self::Rounded => out
                .iter_mut()
                .zip(units)
                .for_each(|(out, &unit)| *out = f32::from_bits(unit)),
            Self::Pair => {
                for (out, &unit) in out.chunks_mut(2).zip(units) {
                    let pair = [unit << 16, unit & 0xffff_0000];
                    out.iter_mut()
                        .zip(pair)
                        .for_each(|(out, bits)| *out = f32::from_bits(bits));
                }
            }
        }
    }
}

vectorised! {
    /// Units from numbers; `out` is filled, with zeros past the end of `values`.
    pub fn pack(unit: Unit, values: &[f32], out: &mut [u32]) {
        pack_inline(unit, values, out);
    }
}

/// As [`pack`], where it is compiled along with its caller.
#[inline(always)]
pub fn pack_inline(unit: Unit, values: &[f32], out: &mut [u32]) {
    let used = match unit {
        Unit::F32 => {
            for (unit, value) in out.iter_mut().zip(values) {
                *unit = value.to_bits();
            }
            values.len()
        }
        Unit::Rounded => {
            for (unit, &value) in out.iter_mut().zip(values) {
                *unit = round(value) << 16;
            }
            values.len()
        }
        Unit::Pair => {
            let pairs = values.chunks_exact(2);
            let odd = pairs.remainder();
            for (unit, pair) in out.iter_mut().zip(pairs) {
                *unit = round(pair[0]) | round(pair[1]) << 16;
            }
            if let [odd] = odd {
                out[values.len() / 2] = round(*odd);
            }
            values.len().div_ceil(2)
        }
    };
    out[used..].fill(0);
}

/// The bits of the nearest bf16, ties to even; NaN stays NaN. Without branches, so that loops over it vectorise.
#[inline(always)]
pub fn round(value: f32) -> u32 {
    let bits = value.to_bits();
    let rounded = (bits.wrapping_add(0x7fff + (bits >> 16 & 1))) >> 16;
    if value.is_nan() {
        bits >> 16 | 0x40
    } else {
        rounded
    }
}

/// A cache line of units.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub struct Line([u32; LINE]);

impl Line {
    pub const ZERO: Self = Self([0; LINE]);

    /// The units of some lines, one after another.
    pub fn units(lines: &[Self]) -> &[u32] {
        // SAFETY: a `Line` is sixteen u32 and nothing else.
        unsafe { std::slice::from_raw_parts(lines.as_ptr().cast(), lines.len() * LINE) }
    }

    /// The same, to be written.
    pub fn units_mut(lines: &mut [Self]) -> &mut [u32] {
        // SAFETY: as above; the borrow is exclusive.
        unsafe { std::slice::from_raw_parts_mut(lines.as_mut_ptr().cast(), lines.len() * LINE) }
    }
}

/// A matrix `[rows, columns]` on the left of a product, as the kernels of a processor take it.
pub struct Packed {
    lines: Vec<Line>,
    /// Lines from one row to the next.
    stride: usize,
    rows: usize,
    columns: usize,
    unit: Unit,
    level: Level,
}

impl Packed {
    /// `count` matrices of one shape. `fill` is called in parallel with ranges of rows, and puts every row of its range
    /// into every matrix.
    pub fn fill(
        product: Product,
        [rows, columns]: [usize; 2],
        count: usize,
        fill: impl Fn(Range<usize>, &mut Writer) + Sync,
    ) -> Vec<Self> {
        let level = Level::current();
        let unit = Unit::of(product, level);
        let lines = columns.div_ceil(unit.numbers()).div_ceil(LINE);
        // Rows a multiple of 512 bytes apart would crowd into few sets of the cache.
        let stride = if lines.is_multiple_of(8) {
            lines + 1
        } else {
            lines
        };
        // A kernel may read a whole tile of rows.
        let height = rows.next_multiple_of(HEIGHT);
        let mut outs: Vec<Output<Line>> =
            (0..count).map(|_| Output::new(height * stride)).collect();
        // Each task's rows of each matrix.
        let mut pieces: Vec<Vec<_>> = (0..height.div_ceil(PIECE)).map(|_| Vec::new()).collect();
        for out in &mut outs {
            for (piece, part) in pieces
                .iter_mut()
                .zip(out.memory().chunks_mut(PIECE * stride))
            {
                piece.push(part);
            }
        }
        pieces.into_par_iter().enumerate().for_each(|(i, parts)| {
            let parts = parts.into_iter().map(|part| cleared(part, Line::ZERO));
            let mut writer = Writer {
                first: i * PIECE,
                stride,
                unit,
                level,
                parts: parts.collect(),
            };
            let range = writer.first.min(rows)..(writer.first + PIECE).min(rows);
            fill(range, &mut writer);
        });
        outs.into_iter()
            .map(|out| Self {
                // SAFETY: the pieces are the whole, and each was cleared.
                lines: unsafe { out.finish() },
                stride,
                rows,
                columns,
                unit,
                level,
            })
            .collect()
    }

    /// One matrix, each row computed by itself.
    pub fn each(
        product: Product,
        [rows, columns]: [usize; 2],
        row: impl Fn(usize, &mut [f32]) + Sync,
    ) -> Self {
        let mut made = Self::fill(product, [rows, columns], 1, |range, writer| {
            let mut values = vec![0.0; columns];
            for i in range {
                row(i, &mut values);
                writer.put(0, i, &values);
            }
        });
        made.swap_remove(0)
    }

    /// The numbers of a tensor `[N, C]`.
    pub fn of(product: Product, x: &Tensor) -> Result<Self> {
        let (rows, columns) = x.dims2()?;
        let values = floats(x)?;
        let values: &[f32] = &values;
        let mut made = Self::fill(product, [rows, columns], 1, |range, writer| {
            for i in range {
                writer.put(0, i, &values[i * columns..][..columns]);
            }
        });
        Ok(made.swap_remove(0))
    }

    pub fn dims(&self) -> [usize; 2] {
        [self.rows, self.columns]
    }

    pub fn unit(&self) -> Unit {
        self.unit
    }

    /// The level whose kernels the units are meant for.
    pub fn level(&self) -> Level {
        self.level
    }

    /// Units from one row to the next.
    pub fn stride(&self) -> usize {
        self.stride * LINE
    }

    /// All units, rows beyond the last included.
    pub fn units(&self) -> &[u32] {
        Line::units(&self.lines)
    }

    /// The numbers again, rounded as they are.
    pub fn numbers(&self) -> Vec<f32> {
        let mut values = vec![0.0; self.rows * self.columns];
        for (i, row) in values.chunks_mut(self.columns).enumerate() {
            self.unit.unpack(&self.units()[i * self.stride()..], row);
        }
        values
    }
}

/// Where one task puts its rows.
pub struct Writer<'a> {
    first: usize,
    stride: usize,
    unit: Unit,
    level: Level,
    /// This task's rows of each matrix.
    parts: Vec<&'a mut [Line]>,
}

impl Writer<'_> {
    /// Sets row `row` of matrix `matrix`.
    pub fn put(&mut self, matrix: usize, row: usize, values: &[f32]) {
        let lines = values.len().div_ceil(self.unit.numbers()).div_ceil(LINE);
        let start = (row - self.first) * self.stride;
        let units = Line::units_mut(&mut self.parts[matrix][start..start + lines]);
        pack(self.level, self.unit, values, units);
    }
}

#[cfg(test)]
mod tests {
    use half::bf16;

    use super::*;

    #[test]
    fn rounding_is_that_of_half() {
        let odd = [
            f32::NAN,
            f32::INFINITY,
            -0.0,
            1e-45,
            f32::MAX,
            1.003_906_2,
            1.011_718_8,
        ];
        let many = (0..20_000u32).map(|i| f32::from_bits(i.wrapping_mul(214_013)));
        for value in odd.into_iter().chain(many) {
            let want = bf16::from_f32(value);
            let got = bf16::from_bits(round(value) as u16);
            assert!(got == want || got.is_nan() && want.is_nan(), "{value}");
        }
    }

    #[test]
    fn rows_of_odd_lengths_come_back_and_end_in_zeros() {
        for unit in [Unit::F32, Unit::Rounded, Unit::Pair] {
            let values: Vec<f32> = (0..37).map(|i| i as f32 - 9.0).collect();
            let mut units = [7; 48];
            pack(Level::best(), unit, &values, &mut units);
            let used = values.len().div_ceil(unit.numbers());
            assert!(units[used..].iter().all(|&unit| unit == 0));
            let mut back = vec![0.0; 37];
            unit.unpack(&units, &mut back);
            assert_eq!(back, values, "{unit:?}");
        }
    }
}
