//! How fast this machine could be: what the speed of an op is held against, by `benches/ops.rs` and
//! `scripts/bench-vs-pytorch`. Measured when asked for, since some machines change from minute to minute.

use std::time::Instant;

use rayon::prelude::*;

/// Bytes a second that all threads copy together, reads and writes counted, between buffers of 256 MB each.
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

/// Operations a second of all threads' bf16 tiles together: products alone, and fed from each core's second cache.
/// `None` where the level has no tiles.
pub fn tiles() -> Option<[f64; 2]> {
    #[cfg(target_arch = "x86_64")]
    {
        use crate::ops::linear::amx;
        let together = |rate: fn() -> Option<f64>| -> Option<f64> {
            let rates = rayon::broadcast(|_| rate());
            rates.into_iter().sum()
        };
        Some([together(amx::peak)?, together(amx::from_cache)?])
    }
    #[cfg(not(target_arch = "x86_64"))]
    None
}

/// The median of many short runs.
pub(crate) fn median_seconds(mut run: impl FnMut()) -> f64 {
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
