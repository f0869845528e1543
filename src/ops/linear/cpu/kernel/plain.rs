//! The kernel of processors without vector instructions of their own.

use super::block::{Factors, Place, WIDTH};

/// Four rows by eight columns at a time, which compilers turn into vectors.
///
/// # Safety
///
/// As [`super::Running::run`] demands and checks.
pub unsafe fn plain(factors: &Factors, from: Option<Place>, to: Place) {
    const COLUMNS: usize = 8;
    for part in (0..WIDTH).step_by(COLUMNS) {
        let mut sums = [[0.0; COLUMNS]; 4];
        if let Some(from) = from {
            for (row, sums) in sums.iter_mut().enumerate().take(factors.rows) {
                for (column, sum) in sums.iter_mut().enumerate() {
                    // SAFETY: the caller of `Running::run` vouches for the place.
                    *sum = unsafe { *from.start.add(row * from.stride + part + column) };
                }
            }
        }
        for pass in factors.passes {
            let starts: [usize; 4] =
                std::array::from_fn(|row| row.min(factors.rows - 1) * factors.stride + pass.left);
            let panel = &factors.panel[pass.panel..][..factors.k * WIDTH];
            for (k, right) in panel.chunks_exact(WIDTH).enumerate() {
                let right: [f32; COLUMNS] =
                    std::array::from_fn(|c| f32::from_bits(right[part + c]));
                for (sums, start) in sums.iter_mut().zip(starts) {
                    let left = f32::from_bits(factors.left[start + k]);
                    for c in 0..COLUMNS {
                        sums[c] += left * right[c];
                    }
                }
            }
        }
        for (row, sums) in sums.iter().enumerate().take(factors.rows) {
            for (column, sum) in sums.iter().enumerate() {
                // SAFETY: as above.
                unsafe { *to.start.add(row * to.stride + part + column) = *sum };
            }
        }
    }
}
