//! Norms and gates, bound by memory.

use candle_core::{Result, Tensor};
use criterion::Criterion;
use state_tune::ops::linear::ProductType;
use state_tune::ops::norm::{self, Norm};
use state_tune::ops::token_shift::{self, TokenShift};
use state_tune::ops::{Offsets, gates};

use super::{N_EMBD, N_FFN, N_HEAD, ROWS, bytes, compare, loss, random, tensors, var};

/// Added to a variance.
const EPS: f32 = 1e-5;

/// Norm alone, and before the token shift of four products.
pub fn norms(c: &mut Criterion) -> Result<()> {
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
        || shift.forward(&x, &first, ProductType::Bf16),
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
pub fn all_gates(c: &mut Criterion) -> Result<()> {
    let product = ProductType::Bf16;
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
