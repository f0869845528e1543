//! Sixteen floats in the registers of x86-64.
//!
//! SAFETY, for every block: `vectorised!` uses these types only in functions compiled for a level
//! that has the instructions; loads and stores go through arrays of sixteen.

use std::arch::x86_64::*;

use super::{LANES, Vector};

/// Two vectors of eight.
#[derive(Clone, Copy)]
pub struct Avx2(__m256, __m256);

impl Avx2 {
    /// The lanes that the lower four bits of eight numbers choose.
    #[inline(always)]
    fn lanes_at(self, numbers: __m256i) -> __m256 {
        // SAFETY: see the module. Three bits choose within each half, and the fourth, moved to the
        // sign, the half.
        unsafe {
            let low = _mm256_permutevar8x32_ps(self.0, numbers);
            let high = _mm256_permutevar8x32_ps(self.1, numbers);
            let half = _mm256_castsi256_ps(_mm256_slli_epi32(numbers, 28));
            _mm256_blendv_ps(low, high, half)
        }
    }

    /// The sums of all lanes of eight vectors.
    #[inline(always)]
    fn eight_sums(vectors: &[Self]) -> __m256 {
        // SAFETY: see the module. Each half of `first` and `last` has four vectors' sums of that half.
        unsafe {
            let mut x = [_mm256_setzero_ps(); 8];
            for (x, vector) in x.iter_mut().zip(vectors) {
                *x = _mm256_add_ps(vector.0, vector.1);
            }
            let [a, b] = [_mm256_hadd_ps(x[0], x[1]), _mm256_hadd_ps(x[2], x[3])];
            let [c, d] = [_mm256_hadd_ps(x[4], x[5]), _mm256_hadd_ps(x[6], x[7])];
            let (first, last) = (_mm256_hadd_ps(a, b), _mm256_hadd_ps(c, d));
            let low = _mm256_permute2f128_ps::<0x20>(first, last);
            _mm256_add_ps(low, _mm256_permute2f128_ps::<0x31>(first, last))
        }
    }
}

impl Vector for Avx2 {
    const FUSES: bool = true;

    #[inline(always)]
    fn splat(value: f32) -> Self {
        // SAFETY: see the module.
        let half = unsafe { _mm256_set1_ps(value) };
        Self(half, half)
    }

    #[inline(always)]
    fn load_whole(values: &[f32; LANES]) -> Self {
        let start = values.as_ptr();
        // SAFETY: see the module.
        unsafe { Self(_mm256_loadu_ps(start), _mm256_loadu_ps(start.add(8))) }
    }

    #[inline(always)]
    fn load_bf16(bytes: &[u8; 2 * LANES]) -> Self {
        let start: *const __m128i = bytes.as_ptr().cast();
        // SAFETY: see the module. A bf16 is the upper half of the f32 of the same value.
        let [low, high] = [0, 1].map(|half| unsafe {
            let numbers = _mm256_cvtepu16_epi32(_mm_loadu_si128(start.add(half)));
            _mm256_castsi256_ps(_mm256_slli_epi32(numbers, 16))
        });
        Self(low, high)
    }

    #[inline(always)]
    fn load_i8(bytes: &[u8; LANES]) -> Self {
        let start = bytes.as_ptr();
        // SAFETY: see the module.
        let [low, high] = [0, 8].map(|at| unsafe {
            _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(start.add(at).cast())))
        });
        Self(low, high)
    }

    #[inline(always)]
    fn look_up(self, bytes: &[u8; LANES]) -> [Self; 2] {
        let start = bytes.as_ptr();
        // SAFETY: see the module.
        unsafe {
            let first = _mm256_cvtepu8_epi32(_mm_loadl_epi64(start.cast()));
            let last = _mm256_cvtepu8_epi32(_mm_loadl_epi64(start.add(8).cast()));
            let [first_high, last_high] = [_mm256_srli_epi32(first, 4), _mm256_srli_epi32(last, 4)];
            [
                Self(self.lanes_at(first), self.lanes_at(last)),
                Self(self.lanes_at(first_high), self.lanes_at(last_high)),
            ]
        }
    }

    #[inline(always)]
    fn store_whole(self, out: &mut [f32; LANES]) {
        let start = out.as_mut_ptr();
        // SAFETY: see the module.
        unsafe {
            _mm256_storeu_ps(start, self.0);
            _mm256_storeu_ps(start.add(8), self.1);
        }
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        // SAFETY: see the module.
        unsafe {
            Self(
                _mm256_add_ps(self.0, other.0),
                _mm256_add_ps(self.1, other.1),
            )
        }
    }

    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        // SAFETY: see the module.
        unsafe {
            Self(
                _mm256_mul_ps(self.0, other.0),
                _mm256_mul_ps(self.1, other.1),
            )
        }
    }

    #[inline(always)]
    fn add_product(self, a: Self, b: Self) -> Self {
        // SAFETY: see the module.
        unsafe {
            Self(
                _mm256_fmadd_ps(a.0, b.0, self.0),
                _mm256_fmadd_ps(a.1, b.1, self.1),
            )
        }
    }

    #[inline(always)]
    fn sum(self) -> f32 {
        // SAFETY: see the module.
        unsafe {
            let x = _mm256_add_ps(self.0, self.1);
            let x = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
            let x = _mm_add_ps(x, _mm_movehl_ps(x, x));
            _mm_cvtss_f32(_mm_add_ss(x, _mm_movehdup_ps(x)))
        }
    }

    #[inline(always)]
    fn sums(vectors: &[Self; LANES]) -> Self {
        let (first, last) = vectors.split_at(8);
        Self(Self::eight_sums(first), Self::eight_sums(last))
    }
}

