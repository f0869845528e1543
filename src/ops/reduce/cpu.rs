//! The reductions on the CPU.

use crate::ops::cpu::level::{Level, vectorised};

/// Summed in order, so that the same gradient has the same norm at every level.
pub fn sum_of_squares(values: &[f32]) -> f64 {
    values.iter().map(|&x| f64::from(x) * f64::from(x)).sum()
}

pub fn max_abs(values: &[f32]) -> f32 {
    f32::from_bits(max_abs_bits(Level::current(), values))
}

vectorised! {
    /// Without their sign, the bits of floats are in order as integers, and those of NaN come last.
    fn max_abs_bits<V: Vector>(level: Level, values: &[f32]) -> u32 {
        let mut most = 0;
        for x in values {
            most = most.max(x.to_bits() & 0x7fff_ffff);
        }
        most
    }
}
