//! The kernel of processors without vector instructions of their own.

use super::block::{CHAIN, Factors, Place, WIDTH};

/// Four rows by eight columns at a time, which compilers turn into vectors.
///
/// # Safety
///
/// As [`super::Running::run`] demands and checks.
pub unsafe fn plain(factors: &Factors, from: Option<Place>, to: Place) {
    const COLUMNS: usize = 8;
    for part in (0..WIDTH).step_by(COLUMNS) {
        let mut before = from;
        for (pass, units) in factors.chains(CHAIN) {
            let starts: [usize; 4] =
                std::array::from_fn(|row| row.min(factors.rows - 1) * factors.stride + pass.left);
            let panel = &factors.panel[pass.panel..][..factors.k * WIDTH];
            let mut sums = [[0.0; COLUMNS]; 4];
            for k in units {
                let right: [f32; COLUMNS] =
                    std::array::from_fn(|c| f32::from_bits(panel[k * WIDTH + part + c]));
                for (sums, start) in sums.iter_mut().zip(starts) {
                    let left = f32::from_bits(factors.left[start + k]);
                    for c in 0..COLUMNS {
                        sums[c] += left * right[c];
                    }
                }
            }
            for (row, sums) in sums.iter().enumerate().take(factors.rows) {
                for (column, sum) in sums.iter().enumerate() {
                    let at =
                        |place: Place| place.start.wrapping_add(row * place.stride + part + column);
                    // SAFETY: the caller of `Running::run` vouches for both places.
                    unsafe { *at(to) = before.map_or(0.0, |before| *at(before)) + sum };
                }
            }
            before = Some(to);
        }
    }
}
