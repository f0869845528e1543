//! f32 to bf16 and back. A bf16 is the upper half of the f32 of the same value.

use std::mem::MaybeUninit;

use half::bf16;

use super::level::{Level, vectorised};

vectorised! {
    /// Each bf16 as f32; both slices are of one length.
    pub fn widened<V: Vector>(level: Level, from: &[bf16], to: &mut [f32]) {
        widened_inline(from, to);
    }
}

/// As [`widened`], compiled along with its caller.
#[inline(always)]
pub fn widened_inline(from: &[bf16], to: &mut [f32]) {
    assert_eq!(from.len(), to.len());
    for (to, from) in to.iter_mut().zip(from) {
        *to = f32::from_bits(u32::from(from.to_bits()) << 16);
    }
}

/// Each number rounded to the nearest bf16; `to` is filled.
pub fn narrowed(level: Level, from: &[f32], to: &mut [MaybeUninit<bf16>]) {
    #[cfg(target_arch = "x86_64")]
    if level.has_bf16() {
        // SAFETY: the level has the instructions.
        return unsafe { narrowed_by_instruction(from, to) };
    }
    vector_narrowed(level, from, to);
}

vectorised! {
    fn vector_narrowed<V: Vector>(level: Level, from: &[f32], to: &mut [MaybeUninit<bf16>]) {
        narrowed_inline(from, to);
    }
}

/// As [`narrowed`] by arithmetic, compiled along with its caller.
#[inline(always)]
pub fn narrowed_inline(from: &[f32], to: &mut [MaybeUninit<bf16>]) {
    assert_eq!(from.len(), to.len());
    for (to, from) in to.iter_mut().zip(from) {
        to.write(bf16::from_bits(round(*from) as u16));
    }
}

/// By the processor's own instruction, which makes zeros of numbers below f32's normal ones; the
/// last few, which fill no vector, by arithmetic.
///
/// # Safety
///
/// The processor must have the instructions.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bf16")]
unsafe fn narrowed_by_instruction(from: &[f32], to: &mut [MaybeUninit<bf16>]) {
    use std::arch::x86_64::*;
    use std::mem::transmute;
    const WHOLE: usize = 32;
    assert_eq!(from.len(), to.len());
    let (whole, rest) = to.as_chunks_mut::<WHOLE>();
    let (numbers, others) = from.as_chunks::<WHOLE>();
    for (to, from) in whole.iter_mut().zip(numbers) {
        // SAFETY: 32 numbers are read, and as many written; all of 512 bits is one type for
        // another.
        unsafe {
            let low = _mm512_loadu_ps(from.as_ptr());
            let high = _mm512_loadu_ps(from.as_ptr().add(WHOLE / 2));
            let rounded = transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(high, low));
            _mm512_storeu_si512(to.as_mut_ptr().cast(), rounded);
        }
    }
    narrowed_inline(others, rest);
}

/// The bits of the nearest bf16, ties to even; NaN stays NaN. Without branches, so that loops over
/// it vectorise.
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

#[cfg(test)]
mod tests {
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
}
