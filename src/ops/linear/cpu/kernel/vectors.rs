//! The innermost loops of a product: a few rows by [`WIDTH`] columns, summed in registers.
//!
//! All kernels read the same layout, so that packing is written once: rows of units (see [`super::rows`]) on the left,
//! and on the right a panel `[k, WIDTH]` of units. They differ in how many rows they take at once and in what one
//! instruction multiplies.

use super::rows::Unit;
use crate::ops::cpu::level::Level;

/// Columns of a panel.
pub const WIDTH: usize = 32;
/// Rows that any kernel takes at most.
pub const HEIGHT: usize = 32;

/// The sums of some rows of a panel, while they are not where they belong.
#[derive(Clone)]
#[repr(C, align(64))]
pub struct Tile(pub [[f32; WIDTH]; HEIGHT]);

impl Tile {
    pub const ZERO: Self = Self([[0.0; WIDTH]; HEIGHT]);

    pub fn place(&mut self) -> Place {
        Place {
            start: self.0.as_mut_ptr().cast(),
            stride: WIDTH,
        }
    }
}

/// Where the sums of a block are: in each row of it [`WIDTH`] floats, `stride` from the row before.
#[derive(Clone, Copy)]
pub struct Place {
    pub start: *mut f32,
    pub stride: usize,
}

/// The innermost loop for a level and a kind of unit.
#[derive(Clone, Copy)]
pub struct Kernel {
    /// Rows taken at once.
    pub height: usize,
    /// Units summed before sums leave the registers, where rows and panels of so many suit the caches best.
    pub depth: usize,
    run: unsafe fn(&Block, Option<Place>, Place),
    #[cfg(target_arch = "x86_64")]
    has_tiles: bool,
}

/// The factors of one tile. Sums run over every pass, in order.
pub struct Block<'a> {
    /// Rows of units, `stride` apart.
    pub left: &'a [u32],
    pub stride: usize,
    pub rows: usize,
    /// Units of a pass: a multiple of 16.
    pub k: usize,
    /// `[k, WIDTH]` units for each part of the panel.
    pub panel: &'a [u32],
    pub passes: &'a [Pass],
    /// A few rows that will be needed next, as far apart as these: a kernel may have the cache fetch their units.
    pub next: &'a [u32],
}

/// Rows of [`Block::next`].
pub const NEXT: usize = 4;

/// Which units of the rows meet which of the panel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Pass {
    /// Units from a row's start.
    pub left: usize,
    /// Units from the panel's start.
    pub panel: usize,
}

impl Kernel {
    /// The best kernel of a level.
    pub fn of(level: Level, unit: Unit) -> Self {
        debug_assert!(level <= Level::best());
        assert!(
            unit.numbers() == 1 || level.has_bf16(),
            "pairs of bf16 at level {level}"
        );
        #[cfg(target_arch = "x86_64")]
        match (level, unit) {
            (Level::Plain, _) => {}
            (Level::Avx2, _) => {
                return Self::of_vectors(6, x86::avx2);
            }
            (Level::Amx, Unit::Pair | Unit::Split) => {
                return Self {
                    height: 32,
                    depth: super::amx::DEPTH,
                    run: super::amx::tile,
                    has_tiles: true,
                };
            }
            (_, Unit::Pair | Unit::Split) => return Self::of_vectors(14, x86::avx512_pairs),
            (_, Unit::F32 | Unit::Rounded) => return Self::of_vectors(14, x86::avx512),
        }
        Self::of_vectors(4, plain)
    }

    /// One that keeps its sums in vector registers.
    fn of_vectors(height: usize, run: unsafe fn(&Block, Option<Place>, Place)) -> Self {
        Self {
            height,
            depth: usize::MAX,
            run,
            #[cfg(target_arch = "x86_64")]
            has_tiles: false,
        }
    }

    /// Makes this thread ready to run it.
    pub fn start(self) -> Running {
        Running {
            kernel: self,
            #[cfg(target_arch = "x86_64")]
            _tiles: self.has_tiles.then(|| {
                // SAFETY: `of` gives out a kernel with tiles only where this process may use them.
                unsafe { super::amx::Configured::new() }
            }),
        }
    }
}

