//! Every op of a block at the size of a small model: 2,048 rows in eight sequences, n_embd 768, 12 heads, ffn 2,688.
//!
//! ```sh
//! cargo bench --bench ops
//! ```
//!
//! Products are counted in arithmetic (an element is a floating-point operation), the rest in rows.

use std::hint::black_box;

use candle_core::{DType, Device, Result, Tensor};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use state_tune::ops::linear::{Element, Matrix, Product, Rows};
use state_tune::ops::norm::Norm;
use state_tune::ops::wkv::Wkv;
use state_tune::ops::{Offsets, buffers, cross_entropy, gates, token_shift};

const ROWS: usize = 2048;
const N_EMBD: usize = 768;
const N_FFN: usize = 2688;
const N_HEAD: usize = 12;
const VOCAB: usize = 65_536;
const PRODUCTS: [Product; 2] = [Product::F32, Product::Bf16];

fn random(shape: &[usize]) -> Result<Tensor> {
    Tensor::rand(-1f32, 1.0, shape, &Device::Cpu)
}

fn matrix(shape: [usize; 2], product: Product) -> Result<Matrix> {
    let numbers: Vec<half::bf16> = random(&shape)?
        .to_dtype(DType::BF16)?
        .flatten_all()?
        .to_vec1()?;
    let bytes: Vec<u8> = numbers.iter().flat_map(|x| x.to_le_bytes()).collect();
    Matrix::new(bytes.into(), Element::Bf16, shape, product)
}

fn products(c: &mut Criterion) -> Result<()> {
    let mut group = c.benchmark_group("linear");
    group.sample_size(10);
    for product in PRODUCTS {
        for (rows, [out, inner]) in [
            (ROWS, [N_EMBD, N_EMBD]),
            (ROWS, [N_FFN, N_EMBD]),
            (ROWS, [N_EMBD, N_FFN]),
            (256, [VOCAB, N_EMBD]),
        ] {
            let w = matrix([out, inner], product)?;
            let x = Rows::of(product, &random(&[rows, inner])?)?;
            let dy = Rows::of(product, &random(&[rows, out])?)?;
            group.throughput(Throughput::Elements(2 * (rows * out * inner) as u64));
            let name = format!("{product:?} {rows} x {out} x {inner}");
            group.bench_function(format!("forward {name}"), |b| {
                b.iter(|| black_box(w.forward(&x)));
            });
            group.bench_function(format!("backward {name}"), |b| {
                b.iter(|| black_box(w.backward(&dy)));
            });
        }
    }
    // Decoding: bytes of W read.
    let w = matrix([N_FFN, N_EMBD], Product::Bf16)?;
    let x = Rows::of(Product::Bf16, &random(&[1, N_EMBD])?)?;
    group.throughput(Throughput::Bytes(2 * (N_FFN * N_EMBD) as u64));
    group.bench_function("one row", |b| b.iter(|| black_box(w.forward(&x))));
    group.finish();
    Ok(())
}

fn others(c: &mut Criterion) -> Result<()> {
    let offsets = Offsets::from_lengths([ROWS / 8; 8]);
    let x = random(&[ROWS, N_EMBD])?;
    let y = random(&[ROWS, N_EMBD])?;
    let z = random(&[ROWS, N_EMBD])?;
    let vector = random(&[N_EMBD])?;
    let norm = |groups| Norm {
        weight: vector.clone(),
        bias: vector.clone(),
        groups,
        eps: 1e-5,
    };
    let mut group = c.benchmark_group("rest");
    group.sample_size(20);
    group.throughput(Throughput::Elements(ROWS as u64));

    let head_size = N_EMBD / N_HEAD;
    let wkv = Wkv {
        decay: Tensor::rand(0.5f32, 0.99, (N_HEAD, head_size), &Device::Cpu)?,
        bonus: random(&[N_HEAD, head_size])?,
    };
    let state = random(&[N_HEAD, head_size, head_size])?;
    group.bench_function("wkv forward", |b| {
        b.iter(|| black_box(wkv.forward([&x, &y, &z], &state, &offsets)));
    });
    group.bench_function("wkv backward", |b| {
        b.iter(|| black_box(wkv.backward(&x, [&x, &y, &z], &state, &offsets)));
    });

    let mixes = [&vector; 4];
    let d_mixed = [&x, &y, &z, &x].map(Clone::clone);
    let product = Product::Bf16;
    let layer_norm = norm(1);
    group.bench_function("norm and token shift forward", |b| {
        b.iter(|| {
            black_box(token_shift::forward(
                &layer_norm,
                &x,
                &vector,
                &mixes,
                &offsets,
                product,
            ))
        });
    });
    group.bench_function("norm and token shift backward", |b| {
        b.iter(|| {
            black_box(token_shift::backward(
                &layer_norm,
                &x,
                &y,
                &d_mixed,
                &mixes,
                &offsets,
            ))
        });
    });
    let ln_x = norm(N_HEAD);
    group.bench_function("norm and silu forward", |b| {
        b.iter(|| black_box(gates::norm_silu(&ln_x, &x, Some(&y), product)));
    });
    group.bench_function("norm and silu backward", |b| {
        b.iter(|| black_box(gates::norm_silu_backward(&ln_x, &z, &x, &y, product)));
    });
    group.bench_function("sigmoid gate forward", |b| {
        b.iter(|| black_box(gates::sigmoid_mul_onto(&x, &y, &z)));
    });
    group.bench_function("sigmoid gate backward", |b| {
        b.iter(|| black_box(gates::sigmoid_mul_backward(&x, &y, &z, product)));
    });
    let k = random(&[ROWS, N_FFN])?;
    group.bench_function("relu squared forward", |b| {
        b.iter(|| black_box(gates::relu_squared(&k, product)));
    });
    let logits = random(&[256, VOCAB])?;
    let targets = vec![7; 256];
    group.throughput(Throughput::Elements(256));
    group.bench_function("cross-entropy", |b| {
        b.iter(|| {
            black_box(cross_entropy::loss_and_gradient(
                &logits, &targets, 1.0, product,
            ))
        });
    });
    group.finish();
    Ok(())
}

fn all(c: &mut Criterion) {
    buffers::keep();
    products(c).expect("shapes agree");
    others(c).expect("shapes agree");
}

criterion_group!(benches, all);
criterion_main!(benches);
