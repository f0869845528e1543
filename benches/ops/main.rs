//! Every op of a block against its reference and its roofline, at the size of a small model: 2,048
//! rows in eight sequences, n_embd 768, 12 heads, ffn 2,688.
//!
//! ```sh
//! cargo bench --bench ops
//! ```
//!
//! Each op runs on the same inputs as its reference in candle's tensors, whose gradient candle
//! finds. Ops bound by arithmetic are counted in floating-point operations (criterion's elements),
//! and their roofline is one large product of the same type; ops bound by memory are counted in the
//! bytes that they must read and write, and their roofline is a loop that does no more than read
//! and write as many.

mod norms;
mod products;
mod recurrences;

use std::hint::black_box;

use candle_core::{Device, Result, Tensor, Var};
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput};
use rayon::prelude::*;
use state_tune::ops::cpu::buffers;
use state_tune::ops::cpu::threads::with_threads;
use state_tune::ops::roofs;

/// `ops::cpu::buffers` says why.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ROWS: usize = 2048;
const N_EMBD: usize = 768;
const N_FFN: usize = 2688;
const N_HEAD: usize = 12;
const HEAD_SIZE: usize = N_EMBD / N_HEAD;
const VOCAB: usize = 65_536;
/// Rows that are scored.
const SCORED: usize = 512;

/// What a run of an op is counted in.
#[derive(Clone, Copy)]
enum Work {
    /// Floating-point operations.
    Arithmetic(usize),
    /// Bytes, if every input is read once and every output written once.
    Bytes { read: usize, written: usize },
}

fn bytes(read: usize, written: usize) -> Work {
    Work::Bytes { read, written }
}

/// Times an op and its reference, and the same traffic alone; [`products::large_products`] is the
/// roofline of arithmetic.
fn compare<F, R>(
    c: &mut Criterion,
    name: &str,
    work: Work,
    fast: impl Fn() -> Result<F>,
    reference: impl Fn() -> Result<R>,
) {
    let mut group = group(c, name, work);
    group.bench_function("fast", |b| b.iter(|| black_box(fast())));
    group.bench_function("reference", |b| b.iter(|| black_box(reference())));
    if let Work::Bytes { read, written } = work {
        let (from, mut to) = (vec![1; read / 8], vec![0; written / 8]);
        group.bench_function("traffic", |b| b.iter(|| traffic(black_box(&from), &mut to)));
    }
    group.finish();
}

fn group<'a>(c: &'a mut Criterion, name: &str, work: Work) -> BenchmarkGroup<'a, WallTime> {
    let mut group = c.benchmark_group(name);
    group.throughput(match work {
        Work::Arithmetic(operations) => Throughput::Elements(operations as u64),
        Work::Bytes { read, written } => Throughput::Bytes((read + written) as u64),
    });
    group
}

/// Reads and writes, by all threads, in pieces as an op's tasks have them.
fn traffic(from: &[u64], to: &mut [u64]) {
    let pieces = (from.len() + to.len()).div_ceil(1 << 13);
    to.par_chunks_mut(to.len().div_ceil(pieces))
        .zip(from.par_chunks(from.len().div_ceil(pieces)))
        .for_each(|(to, from)| to.fill(from.iter().fold(0, |all, x| all ^ x)));
}

fn random(shape: &[usize]) -> Result<Tensor> {
    Tensor::rand(-1f32, 1.0, shape, &Device::Cpu)
}

/// Numbers as a reference takes them, to be asked for their gradient.
fn var(tensor: &Tensor) -> Result<Var> {
    Var::from_tensor(tensor)
}

/// What a reference's gradient is taken of, so that `dy` is the output's gradient.
fn loss(y: &Tensor, dy: &Tensor) -> Result<Tensor> {
    (y * dy)?.sum_all()
}

/// What this machine could do, before and after all else, since some change from minute to minute.
fn print_roofs() {
    let copying = roofs::copying() / 1e9;
    println!("roof: copying {copying:.1} GB/s, reads and writes counted");
    if let Some([peak, from_cache]) = roofs::tiles() {
        let [peak, from_cache] = [peak, from_cache].map(|rate| rate / 1e9);
        println!(
            "roof: bf16 tiles {peak:.0} GFLOP/s, fed from the second cache {from_cache:.0} GFLOP/s"
        );
    }
}

fn tensors(shape: &[usize]) -> Result<[Tensor; 4]> {
    Ok([
        random(shape)?,
        random(shape)?,
        random(shape)?,
        random(shape)?,
    ])
}

fn all() -> Result<()> {
    let mut c = Criterion::default()
        .sample_size(10)
        .warm_up_time(std::time::Duration::from_millis(500))
        .measurement_time(std::time::Duration::from_secs(2))
        .configure_from_args();
    print_roofs();
    products::large_products(&mut c)?;
    products::products(&mut c)?;
    recurrences::wkv(&mut c)?;
    recurrences::delta(&mut c)?;
    norms::norms(&mut c)?;
    norms::all_gates(&mut c)?;
    products::losses(&mut c)?;
    print_roofs();
    c.final_summary();
    Ok(())
}

fn main() {
    buffers::keep();
    // Where the program computes: on one of the pool's own threads.
    with_threads(None, all)
        .expect("threads start")
        .expect("shapes agree");
}