/// A kernel on the thread that runs it.
pub struct Running {
    kernel: Kernel,
    #[cfg(target_arch = "x86_64")]
    _tiles: Option<super::amx::Configured>,
}

impl Running {
    /// Puts what is at `from`, or nothing, plus the sums of one block to `to`.
    ///
    /// # Safety
    ///
    /// `to`, and `from` if there is one, must be good for writing and reading so many rows as the kernel is high,
    /// whatever the block has; they may be the same.
    #[inline]
    pub unsafe fn run(&self, block: &Block, from: Option<Place>, to: Place) {
        let Block {
            left,
            stride,
            rows,
            k,
            panel,
            passes,
            next: _,
        } = block;
        assert!(*rows >= 1 && *rows <= self.kernel.height && k.is_multiple_of(16) && *k > 0);
        for pass in *passes {
            assert!(left.len() >= (rows - 1) * stride + pass.left + k);
            assert!(panel.len() >= pass.panel + k * WIDTH);
        }
        // SAFETY: the asserts hold every unit that a kernel reads inside the two slices (the tile kernel of AMX checks
        // for its full 32 rows itself), `of` gave out only kernels of a level that this machine has, and the caller
        // vouches for the places.
        unsafe { (self.kernel.run)(block, from, to) }
    }
}

