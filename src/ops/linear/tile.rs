//! The innermost loops of a product: a few rows by [`WIDTH`] columns, summed in registers.
//!
//! All kernels read the same layout, so that packing is written once: rows of units (see [`super::rows`]) on the left,
//! and on the right a panel `[k, WIDTH]` of units. They differ in how many rows they take at once and in what one
//! instruction multiplies.

use super::rows::Unit;
use crate::ops::level::Level;

/// Columns of a panel.
pub const WIDTH: usize = 32;
/// Rows that any kernel takes at most.
pub const HEIGHT: usize = 32;

/// What a kernel leaves behind: sums of the first rows; the rest is arbitrary.
#[repr(C, align(64))]
pub struct Tile(pub [[f32; WIDTH]; HEIGHT]);

/// The innermost loop for a level and a kind of unit.
#[derive(Clone, Copy)]
pub struct Kernel {
    /// Rows taken at once.
    pub height: usize,
    run: unsafe fn(&Block, &mut Tile),
}

/// The factors of one tile.
pub struct Block<'a> {
    /// Rows of units, `stride` apart, of which the first `k` are read.
    pub left: &'a [u32],
    pub stride: usize,
    pub rows: usize,
    /// Units to sum over: a multiple of 16.
    pub k: usize,
    /// `[k, WIDTH]` units.
    pub panel: &'a [u32],
}

impl Kernel {
    /// The best kernel of a level.
    pub fn of(level: Level, unit: Unit) -> Self {
        debug_assert!(level <= Level::best());
        assert!(
            unit != Unit::Pair || level.has_bf16(),
            "pairs of bf16 at level {level}"
        );
        #[cfg(target_arch = "x86_64")]
        match (level, unit) {
            (Level::Plain, _) => {}
            (Level::Avx2, _) => {
                return Self {
                    height: 6,
                    run: x86::avx2,
                };
            }
            (Level::Amx, Unit::Pair) => {
                return Self {
                    height: 32,
                    run: super::amx::tile,
                };
            }
            (_, Unit::Pair) => {
                return Self {
                    height: 14,
                    run: x86::avx512_pairs,
                };
            }
            (_, Unit::F32 | Unit::Rounded) => {
                return Self {
                    height: 14,
                    run: x86::avx512,
                };
            }
        }
        Self {
            height: 4,
            run: plain,
        }
    }

    /// Sums one block.
    #[inline]
    pub fn run(self, block: &Block, tile: &mut Tile) {
        let Block {
            left,
            stride,
            rows,
            k,
            panel,
        } = block;
        assert!(*rows >= 1 && *rows <= self.height && k.is_multiple_of(16) && *k > 0);
        assert!(left.len() >= (rows - 1) * stride + k && panel.len() >= k * WIDTH);
        // SAFETY: the asserts hold every unit that a kernel reads inside the two slices (the tile kernel of AMX checks
        // for its full 32 rows itself), and `of` gave out only kernels of a level that this machine has.
        unsafe { (self.run)(block, tile) }
    }
}

