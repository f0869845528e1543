//! Prints how fast this machine could be, as JSON: `cargo run --release --example roofs [THREADS]`.
//! The script `scripts/bench-vs-pytorch` shows it beside what it measures.

use state_tune::ops::{cpu::threads::with_threads, roofs};

/// `ops::cpu::buffers` says why.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> anyhow::Result<()> {
    let threads = std::env::args().nth(1);
    let threads = threads.map(|number| number.parse()).transpose()?;
    let (copying, tiles) = with_threads(threads, || (roofs::copying(), roofs::tiles()))?;
    let roofs = serde_json::json!({
        "copy_bytes_per_s": copying,
        "tiles_per_s": tiles.map(|[peak, _]| peak),
        "tiles_from_cache_per_s": tiles.map(|[_, from_cache]| from_cache),
    });
    println!("{roofs}");
    Ok(())
}
