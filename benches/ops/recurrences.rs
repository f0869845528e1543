//! The two recurrences, at one size: two sequences of 128 rows, since the references keep the state
//! of every token.

use candle_core::{Device, Result, Tensor};
use criterion::Criterion;
use state_tune::ops::Offsets;
use state_tune::ops::delta::{self, Delta, DeltaKeys};
use state_tune::ops::linear::ProductType;
use state_tune::ops::wkv::{self, Wkv};

use super::{HEAD_SIZE, N_EMBD, N_HEAD, Work, compare, loss, random, tensors, var};

const LENGTHS: [usize; 2] = [128; 2];

/// RWKV-5's.
pub fn wkv(c: &mut Criterion) -> Result<()> {
    let offsets = Offsets::from_lengths(LENGTHS);
    let [r, k, v, dy] = tensors(&[offsets.rows(), N_EMBD])?;
    let state = random(&[N_HEAD, HEAD_SIZE, HEAD_SIZE])?;
    let op = Wkv {
        decay: Tensor::rand(0.5f32, 0.99, (N_HEAD, HEAD_SIZE), &Device::Cpu)?,
        bonus: random(&[N_HEAD, HEAD_SIZE])?,
    };
    let vars = (var(&r)?, var(&k)?, var(&v)?, var(&state)?);
    let reference = |[r, k, v]: [&Tensor; 3], state: &Tensor| {
        wkv::reference::forward([r, k, v], state, &op.decay, &op.bonus, &offsets)
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
        || op.forward([&r, &k, &v], &state, &offsets),
        || reference([&r, &k, &v], &state),
    );
    compare(
        c,
        "wkv, backward",
        Work::Arithmetic(12 * numbers),
        || op.backward(&dy, [&r, &k, &v], &state, &offsets, ProductType::F32),
        || loss.backward(),
    );
    Ok(())
}

/// RWKV-7's.
pub fn delta(c: &mut Criterion) -> Result<()> {
    let offsets = Offsets::from_lengths(LENGTHS);
    let (rows, heads) = ([offsets.rows(), N_EMBD], [offsets.rows(), N_HEAD]);
    let [r, w, kappa, v] = tensors(&rows)?;
    let a = random(&rows)?;
    let (dy, dq) = (random(&rows)?, random(&heads)?);
    let state = random(&[N_HEAD, HEAD_SIZE, HEAD_SIZE])?;
    let op = Delta {
        decay: Tensor::rand(-7f32, 3.0, N_EMBD, &Device::Cpu)?,
        bonus: random(&[N_HEAD, HEAD_SIZE])?,
        keys: DeltaKeys {
            removal: Tensor::rand(0.4f32, 1.1, N_EMBD, &Device::Cpu)?,
            share: Tensor::rand(0.6f32, 1.2, N_EMBD, &Device::Cpu)?,
            rate: random(&[N_EMBD])?,
        },
    };
    let x = inputs([&r, &w, &kappa, &a, &v]);
    let reference =
        |x: delta::DeltaInputs, state: &Tensor| delta::reference::forward(&op, x, state, &offsets);
    let vars = [var(&r)?, var(&w)?, var(&kappa)?, var(&a)?, var(&v)?];
    let state_var = var(&state)?;
    let (y, q, _) = reference(inputs(vars.each_ref().map(|x| x.as_tensor())), &state_var)?;
    let loss = (loss(&y, &dy)? + loss(&q, &dq)?)?;
    let sa = op.forward(x, &state, &offsets)?.sa;

    // A number of S takes nine operations a token: two each in y and sa, five in the next S. A
    // number of G takes thirteen backward, and one of S nine again.
    let numbers = offsets.rows() * N_HEAD * HEAD_SIZE * HEAD_SIZE;
    compare(
        c,
        "delta, forward",
        Work::Arithmetic(9 * numbers),
        || op.forward(x, &state, &offsets),
        || reference(x, &state),
    );
    compare(
        c,
        "delta, backward",
        Work::Arithmetic(22 * numbers),
        || op.backward([&dy, &dq], x, &sa, &state, &offsets, ProductType::F32),
        || loss.backward(),
    );
    Ok(())
}

fn inputs([r, w, kappa, a, v]: [&Tensor; 5]) -> delta::DeltaInputs<'_> {
    delta::DeltaInputs { r, w, kappa, a, v }
}