/// Without vector instructions of its own: four rows by eight columns at a time, which compilers turn into vectors.
unsafe fn plain(block: &Block, from: Option<Place>, to: Place) {
    const COLUMNS: usize = 8;
    for part in (0..WIDTH).step_by(COLUMNS) {
        let mut sums = [[0.0; COLUMNS]; 4];
        if let Some(from) = from {
            for (row, sums) in sums.iter_mut().enumerate().take(block.rows) {
                for (column, sum) in sums.iter_mut().enumerate() {
                    // SAFETY: the caller of `Running::run` vouches for the place.
                    *sum = unsafe { *from.start.add(row * from.stride + part + column) };
                }
            }
        }
        for pass in block.passes {
            let starts: [usize; 4] =
                std::array::from_fn(|row| row.min(block.rows - 1) * block.stride + pass.left);
            let panel = &block.panel[pass.panel..][..block.k * WIDTH];
            for (k, right) in panel.chunks_exact(WIDTH).enumerate() {
                let right: [f32; COLUMNS] =
                    std::array::from_fn(|c| f32::from_bits(right[part + c]));
                for (sums, start) in sums.iter_mut().zip(starts) {
                    let left = f32::from_bits(block.left[start + k]);
                    for c in 0..COLUMNS {
                        sums[c] += left * right[c];
                    }
                }
            }
        }
        for (row, sums) in sums.iter().enumerate().take(block.rows) {
            for (column, sum) in sums.iter().enumerate() {
                // SAFETY: as above.
                unsafe { *to.start.add(row * to.stride + part + column) = *sum };
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;
    use std::mem::transmute;

    use super::{Block, Place, WIDTH};

    /// Calls `$kernel::<R>` with R the block's number of rows.
    macro_rules! by_rows {
        ($kernel:ident, $block:expr, $from:expr, $to:expr, [$($rows:literal)*]) => {
            match $block.rows {
                // SAFETY: the caller vouches for the block, the places and the processor.
                $($rows => unsafe { $kernel::<$rows>($block, $from, $to) },)*
                _ => unreachable!("`Running::run` checks the rows"),
            }
        };
    }

    pub unsafe fn avx512(block: &Block, from: Option<Place>, to: Place) {
        by_rows!(avx512_rows, block, from, to, [1 2 3 4 5 6 7 8 9 10 11 12 13 14])
    }

    pub unsafe fn avx512_pairs(block: &Block, from: Option<Place>, to: Place) {
        by_rows!(avx512_pair_rows, block, from, to, [1 2 3 4 5 6 7 8 9 10 11 12 13 14])
    }

    pub unsafe fn avx2(block: &Block, from: Option<Place>, to: Place) {
        by_rows!(avx2_rows, block, from, to, [1 2 3 4 5 6])
    }

    /// What `from` has in R rows, or zeros.
    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn avx512_load<const R: usize>(from: Option<Place>) -> [[__m512; 2]; R] {
        let mut sums = [[_mm512_setzero_ps(); 2]; R];
        if let Some(from) = from {
            for (row, sums) in sums.iter_mut().enumerate() {
                // SAFETY: the caller vouches for 32 floats of R rows.
                unsafe {
                    let start = from.start.add(row * from.stride);
                    *sums = [_mm512_loadu_ps(start), _mm512_loadu_ps(start.add(16))];
                }
            }
        }
        sums
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn avx512_store<const R: usize>(sums: [[__m512; 2]; R], to: Place) {
        for (row, sums) in sums.iter().enumerate() {
            // SAFETY: the caller vouches for 32 floats of R rows.
            unsafe {
                let start = to.start.add(row * to.stride);
                _mm512_storeu_ps(start, sums[0]);
                _mm512_storeu_ps(start.add(16), sums[1]);
            }
        }
    }

    #[target_feature(enable = "avx512f")]
    unsafe fn avx512_rows<const R: usize>(block: &Block, from: Option<Place>, to: Place) {
        // SAFETY: the caller vouches for both places; `Running::run` checked that each pass has its units on both sides.
        unsafe {
            let mut sums = avx512_load::<R>(from);
            for pass in block.passes {
                let left = block.left.as_ptr().add(pass.left);
                let panel = block.panel.as_ptr().add(pass.panel);
                for k in 0..block.k {
                    let right = panel.add(k * WIDTH).cast();
                    let right = [_mm512_loadu_ps(right), _mm512_loadu_ps(right.add(16))];
                    for (row, sums) in sums.iter_mut().enumerate() {
                        let left = _mm512_set1_ps(*left.add(row * block.stride + k).cast());
                        sums[0] = _mm512_fmadd_ps(left, right[0], sums[0]);
                        sums[1] = _mm512_fmadd_ps(left, right[1], sums[1]);
                    }
                }
            }
            avx512_store(sums, to);
        }
    }

    #[target_feature(enable = "avx512f,avx512bf16")]
    unsafe fn avx512_pair_rows<const R: usize>(block: &Block, from: Option<Place>, to: Place) {
        // SAFETY: as above; a vector of bf16 pairs is 512 bits like any other.
        unsafe {
            let mut sums = avx512_load::<R>(from);
            for pass in block.passes {
                let left = block.left.as_ptr().add(pass.left);
                let panel = block.panel.as_ptr().add(pass.panel);
                for k in 0..block.k {
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
            avx512_store(sums, to);
        }
    }

    /// Sixteen registers hold six rows of half a panel, so a panel is gone through twice.
    #[target_feature(enable = "avx2,fma")]
    unsafe fn avx2_rows<const R: usize>(block: &Block, from: Option<Place>, to: Place) {
        for half in [0, WIDTH / 2] {
            // SAFETY: as above.
            unsafe {
                let mut sums = [[_mm256_setzero_ps(); 2]; R];
                if let Some(from) = from {
                    for (row, sums) in sums.iter_mut().enumerate() {
                        let start = from.start.add(row * from.stride + half);
                        *sums = [_mm256_loadu_ps(start), _mm256_loadu_ps(start.add(8))];
                    }
                }
                for pass in block.passes {
                    let left = block.left.as_ptr().add(pass.left);
                    let panel = block.panel.as_ptr().add(pass.panel);
                    for k in 0..block.k {
                        let right = panel.add(k * WIDTH + half).cast();
                        let right = [_mm256_loadu_ps(right), _mm256_loadu_ps(right.add(8))];
                        for (row, sums) in sums.iter_mut().enumerate() {
                            let left = _mm256_set1_ps(*left.add(row * block.stride + k).cast());
                            sums[0] = _mm256_fmadd_ps(left, right[0], sums[0]);
                            sums[1] = _mm256_fmadd_ps(left, right[1], sums[1]);
                        }
                    }
                }
                for (row, sums) in sums.iter().enumerate() {
                    let start = to.start.add(row * to.stride + half);
                    _mm256_storeu_ps(start, sums[0]);
                    _mm256_storeu_ps(start.add(8), sums[1]);
                }
            }
        }
    }
}
