//! The whole program on the small model of this repository: a step of training, a token of an
//! answer, tokenising, and opening a model.
//!
//! ```sh
//! cargo bench --bench model
//! ```
//!
//! Steps are counted in rows, tokenising in bytes.

use std::hint::black_box;
use std::path::{Path, PathBuf};

use anyhow::Result;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use state_tune::data::{Formats, dataset};
use state_tune::model::{Batch, FirstRow, Intermediates, ModelFile, Rwkv, State};
use state_tune::ops::cpu::buffers;
use state_tune::ops::linear::ProductType;
use state_tune::tokenizer::Tokenizer;

/// `ops::cpu::buffers` says why.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn tiny(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("examples/tiny")
        .join(file)
}

fn all(c: &mut Criterion) {
    buffers::keep();
    model(c).expect("the small model works");
}

fn model(c: &mut Criterion) -> Result<()> {
    let examples = dataset::read(&tiny("train.jsonl"), &Formats::default())?.examples;
    let batch = Batch::pack(&examples[..64], FirstRow::Token);
    let checkpoint = ModelFile::open(&tiny("model.pth"))?;

    let mut group = c.benchmark_group("step");
    group.sample_size(20);
    group.throughput(Throughput::Elements(batch.tokens.len() as u64));
    for product in [ProductType::F32, ProductType::Bf16] {
        let model = Rwkv::load(&checkpoint, product)?;
        let state = State::zeros(model.config())?;
        for intermediates in [Intermediates::Keep, Intermediates::Recompute] {
            group.bench_function(format!("{product:?} {intermediates:?}"), |b| {
                b.iter(|| {
                    let scale = 1.0 / batch.targets.len() as f64;
                    black_box(model.loss_and_gradient(&batch, &state, intermediates, scale))
                });
            });
        }
    }
    group.finish();

    let model = Rwkv::load(&checkpoint, ProductType::F32)?;
    let state = State::zeros(model.config())?;
    let mut group = c.benchmark_group("answer");
    group.throughput(Throughput::Elements(1));
    group.bench_function("one token", |b| {
        b.iter(|| black_box(model.advance(&[261], &state)));
    });
    group.finish();

    let text = std::fs::read_to_string(tiny("train.jsonl"))?;
    let mut group = c.benchmark_group("tokenizer");
    group.throughput(Throughput::Bytes(text.len() as u64));
    group.bench_function("encode", |b| {
        b.iter(|| black_box(Tokenizer::world().encode(&text)));
    });
    group.finish();

    let mut group = c.benchmark_group("load");
    group.sample_size(20);
    group.bench_function("a deflated model", |b| {
        b.iter(|| black_box(ModelFile::open(&tiny("model.pth"))));
    });
    group.finish();
    Ok(())
}

criterion_group!(benches, all);
criterion_main!(benches);
