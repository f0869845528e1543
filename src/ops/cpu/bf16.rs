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
        return unsafe { narrowed_by_instruction::<false>(from, to) };
    }
    vector_narrowed(level, from, to);
}

/// As [`narrowed`], past the caches if the processor has the instruction: the lines that are written
/// are not read first, and take the place of none that is in use. For outputs that are read again
/// only after much else. `to` is whole cache lines.
///
/// # Safety
///
/// The thread must [`fence`] before another may read them.
pub unsafe fn narrowed_past_caches(level: Level, from: &[f32], to: &mut [MaybeUninit<bf16>]) {
    #[cfg(target_arch = "x86_64")]
    if level.has_bf16() {
        assert!(to.as_ptr().addr().is_multiple_of(LINE) && to.len().is_multiple_of(WHOLE));
        // SAFETY: the level has the instructions, and `to` is whole lines.
        return unsafe { narrowed_by_instruction::<true>(from, to) };
    }
    narrowed(level, from, to);
}

/// Has all that was written past the caches seen by other threads before what is written later.
pub fn fence() {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: every processor of this architecture has it.
    unsafe {
        std::arch::x86_64::_mm_sfence();
    }
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

/// Numbers that the instruction makes at once, and bytes that they are.
#[cfg(target_arch = "x86_64")]
const WHOLE: usize = 32;
#[cfg(target_arch = "x86_64")]
const LINE: usize = 64;

/// By the processor's own instruction, which makes zeros of numbers below f32's normal ones; the
/// last few, which fill no vector, by arithmetic.
///
/// # Safety
///
/// The processor must have the instructions; what is written past the caches must begin a line.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bf16")]
unsafe fn narrowed_by_instruction<const PAST_CACHES: bool>(
    from: &[f32],
    to: &mut [MaybeUninit<bf16>],
) {
    use std::arch::x86_64::*;
    use std::mem::transmute;
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
            match PAST_CACHES {
                true => _mm512_stream_si512(to.as_mut_ptr().cast(), rounded),
                false => _mm512_storeu_si512(to.as_mut_ptr().cast(), rounded),
            }
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

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn past_the_caches_it_is_the_same() {
        let level = Level::current();
        let from: Vec<f32> = (0..96).map(|i| 1.0 + i as f32 / 1000.0).collect();
        let mut numbers = vec![MaybeUninit::new(bf16::ZERO); 96 + WHOLE];
        let start = numbers.as_ptr().align_offset(LINE);
        let mut wanted = vec![MaybeUninit::new(bf16::ZERO); 96];
        narrowed(level, &from, &mut wanted);
        // SAFETY: this thread reads them.
        unsafe { narrowed_past_caches(level, &from, &mut numbers[start..start + 96]) };
        fence();
        // SAFETY: all were written when they were made.
        let read = |number: &MaybeUninit<bf16>| unsafe { number.assume_init() };
        let got: Vec<bf16> = numbers[start..start + 96].iter().map(read).collect();
        let wanted: Vec<bf16> = wanted.iter().map(read).collect();
        assert_eq!(got, wanted);
    }

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
