//! How fast this machine could be: what the speed of an op is held against, by `benches/ops` and
//! `scripts/bench-vs-pytorch`. Measured when asked for, since some machines change from minute to
//! minute.

use std::time::Instant;

use rayon::prelude::*;

#[cfg(target_arch = "x86_64")]
use super::cpu::level::Level;

/// Bytes a second that all threads copy together, reads and writes counted, between buffers of 256
/// MB each.
pub fn copying() -> f64 {
    const NUMBERS: usize = 1 << 25;
    const PIECE: usize = 1 << 15;
    let (from, mut to) = (vec![1u64; NUMBERS], vec![0u64; NUMBERS]);
    let seconds = median_seconds(|| {
        let pieces = to.par_chunks_mut(PIECE).zip(from.par_chunks(PIECE));
        pieces.for_each(|(to, from)| to.copy_from_slice(from));
    });
    2.0 * (NUMBERS * size_of::<u64>()) as f64 / seconds
}

/// Operations a second of all threads' bf16 tiles together: products alone, and fed from each
/// core's second cache. `None` where the level has no tiles.
pub fn tiles() -> Option<[f64; 2]> {
    #[cfg(target_arch = "x86_64")]
    {
        let together =
            |rate: fn() -> f64| -> f64 { rayon::broadcast(|_| rate()).into_iter().sum() };
        let has_tiles = Level::current() == Level::Amx;
        has_tiles.then(|| [together(tiles::peak), together(tiles::from_cache)])
    }
    #[cfg(not(target_arch = "x86_64"))]
    None
}

/// Only used where the level has tiles.
#[cfg(target_arch = "x86_64")]
mod tiles {
    use std::arch::asm;

    use super::median_seconds;
    use crate::ops::cpu::amx::Configured;
    use crate::ops::cpu::level::Level;
    use crate::ops::linear::cpu::kernel::{Factors, Kernel, Pass, SumBlock, WIDTH};
    use crate::ops::linear::cpu::unit::Unit;

    /// Floating-point operations of four products of tiles.
    const STEP: usize = 4 * 2 * 16 * 16 * 32;

    /// One thread's operations a second of products alone, whose factors stay in their registers.
    pub fn peak() -> f64 {
        const STEPS: usize = 1 << 14;
        // Zeros might be multiplied with less power, and so faster.
        let numbers = vec![0x3f80_3f80u32; 16 * 16];
        // SAFETY: the level has tiles.
        let _tiles = unsafe { Configured::new() };
        // SAFETY: the level has tiles; a tile of 16 rows of 16 units is read.
        let seconds = median_seconds(|| unsafe {
            asm!(
                "tileloadd tmm4, [{numbers} + {stride}*1]",
                "tileloadd tmm5, [{numbers} + {stride}*1]",
                "tileloadd tmm6, [{numbers} + {stride}*1]",
                "tileloadd tmm7, [{numbers} + {stride}*1]",
                "2:",
                "tdpbf16ps tmm0, tmm4, tmm6",
                "tdpbf16ps tmm1, tmm4, tmm7",
                "tdpbf16ps tmm2, tmm5, tmm6",
                "tdpbf16ps tmm3, tmm5, tmm7",
                "dec {steps}",
                "jnz 2b",
                numbers = in(reg) numbers.as_ptr(),
                stride = in(reg) 64usize,
                steps = inout(reg) STEPS => _,
                options(nostack, readonly),
            );
        });
        (STEPS * STEP) as f64 / seconds
    }

    /// One thread's operations a second of the kernel, where rows and panels lie in the second
    /// cache and nothing else is moved.
    pub fn from_cache() -> f64 {
        const PANELS: usize = 8;
        let kernel = Kernel::of(Level::Amx, Unit::Pair);
        let (depth, running) = (kernel.depth, kernel.start());
        // Units from one row to the next.
        let stride = depth + 16;
        let left = vec![0x3f80_3f80; kernel.height * stride];
        let panels = vec![0x3f80_3f80; PANELS * depth * WIDTH];
        let mut sums = SumBlock::ZERO;
        let seconds = median_seconds(|| {
            for panel in panels.chunks(depth * WIDTH) {
                let factors = Factors {
                    left: &left,
                    stride,
                    rows: kernel.height,
                    k: depth,
                    panel,
                    passes: &[Pass { left: 0, panel: 0 }],
                    next: &left,
                };
                // SAFETY: a `SumBlock` is as high as any kernel.
                unsafe { running.run(&factors, None, sums.place()) };
            }
        });
        (PANELS * depth / 16 * STEP) as f64 / seconds
    }
}

/// The median of many short runs.
fn median_seconds(mut run: impl FnMut()) -> f64 {
    const RUNS: usize = 41;
    let mut seconds: Vec<f64> = (0..RUNS)
        .map(|_| {
            let begun = Instant::now();
            run();
            begun.elapsed().as_secs_f64()
        })
        .collect();
    seconds.sort_by(f64::total_cmp);
    seconds[RUNS / 2]
}
