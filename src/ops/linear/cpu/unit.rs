//! The units that products multiply.
//!
//! A row of a product's left side is a run of 32-bit *units* along the summed dimension: one f32,
//! or two neighbouring bf16 where the processor multiplies pairs of them. That is the one thing in
//! which product types differ; the loops over blocks and panels are the same.
//!
//! Where bf16 is multiplied many times faster than f32, an f32 goes as the sum of three bf16: it
//! has 24 bits, and each of them eight. A row is then three runs, one for each part.

use std::mem::MaybeUninit;

use half::bf16;

use crate::ops::cpu::bf16::{narrowed, round};
use crate::ops::cpu::level::{Level, vectorised};
use crate::ops::cpu::output::cleared;
use crate::ops::linear::ProductType;

/// Units in a cache line, and in a step of the widest kernel.
pub const LINE: usize = 16;

/// What a unit holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// One f32.
    F32,
    /// One f32 with a bf16's value, where no instruction multiplies pairs.
    Rounded,
    /// Two bf16, the first in the low half.
    Pair,
    /// The same, of each of the [`PARTS`] that an f32 is the sum of.
    Split,
}

/// bf16 numbers that an f32 is the sum of.
pub const PARTS: usize = 3;

impl Unit {
    /// The unit in which a level multiplies a product.
    pub fn of(product: ProductType, level: Level) -> Self {
        match product {
            ProductType::F32 if level == Level::Amx => Self::Split,
            ProductType::F32 => Self::F32,
            ProductType::Bf16 if level.has_bf16() => Self::Pair,
            ProductType::Bf16 => Self::Rounded,
        }
    }

    /// Numbers in one unit.
    pub fn numbers(self) -> usize {
        match self {
            Self::F32 | Self::Rounded => 1,
            Self::Pair | Self::Split => 2,
        }
    }

    /// Runs of units that a row is.
    pub fn runs(self) -> usize {
        match self {
            Self::F32 | Self::Rounded | Self::Pair => 1,
            Self::Split => PARTS,
        }
    }

    /// Whether numbers are rounded to it.
    pub fn rounds(self) -> bool {
        match self {
            Self::F32 | Self::Split => false,
            Self::Rounded | Self::Pair => true,
        }
    }

    /// Numbers from a row's units, each run of which has `run`: the reverse of [`pack`].
    pub fn unpack(self, units: &[u32], run: usize, out: &mut [f32]) {
        match self {
            Self::F32 | Self::Rounded => out
                .iter_mut()
                .zip(units)
                .for_each(|(out, &unit)| *out = f32::from_bits(unit)),
            Self::Pair | Self::Split => {
                out.fill(0.0);
                // From the smallest part up, sums are exact.
                for units in units.chunks(run).take(self.runs()).rev() {
                    for (out, &unit) in out.chunks_mut(2).zip(units) {
                        let pair = [unit << 16, unit & 0xffff_0000];
                        out.iter_mut()
                            .zip(pair)
                            .for_each(|(out, bits)| *out += f32::from_bits(bits));
                    }
                }
            }
        }
    }
}

/// A row's units from its numbers; `out` is filled, with zeros past the end of each run.
pub fn pack(level: Level, unit: Unit, values: &[f32], out: &mut [MaybeUninit<u32>]) {
    if unit != Unit::Pair {
        return pack_vectorised(level, unit, values, out);
    }
    // SAFETY: a unit is two bf16, the first in the low half, on the processors that have such units.
    let numbers = unsafe { std::slice::from_raw_parts_mut(out.as_mut_ptr().cast(), 2 * out.len()) };
    narrowed(level, values, &mut numbers[..values.len()]);
    cleared(&mut numbers[values.len()..], bf16::ZERO);
}

