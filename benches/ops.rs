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

use std::hint::black_box;

use candle_core::{DType, Device, Result, Tensor, Var};
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput};
use rayon::prelude::*;
use state_tune::ops::cpu::buffers;
use state_tune::ops::cpu::threads::with_threads;
use state_tune::ops::linear::{self, Matrix, Product, Rows, Weights};
use state_tune::ops::norm::{self, Norm};
use state_tune::ops::token_shift::{self, TokenShift};
use state_tune::ops::wkv::{self, Wkv};
use state_tune::ops::{Offsets, cross_entropy, gates, roofs};
use state_tune::tensors::Element;

/// `ops::cpu::buffers` says why.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ROWS: usize = 2048;
const N_EMBD: usize = 768;
const N_FFN: usize = 2688;
const N_HEAD: usize = 12;
const HEAD_SIZE: usize = N_EMBD / N_HEAD;
const VOCAB: usize = 65_536;
/// Rows of logits, as many as the head has at one time.
const SCORED: usize = 512;
/// Added to a variance.
const EPS: f32 = 1e-5;

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

/// Times an op and its reference, and the same traffic alone; [`large_products`] is the roofline of
/// arithmetic.
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

/// One matrix of random bf16, as the program and as candle hold it.
fn matrix(shape: [usize; 2], product: Product) -> Result<(Matrix, Tensor)> {
    let w = random(&shape)?.to_dtype(DType::BF16)?;
    let numbers: Vec<half::bf16> = w.flatten_all()?.to_vec1()?;
    let bytes: Vec<u8> = numbers.iter().flat_map(|x| x.to_le_bytes()).collect();
    let matrix = Matrix::new(bytes.into(), Element::Bf16, shape, product)?;
    Ok((matrix, w.to_dtype(DType::F32)?))
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

/// The roofline of all that is bound by arithmetic: 4,096 rows and a matrix of 4,096 x 2,048.
fn large_products(c: &mut Criterion) -> Result<()> {
    let [rows, out, inner] = [4096, 4096, 2048];
    for product in [Product::F32, Product::Bf16] {
        let (w, _) = matrix([out, inner], product)?;
        let x = Rows::of(product, &random(&[rows, inner])?)?;
        let work = Work::Arithmetic(2 * rows * out * inner);
        group(c, "large product", work).bench_function(format!("{product:?}"), |b| {
            b.iter(|| black_box(w.forward(&x)));
        });
    }
    Ok(())
}

/// The reference multiplies in f32 whatever the product's type, as it does in tests.
fn products(c: &mut Criterion) -> Result<()> {
    for product in [Product::F32, Product::Bf16] {
        for [rows, out, inner] in [
            [ROWS, N_EMBD, N_EMBD],
            [ROWS, N_FFN, N_EMBD],
            [SCORED, VOCAB, N_EMBD],
        ] {
            let (w, w_plain) = matrix([out, inner], product)?;
            let (x, dy) = (random(&[rows, inner])?, random(&[rows, out])?);
            let (x_rows, dy_rows) = (Rows::of(product, &x)?, Rows::of(product, &dy)?);
            let work = Work::Arithmetic(2 * rows * out * inner);
            let name = |way: &str| format!("linear {product:?} {rows} x {out} x {inner}, {way}");
            compare(
                c,
                &name("forward"),
                work,
                || w.forward(&x_rows),
                || linear::reference::forward(&x, &w_plain),
            );
            compare(
                c,
                &name("backward"),
                work,
                || w.backward(&dy_rows),
                || linear::reference::backward(&dy, &w_plain),
            );
        }
    }
    // Decoding is bound by reading W.
    let (w, w_plain) = matrix([VOCAB, N_EMBD], Product::Bf16)?;
    let one = random(&[1, N_EMBD])?;
    let row = Rows::of(Product::Bf16, &one)?;
    compare(
        c,
        "linear Bf16, one row",
        bytes(2 * VOCAB * N_EMBD, 4 * VOCAB),
        || w.forward(&row),
        || linear::reference::forward(&one, &w_plain),
    );
    for weights in [Weights::File, Weights::Int8, Weights::Nf4] {
        // Few rows: a good part of the time goes to packing W.
        let [rows, out, inner] = [128, N_FFN, N_EMBD];
        let w = matrix([out, inner], Product::Bf16)?.0.held_as(weights)?;
        let [x, dy] = [inner, out]
            .map(|width| random(&[rows, width]).and_then(|x| Rows::of(Product::Bf16, &x)));
        let (x_rows, dy_rows) = (x?, dy?);
        let name = format!("linear Bf16 {rows} x {out} x {inner}, weights {weights}");
        let mut products = group(c, &name, Work::Arithmetic(2 * rows * out * inner));
        products.bench_function("forward", |b| b.iter(|| black_box(w.forward(&x_rows))));
        products.bench_function("backward", |b| b.iter(|| black_box(w.backward(&dy_rows))));
        products.finish();

        let w = matrix([VOCAB, N_EMBD], Product::F32)?.0.held_as(weights)?;
        let row = Rows::of(Product::F32, &one)?;
        group(
            c,
            &format!("linear F32, one row, weights {weights}"),
            bytes(w.bytes(), 4 * VOCAB),
        )
        .bench_function("fast", |b| b.iter(|| black_box(w.forward(&row))));
    }
    Ok(())
}

/// Two sequences of 128 rows, since the reference keeps the state of every token.
fn recurrence(c: &mut Criterion) -> Result<()> {
    let offsets = Offsets::from_lengths([128; 2]);
    let [r, k, v, dy] = tensors(&[offsets.rows(), N_EMBD])?;
    let state = random(&[N_HEAD, HEAD_SIZE, HEAD_SIZE])?;
    let wkv = Wkv {
        decay: Tensor::rand(0.5f32, 0.99, (N_HEAD, HEAD_SIZE), &Device::Cpu)?,
        bonus: random(&[N_HEAD, HEAD_SIZE])?,
    };
    let vars = (var(&r)?, var(&k)?, var(&v)?, var(&state)?);
    let reference = |[r, k, v]: [&Tensor; 3], state: &Tensor| {
        wkv::reference::forward([r, k, v], state, &wkv.decay, &wkv.bonus, &offsets)
    };
    let (y, _) = reference([&vars.0, &vars.1, &vars.2], &vars.3)?;
    let loss = loss(&y, &dy)?;

    // A number of S takes five operations a token: two in y, three in the next S. Backward S and G
    // take twelve.
    let numbers = offsets.rows() * N_HEAD * HEAD_SIZE * HEAD_SIZE;
    compare(
        c,
        "wkv, forward",
        Work::Arithmetic(5 * numbers),
        || wkv.forward([&r, &k, &v], &state, &offsets),
        || reference([&r, &k, &v], &state),
    );
    compare(
        c,
        "wkv, backward",
        Work::Arithmetic(12 * numbers),
        || wkv.backward(&dy, [&r, &k, &v], &state, &offsets, Product::F32),
        || loss.backward(),
    );
    Ok(())
}

/// Norm alone, and before the token shift of four products.
fn norms(c: &mut Criterion) -> Result<()> {
    let [x, dy, d_out, _] = tensors(&[ROWS, N_EMBD])?;
    let norm = random_norm(1)?;
    let x_var = var(&x)?;
    let numbers = ROWS * N_EMBD;

    let normal = |x: &Tensor| reference_norm(&norm, x);
    let y_loss = loss(&normal(&x_var)?, &dy)?;
    compare(
        c,
        "norm, forward",
        bytes(4 * numbers, 4 * numbers),
        || norm.forward(&x),
        || normal(&x),
    );
    compare(
        c,
        "norm, backward",
        bytes(2 * 4 * numbers, 4 * numbers),
        || norm.backward(&dy, &x),
        || y_loss.backward(),
    );

    let offsets = Offsets::from_lengths([ROWS / 8; 8]);
    let first = random(&[N_EMBD])?;
    let mixes = tensors(&[N_EMBD])?;
    let mixes = mixes.each_ref();
    let shift = TokenShift {
        norm: &norm,
        mixes: mixes.to_vec(),
        offsets: &offsets,
    };
    let d_mixed = tensors(&[ROWS, N_EMBD])?;
    let shifted = |x: &Tensor, first: &Tensor| -> Result<Vec<Tensor>> {
        let normal = normal(x)?;
        mixes
            .iter()
            .map(|mix| token_shift::reference::forward(&normal, first, mix, &offsets))
            .collect()
    };
    let mut shift_loss = loss(&x_var, &d_out)?;
    for (mixed, d) in shifted(&x_var, var(&first)?.as_tensor())?
        .iter()
        .zip(&d_mixed)
    {
        shift_loss = (shift_loss + loss(mixed, d)?)?;
    }
    compare(
        c,
        "norm and token shift, forward",
        bytes(4 * numbers, 4 * 2 * numbers),
        || shift.forward(&x, &first, Product::Bf16),
        || shifted(&x, &first),
    );
    compare(
        c,
        "norm and token shift, backward",
        bytes((2 + 4) * 4 * numbers, 4 * numbers),
        || shift.backward(&x, &d_out, &d_mixed),
        || shift_loss.backward(),
    );
    Ok(())
}

/// Each on the way to a product, or from one.
fn all_gates(c: &mut Criterion) -> Result<()> {
    let product = Product::Bf16;
    let [a, b, x, dz] = tensors(&[ROWS, N_EMBD])?;
    let (a_var, b_var) = (var(&a)?, var(&b)?);
    let numbers = ROWS * N_EMBD;

    let norm = random_norm(N_HEAD)?;
    let silu = |y: &Tensor, g: &Tensor| gates::reference::silu_mul(&reference_norm(&norm, y)?, g);
    let silu_loss = loss(&silu(&a_var, &b_var)?, &dz)?;
    compare(
        c,
        "norm and silu, forward",
        bytes(2 * 4 * numbers, 2 * numbers),
        || gates::norm_silu(&norm, &a, Some(&b), product),
        || silu(&a, &b),
    );
    compare(
        c,
        "norm and silu, backward",
        bytes(3 * 4 * numbers, (4 + 2) * numbers),
        || gates::norm_silu_backward(&norm, &dz, &a, &b, product),
        || silu_loss.backward(),
    );

    let sigmoid_loss = loss(&gates::reference::sigmoid_mul(&a_var, &b_var)?, &dz)?;
    compare(
        c,
        "sigmoid gate, forward",
        bytes(3 * 4 * numbers, 4 * numbers),
        || gates::sigmoid_mul_onto(&x, &a, &b),
        || &x + gates::reference::sigmoid_mul(&a, &b)?,
    );
    compare(
        c,
        "sigmoid gate, backward",
        bytes(3 * 4 * numbers, 2 * 2 * numbers),
        || gates::sigmoid_mul_backward(&dz, &a, &b, product),
        || sigmoid_loss.backward(),
    );

    let [k, dz, ..] = tensors(&[ROWS, N_FFN])?;
    let relu_loss = loss(&gates::reference::relu_squared(var(&k)?.as_tensor())?, &dz)?;
    let numbers = ROWS * N_FFN;
    compare(
        c,
        "squared relu, forward",
        bytes(4 * numbers, 2 * numbers),
        || gates::relu_squared(&k, product),
        || gates::reference::relu_squared(&k),
    );
    compare(
        c,
        "squared relu, backward",
        bytes(2 * 4 * numbers, 2 * numbers),
        || gates::relu_squared_backward(&dz, &k, product),
        || relu_loss.backward(),
    );
    Ok(())
}

/// Loss and gradient at once, in both.
fn losses(c: &mut Criterion) -> Result<()> {
    let logits = random(&[SCORED, VOCAB])?;
    let logits_var = var(&logits)?;
    let targets = vec![7; SCORED];
    compare(
        c,
        "cross-entropy",
        bytes(4 * SCORED * VOCAB, 2 * SCORED * VOCAB),
        || cross_entropy::loss_and_gradient(&logits, &targets, 1.0, Product::Bf16),
        || cross_entropy::reference::loss(&logits_var, &targets)?.backward(),
    );
    Ok(())
}

fn tensors(shape: &[usize]) -> Result<[Tensor; 4]> {
    Ok([
        random(shape)?,
        random(shape)?,
        random(shape)?,
        random(shape)?,
    ])
}

fn random_norm(groups: usize) -> Result<Norm> {
    Ok(Norm {
        weight: random(&[N_EMBD])?,
        bias: random(&[N_EMBD])?,
        groups,
        eps: EPS,
    })
}

fn reference_norm(norm: &Norm, x: &Tensor) -> Result<Tensor> {
    let eps = f64::from(norm.eps);
    norm::reference::forward(x, norm.groups, &norm.weight, &norm.bias, eps)
}

fn all() -> Result<()> {
    let mut c = Criterion::default()
        .sample_size(10)
        .warm_up_time(std::time::Duration::from_millis(500))
        .measurement_time(std::time::Duration::from_secs(2))
        .configure_from_args();
    print_roofs();
    large_products(&mut c)?;
    products(&mut c)?;
    recurrence(&mut c)?;
    norms(&mut c)?;
    all_gates(&mut c)?;
    losses(&mut c)?;
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