/// One vector of sixteen.
#[derive(Clone, Copy)]
pub struct Avx512(__m512);

impl Vector for Avx512 {
    const HAS_MANY: bool = true;
    const FUSES: bool = true;

    #[inline(always)]
    fn splat(value: f32) -> Self {
        // SAFETY: see the module.
        unsafe { Self(_mm512_set1_ps(value)) }
    }

    #[inline(always)]
    fn load_whole(values: &[f32; LANES]) -> Self {
        // SAFETY: see the module.
        unsafe { Self(_mm512_loadu_ps(values.as_ptr())) }
    }

    #[inline(always)]
    fn load_bf16(bytes: &[u8; 2 * LANES]) -> Self {
        // SAFETY: see the module. A bf16 is the upper half of the f32 of the same value.
        unsafe {
            let numbers = _mm512_cvtepu16_epi32(_mm256_loadu_si256(bytes.as_ptr().cast()));
            Self(_mm512_castsi512_ps(_mm512_slli_epi32(numbers, 16)))
        }
    }

    #[inline(always)]
    fn load_i8(bytes: &[u8; LANES]) -> Self {
        // SAFETY: see the module.
        unsafe {
            let numbers = _mm512_cvtepi8_epi32(_mm_loadu_si128(bytes.as_ptr().cast()));
            Self(_mm512_cvtepi32_ps(numbers))
        }
    }

    #[inline(always)]
    fn look_up(self, bytes: &[u8; LANES]) -> [Self; 2] {
        // SAFETY: see the module. The lower four bits of a number are what chooses.
        unsafe {
            let numbers = _mm512_cvtepu8_epi32(_mm_loadu_si128(bytes.as_ptr().cast()));
            [
                Self(_mm512_permutexvar_ps(numbers, self.0)),
                Self(_mm512_permutexvar_ps(_mm512_srli_epi32(numbers, 4), self.0)),
            ]
        }
    }

    #[inline(always)]
    fn store_whole(self, out: &mut [f32; LANES]) {
        // SAFETY: see the module.
        unsafe { _mm512_storeu_ps(out.as_mut_ptr(), self.0) }
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        // SAFETY: see the module.
        unsafe { Self(_mm512_add_ps(self.0, other.0)) }
    }

    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        // SAFETY: see the module.
        unsafe { Self(_mm512_mul_ps(self.0, other.0)) }
    }

    #[inline(always)]
    fn add_product(self, a: Self, b: Self) -> Self {
        // SAFETY: see the module.
        unsafe { Self(_mm512_fmadd_ps(a.0, b.0, self.0)) }
    }

    #[inline(always)]
    fn sum(self) -> f32 {
        // SAFETY: see the module.
        unsafe { _mm512_reduce_add_ps(self.0) }
    }

    #[inline(always)]
    fn sums(vectors: &[Self; LANES]) -> Self {
        let (first, rest) = vectors.split_at(4);
        let (second, rest) = rest.split_at(4);
        let (third, fourth) = rest.split_at(4);
        let (a, b) = (Self::four_sums(first), Self::four_sums(second));
        let (c, d) = (Self::four_sums(third), Self::four_sums(fourth));
        Self(add_quarters(add_quarters(a, b), add_quarters(c, d)))
    }
}

impl Avx512 {
    /// In each quarter of a register, the sums of that quarter of four vectors.
    #[inline(always)]
    fn four_sums(vectors: &[Self]) -> __m512 {
        // SAFETY: see the module.
        unsafe {
            let (a, b) = (vectors[0].0, vectors[1].0);
            let ab = _mm512_add_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
            let (c, d) = (vectors[2].0, vectors[3].0);
            let cd = _mm512_add_ps(_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d));
            let (ab, cd) = (_mm512_castps_pd(ab), _mm512_castps_pd(cd));
            let (low, high) = (_mm512_unpacklo_pd(ab, cd), _mm512_unpackhi_pd(ab, cd));
            _mm512_add_ps(_mm512_castpd_ps(low), _mm512_castpd_ps(high))
        }
    }
}

/// The sums of the first two quarters of a and of its last two, and those of b.
#[inline(always)]
fn add_quarters(a: __m512, b: __m512) -> __m512 {
    // SAFETY: see the module.
    unsafe {
        let even = _mm512_shuffle_f32x4::<0x88>(a, b);
        _mm512_add_ps(even, _mm512_shuffle_f32x4::<0xdd>(a, b))
    }
}
