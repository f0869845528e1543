//! The innermost loops of a product: a few rows by [`WIDTH`] columns, summed in registers.
//!
//! All kernels read the same layout, so that packing is written once: rows of units (see
//! [`super::unit`]) on the left, and on the right a panel `[k, WIDTH]` of units. They differ in how
//! many rows they take at once and in what one instruction multiplies.

mod block;
mod plain;
#[cfg(target_arch = "x86_64")]
mod tiles;
#[cfg(target_arch = "x86_64")]
mod vectors;

pub use self::block::{Factors, HEIGHT, NEXT, Pass, Place, SumBlock, WIDTH};
use super::unit::Unit;
#[cfg(target_arch = "x86_64")]
use crate::ops::cpu::amx;
use crate::ops::cpu::level::Level;

/// The innermost loop for a level and a kind of unit.
#[derive(Clone, Copy)]
pub struct Kernel {
    /// Rows taken at once.
    pub height: usize,
    /// Units that are gone through before the next panel, where rows and panels of so many suit the
    /// caches best.
    pub depth: usize,
    run: unsafe fn(&Factors, Option<Place>, Place),
    #[cfg(target_arch = "x86_64")]
    has_tiles: bool,
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
                return Self::of_vectors(6, vectors::avx2);
            }
            (Level::Amx, Unit::Pair | Unit::Split) => {
                return Self {
                    height: 32,
                    depth: tiles::DEPTH,
                    run: tiles::tiles,
                    has_tiles: true,
                };
            }
            (_, Unit::Pair | Unit::Split) => return Self::of_vectors(14, vectors::avx512_pairs),
            (_, Unit::F32 | Unit::Rounded) => return Self::of_vectors(14, vectors::avx512),
        }
        Self::of_vectors(4, plain::plain)
    }

    /// One that keeps its sums in vector registers.
    fn of_vectors(height: usize, run: unsafe fn(&Factors, Option<Place>, Place)) -> Self {
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
                unsafe { amx::Configured::new() }
            }),
        }
    }
}

/// A kernel on the thread that runs it.
pub struct Running {
    kernel: Kernel,
    #[cfg(target_arch = "x86_64")]
    _tiles: Option<amx::Configured>,
}

impl Running {
    /// Puts what is at `from`, or nothing, plus the sums of one block to `to`.
    ///
    /// # Safety
    ///
    /// `to`, and `from` if there is one, must be good for writing and reading so many rows as the
    /// kernel is high, whatever the factors have; they may be the same.
    #[inline]
    pub unsafe fn run(&self, factors: &Factors, from: Option<Place>, to: Place) {
        let Factors {
            left,
            stride,
            rows,
            k,
            panel,
            passes,
            next: _,
        } = factors;
        assert!(*rows >= 1 && *rows <= self.kernel.height && k.is_multiple_of(16) && *k > 0);
        assert!(!passes.is_empty(), "a kernel without a pass writes nothing");
        for pass in *passes {
            assert!(left.len() >= (rows - 1) * stride + pass.left + k);
            assert!(panel.len() >= pass.panel + k * WIDTH);
        }
        // SAFETY: the asserts hold every unit that a kernel reads inside the two slices (the kernel
        // of AMX checks for its full 32 rows itself), `of` gave out only kernels of a level that
        // this machine has, and the caller vouches for the places.
        unsafe { (self.kernel.run)(factors, from, to) }
    }
}
