//! The kernels that keep their sums in the vector registers of x86-64.

use std::arch::x86_64::*;
use std::mem::transmute;

use super::block::{CHAIN, Factors, NO_CHAIN, Place, WIDTH};

/// Calls `$kernel::<R>` with R the block's number of rows.
macro_rules! by_rows {
    ($kernel:ident, $factors:expr, $from:expr, $to:expr, [$($rows:literal)*]) => {
        match $factors.rows {
            // SAFETY: the caller vouches for the block, the places and the processor.
            $($rows => unsafe { $kernel::<$rows>($factors, $from, $to) },)*
            _ => unreachable!("`Running::run` checks the rows"),
        }
    };
}

/// 16 floats at a time, for units of one f32.
///
/// # Safety
///
/// As [`super::Running::run`] demands and checks, where the processor has the instructions.
pub unsafe fn avx512(factors: &Factors, from: Option<Place>, to: Place) {
    by_rows!(avx512_rows, factors, from, to, [1 2 3 4 5 6 7 8 9 10 11 12 13 14])
}

/// 16 pairs of bf16 at a time.
///
/// # Safety
///
/// As [`super::Running::run`] demands and checks, where the processor has the instructions.
pub unsafe fn avx512_pairs(factors: &Factors, from: Option<Place>, to: Place) {
    by_rows!(avx512_pair_rows, factors, from, to, [1 2 3 4 5 6 7 8 9 10 11 12 13 14])
}

/// 8 floats at a time, for units of one f32.
///
/// # Safety
///
/// As [`super::Running::run`] demands and checks, where the processor has the instructions.
pub unsafe fn avx2(factors: &Factors, from: Option<Place>, to: Place) {
    by_rows!(avx2_rows, factors, from, to, [1 2 3 4 5 6])
}

/// A kernel of R rows by 32 columns for one kind of unit, of which `chain` are summed before they are
/// added to a total: `load` makes a vector of sixteen units of the panel, `repeat` one with a unit of
/// a row in every lane, and `add` adds their products to sums.
macro_rules! avx512_kernel {
    (
        $name:ident, $features:literal,
        chain: $chain:expr,
        load: |$units:ident| $load:expr,
        repeat: |$unit:ident| $repeat:expr,
        add: |$sum:ident, $left:ident, $right:ident| $add:expr $(,)?
    ) => {
        /// # Safety
        ///
        /// As [`super::Running::run`] demands and checks, of a block of R rows, where the processor
        /// has the instructions.
        #[target_feature(enable = $features)]
        unsafe fn $name<const R: usize>(factors: &Factors, from: Option<Place>, to: Place) {
            // SAFETY: the caller vouches for both places; `Running::run` checked that each pass has
            // its units on both sides.
            unsafe {
                let mut before = from;
                for (pass, units) in factors.chains($chain) {
                    let left = factors.left.as_ptr().add(pass.left);
                    let panel = factors.panel.as_ptr().add(pass.panel);
                    let mut sums = [[_mm512_setzero_ps(); 2]; R];
                    for k in units {
                        let $units = panel.add(k * WIDTH);
                        let first = $load;
                        let $units = $units.add(WIDTH / 2);
                        let right = [first, $load];
                        for (row, sums) in sums.iter_mut().enumerate() {
                            let $unit = left.add(row * factors.stride + k);
                            let $left = $repeat;
                            // Plain statements: what iterators are given is not compiled along.
                            let ($sum, $right) = (sums[0], right[0]);
                            sums[0] = $add;
                            let ($sum, $right) = (sums[1], right[1]);
                            sums[1] = $add;
                        }
                    }
                    // Here, and not in a function of its own, which would get the sums by way of memory.
                    for (row, mut sums) in sums.into_iter().enumerate() {
                        if let Some(before) = before {
                            let start = before.start.add(row * before.stride);
                            sums[0] = _mm512_add_ps(_mm512_loadu_ps(start), sums[0]);
                            sums[1] = _mm512_add_ps(_mm512_loadu_ps(start.add(16)), sums[1]);
                        }
                        let start = to.start.add(row * to.stride);
                        _mm512_storeu_ps(start, sums[0]);
                        _mm512_storeu_ps(start.add(16), sums[1]);
                    }
                    before = Some(to);
                }
            }
        }
    };
}

avx512_kernel! {
    avx512_rows, "avx512f",
    chain: CHAIN,
    load: |units| _mm512_loadu_ps(units.cast()),
    repeat: |unit| _mm512_set1_ps(*unit.cast()),
    add: |sum, left, right| _mm512_fmadd_ps(left, right, sum),
}

// A vector of bf16 pairs is 512 bits like any other.
avx512_kernel! {
    avx512_pair_rows, "avx512f,avx512bf16",
    chain: NO_CHAIN,
    load: |units| transmute::<__m512i, __m512bh>(_mm512_loadu_si512(units.cast())),
    repeat: |unit| transmute::<__m512i, __m512bh>(_mm512_set1_epi32(*unit.cast())),
    add: |sum, left, right| _mm512_dpbf16_ps(sum, left, right),
}

/// Sixteen registers hold six rows of half a panel, so a panel is gone through twice.
///
/// # Safety
///
/// As [`avx512_rows`].
#[target_feature(enable = "avx2,fma")]
unsafe fn avx2_rows<const R: usize>(factors: &Factors, from: Option<Place>, to: Place) {
    for half in [0, WIDTH / 2] {
        // SAFETY: as in `avx512_kernel`.
        unsafe {
            let mut before = from;
            for (pass, units) in factors.chains(CHAIN) {
                let left = factors.left.as_ptr().add(pass.left);
                let panel = factors.panel.as_ptr().add(pass.panel);
                let mut sums = [[_mm256_setzero_ps(); 2]; R];
                for k in units {
                    let right = panel.add(k * WIDTH + half).cast();
                    let right = [_mm256_loadu_ps(right), _mm256_loadu_ps(right.add(8))];
                    for (row, sums) in sums.iter_mut().enumerate() {
                        let left = _mm256_set1_ps(*left.add(row * factors.stride + k).cast());
                        sums[0] = _mm256_fmadd_ps(left, right[0], sums[0]);
                        sums[1] = _mm256_fmadd_ps(left, right[1], sums[1]);
                    }
                }
                for (row, mut sums) in sums.into_iter().enumerate() {
                    if let Some(before) = before {
                        let start = before.start.add(row * before.stride + half);
                        sums[0] = _mm256_add_ps(_mm256_loadu_ps(start), sums[0]);
                        sums[1] = _mm256_add_ps(_mm256_loadu_ps(start.add(8)), sums[1]);
                    }
                    let start = to.start.add(row * to.stride + half);
                    _mm256_storeu_ps(start, sums[0]);
                    _mm256_storeu_ps(start.add(8), sums[1]);
                }
                before = Some(to);
            }
        }
    }
}
