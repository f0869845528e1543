//! Measures the sum over ranks that a step waits for: medians of seconds, and the fastest, for gradients of
//! so many bytes.
//!
//!     cargo build --release --example all_reduce
//!     mpirun -n 2 --bind-to none target/release/examples/all_reduce 64 6500000 35000000
//!
//! docs/PERFORMANCE.md says what follows from them.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use state_tune::console::Console;
use state_tune::distributed;

/// Sums of each size; a first one is left out.
const TIMES: usize = 15;

fn main() -> Result<()> {
    let ranks = distributed::join(|name| std::env::var_os(name), &Console::standard())?;
    ensure!(
        ranks.count() > 1,
        "start it under mpirun, with several ranks"
    );
    for bytes in std::env::args().skip(1) {
        let bytes: usize = bytes.parse().context("give numbers of bytes")?;
        let mut numbers = vec![0f32; bytes / 4];
        let sum = |_| {
            // All begin together, and what one waited for the others is not counted.
            ranks.sum(&mut [0.0]);
            let begun = Instant::now();
            ranks.sum(&mut numbers);
            begun.elapsed().as_secs_f64()
        };
        let mut seconds: Vec<f64> = (0..=TIMES).map(sum).skip(1).collect();
        seconds.sort_by(f64::total_cmp);
        if ranks.rank() == 0 {
            let (fastest, median) = (seconds[0], seconds[TIMES / 2]);
            println!(
                "{bytes} bytes, {} ranks: median {median:.6} s, fastest {fastest:.6}",
                ranks.count()
            );
        }
    }
    ranks.finish();
    Ok(())
}