vectorised! {
    fn pack_vectorised<V: Vector>(
        level: Level,
        unit: Unit,
        values: &[f32],
        out: &mut [MaybeUninit<u32>],
    ) {
        match unit {
            Unit::F32 | Unit::Rounded | Unit::Pair => pack_inline(unit, values, out),
            Unit::Split => {
                let run = out.len() / PARTS;
                let (first, rest) = out.split_at_mut(run);
                let (second, third) = rest.split_at_mut(run);
                let pairs = values.chunks_exact(2);
                let odd = pairs.remainder();
                let runs = first.iter_mut().zip(second.iter_mut()).zip(third.iter_mut());
                for (((first, second), third), pair) in runs.zip(pairs) {
                    let (a, b) = (split(pair[0]), split(pair[1]));
                    first.write(a[0] | b[0] << 16);
                    second.write(a[1] | b[1] << 16);
                    third.write(a[2] | b[2] << 16);
                }
                let used = values.len().div_ceil(2);
                for (run, part) in [first, second, third].into_iter().zip(0..) {
                    if let [odd] = odd {
                        run[used - 1].write(split(*odd)[part]);
                    }
                    cleared(&mut run[used..], 0);
                }
            }
        }
    }
}

/// One run of units, where it is compiled along with its caller; `out` is filled.
#[inline(always)]
pub fn pack_inline(unit: Unit, values: &[f32], out: &mut [MaybeUninit<u32>]) {
    let used = match unit {
        Unit::F32 => {
            for (unit, value) in out.iter_mut().zip(values) {
                unit.write(value.to_bits());
            }
            values.len()
        }
        Unit::Rounded => {
            for (unit, &value) in out.iter_mut().zip(values) {
                unit.write(round(value) << 16);
            }
            values.len()
        }
        Unit::Pair | Unit::Split => {
            let pairs = values.chunks_exact(2);
            let odd = pairs.remainder();
            for (unit, pair) in out.iter_mut().zip(pairs) {
                unit.write(round(pair[0]) | round(pair[1]) << 16);
            }
            if let [odd] = odd {
                out[values.len() / 2].write(round(*odd));
            }
            values.len().div_ceil(2)
        }
    };
    cleared(&mut out[used..], 0);
}

/// The bits of three bf16 whose sum is `value`, each the nearest to what those before it leave.
/// Below 2^-110 the last bits are lost, and what rounds to infinity becomes NaN: training on either
/// has failed already.
#[inline(always)]
pub fn split(value: f32) -> [u32; PARTS] {
    let first = round(value);
    let rest = value - f32::from_bits(first << 16);
    let second = round(rest);
    let rest = rest - f32::from_bits(second << 16);
    [first, second, round(rest)]
}

/// A cache line of units.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub struct Line([u32; LINE]);

impl Line {
    /// Units of zeros.
    pub const ZERO: Self = Self([0; LINE]);

    /// The units of some lines, one after another.
    pub fn units(lines: &[Self]) -> &[u32] {
        // SAFETY: a `Line` is sixteen u32 and nothing else.
        unsafe { std::slice::from_raw_parts(lines.as_ptr().cast(), lines.len() * LINE) }
    }

    /// The units of some lines, to be written.
    pub fn units_mut(lines: &mut [MaybeUninit<Self>]) -> &mut [MaybeUninit<u32>] {
        // SAFETY: as above; the borrow is exclusive.
        unsafe { std::slice::from_raw_parts_mut(lines.as_mut_ptr().cast(), lines.len() * LINE) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::cpu::output::uncleared;

    #[test]
    fn rows_of_odd_lengths_come_back_and_end_in_zeros() {
        for unit in [Unit::F32, Unit::Rounded, Unit::Pair, Unit::Split] {
            let values: Vec<f32> = (0..37).map(|i| i as f32 - 9.0).collect();
            let run = 48;
            let mut units = vec![7; run * unit.runs()];
            // SAFETY: `pack` writes numbers.
            pack(Level::best(), unit, &values, unsafe {
                uncleared(&mut units)
            });
            let used = values.len().div_ceil(unit.numbers());
            for units in units.chunks(run) {
                assert!(units[used..].iter().all(|&unit| unit == 0));
            }
            let mut back = vec![0.0; 37];
            unit.unpack(&units, run, &mut back);
            assert_eq!(back, values, "{unit:?}");
        }
    }

    #[test]
    fn three_parts_are_an_f32_to_its_last_bit() {
        let many = (0..200_000u32).map(|i| f32::from_bits(i.wrapping_mul(214_013)));
        // Below 2^-110 the last part has no bits left, and the largest numbers round to infinity.
        for value in many.filter(|value| (1e-33..3e38).contains(&value.abs())) {
            let parts = split(value).map(|bits| f32::from_bits(bits << 16));
            assert_eq!(parts[2] + parts[1] + parts[0], value, "{value:e}");
        }
    }
}