/// Without vector instructions of its own: four rows by eight columns at a time, which compilers turn into vectors.
fn plain(block: &Block, tile: &mut Tile) {
    const COLUMNS: usize = 8;
    for part in (0..WIDTH).step_by(COLUMNS) {
        let mut sums = [[0.0; COLUMNS]; 4];
        let starts: [usize; 4] = std::array::from_fn(|row| row.min(block.rows - 1) * block.stride);
        for (k, right) in block.panel[..block.k * WIDTH]
            .chunks_exact(WIDTH)
            .enumerate()
        {
            let right: [f32; COLUMNS] = std::array::from_fn(|c| f32::from_bits(right[part + c]));
            for (sums, start) in sums.iter_mut().zip(starts) {
                let left = f32::from_bits(block.left[start + k]);
                for c in 0..COLUMNS {
                    sums[c] += left * right[c];
                }
            }
        }
        for (row, sums) in sums.iter().enumerate() {
            tile.0[row][part..part + COLUMNS].copy_from_slice(sums);
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;
    use std::mem::transmute;

    use super::{Block, Tile, WIDTH};

    /// Calls `$kernel::<R>` with R the block's number of rows.
    macro_rules! by_rows {
        ($kernel:ident, $block:expr, $tile:expr, [$($rows:literal)*]) => {
            match $block.rows {
                // SAFETY: the caller vouches for the block and the processor.
                $($rows => unsafe { $kernel::<$rows>($block, $tile) },)*
                _ => unreachable!("`Kernel::run` checks the rows"),
            }
        };
    }

    pub unsafe fn avx512(block: &Block, tile: &mut Tile) {
        by_rows!(avx512_rows, block, tile, [1 2 3 4 5 6 7 8 9 10 11 12 13 14])
    }

    pub unsafe fn avx512_pairs(block: &Block, tile: &mut Tile) {
        by_rows!(avx512_pair_rows, block, tile, [1 2 3 4 5 6 7 8 9 10 11 12 13 14])
    }

    pub unsafe fn avx2(block: &Block, tile: &mut Tile) {
        by_rows!(avx2_rows, block, tile, [1 2 3 4 5 6])
    }

    #[target_feature(enable = "avx512f")]
    unsafe fn avx512_rows<const R: usize>(block: &Block, tile: &mut Tile) {
        let (left, panel) = (block.left.as_ptr(), block.panel.as_ptr());
        let mut sums = [[_mm512_setzero_ps(); 2]; R];
        for k in 0..block.k {
            // SAFETY: `Kernel::run` checked that rows * stride and k * WIDTH units are there.
            unsafe {
                let right = panel.add(k * WIDTH).cast();
                let right = [_mm512_loadu_ps(right), _mm512_loadu_ps(right.add(16))];
                for (row, sums) in sums.iter_mut().enumerate() {
                    let left = _mm512_set1_ps(*left.add(row * block.stride + k).cast());
                    sums[0] = _mm512_fmadd_ps(left, right[0], sums[0]);
                    sums[1] = _mm512_fmadd_ps(left, right[1], sums[1]);
                }
            }
        }
        for (sums, tile) in sums.iter().zip(&mut tile.0) {
            // SAFETY: a tile's row is 32 floats.
            unsafe {
                _mm512_storeu_ps(tile.as_mut_ptr(), sums[0]);
                _mm512_storeu_ps(tile.as_mut_ptr().add(16), sums[1]);
            }
        }
    }

    #[target_feature(enable = "avx512f,avx512bf16")]
    unsafe fn avx512_pair_rows<const R: usize>(block: &Block, tile: &mut Tile) {
        let (left, panel) = (block.left.as_ptr(), block.panel.as_ptr());
        let mut sums = [[_mm512_setzero_ps(); 2]; R];
        for k in 0..block.k {
            // SAFETY: as above; a vector of bf16 pairs is 512 bits like any other.
            unsafe {
                let right = panel.add(k * WIDTH).cast();
                let right: [__m512bh; 2] = [
                    transmute::<__m512i, __m512bh>(_mm512_loadu_si512(right)),
                    transmute::<__m512i, __m512bh>(_mm512_loadu_si512(right.add(1))),
                ];
                for (row, sums) in sums.iter_mut().enumerate() {
                    let left = *left.add(row * block.stride + k).cast::<i32>();
                    let left = transmute::<__m512i, __m512bh>(_mm512_set1_epi32(left));
                    sums[0] = _mm512_dpbf16_ps(sums[0], left, right[0]);
                    sums[1] = _mm512_dpbf16_ps(sums[1], left, right[1]);
                }
            }
        }
        for (sums, tile) in sums.iter().zip(&mut tile.0) {
            // SAFETY: a tile's row is 32 floats.
            unsafe {
                _mm512_storeu_ps(tile.as_mut_ptr(), sums[0]);
                _mm512_storeu_ps(tile.as_mut_ptr().add(16), sums[1]);
            }
        }
    }

    /// Sixteen registers hold six rows of half a panel, so a panel is gone through twice.
    #[target_feature(enable = "avx2,fma")]
    unsafe fn avx2_rows<const R: usize>(block: &Block, tile: &mut Tile) {
        for half in [0, WIDTH / 2] {
            let (left, panel) = (block.left.as_ptr(), block.panel.as_ptr());
            let mut sums = [[_mm256_setzero_ps(); 2]; R];
            for k in 0..block.k {
                // SAFETY: as above.
                unsafe {
                    let right = panel.add(k * WIDTH + half).cast();
                    let right = [_mm256_loadu_ps(right), _mm256_loadu_ps(right.add(8))];
                    for (row, sums) in sums.iter_mut().enumerate() {
                        let left = _mm256_set1_ps(*left.add(row * block.stride + k).cast());
                        sums[0] = _mm256_fmadd_ps(left, right[0], sums[0]);
                        sums[1] = _mm256_fmadd_ps(left, right[1], sums[1]);
                    }
                }
            }
            for (sums, tile) in sums.iter().zip(&mut tile.0) {
                // SAFETY: a tile's row is 32 floats.
                unsafe {
                    _mm256_storeu_ps(tile.as_mut_ptr().add(half), sums[0]);
                    _mm256_storeu_ps(tile.as_mut_ptr().add(half + 8), sums[1]);
                }
            }
        }
    }
}
