//! The gates on a card that look at one number at a time; those with a norm are the norm's.

use candle_core::{DType, Result, Tensor, bail};

use crate::ops::cuda::{Grid, card, int, launch, output, pointer, suffix};
use crate::ops::linear::Rows;

pub fn sigmoid_mul_onto(x: &Tensor, r: &Tensor, v: &Tensor) -> Result<Tensor> {
    let [z] = each("sigmoid_mul_onto", [x, r, v], r, DType::F32)?;
    Ok(z)
}

pub fn sigmoid_mul_backward(dz: &Tensor, r: &Tensor, v: &Tensor) -> Result<[Rows; 2]> {
    Ok(each("sigmoid_mul_backward", [dz, r, v], r, r.dtype())?.map(Rows::Card))
}

pub fn relu_squared(k: &Tensor) -> Result<Rows> {
    let [z] = each("relu_squared", [k], k, k.dtype())?;
    Ok(Rows::Card(z))
}

pub fn relu_squared_backward(dz: &Tensor, k: &Tensor) -> Result<Rows> {
    let [dk] = each("relu_squared_backward", [dz, k], k, k.dtype())?;
    Ok(Rows::Card(dk))
}

/// A kernel, named after the type of `given`, which a product gave, that makes numbers of numbers at the same place.
fn each<const IN: usize, const OUT: usize>(
    kernel: &str,
    inputs: [&Tensor; IN],
    given: &Tensor,
    dtype: DType,
) -> Result<[Tensor; OUT]> {
    let count = given.elem_count();
    if !count.is_multiple_of(8) {
        bail!(
            "the GPU's kernels take eight numbers at a time, and {:?} ends within",
            given.shape()
        );
    }
    let mut outputs = Vec::with_capacity(OUT);
    for _ in 0..OUT {
        outputs.push(output(given, given.shape(), dtype)?);
    }
    let mut args = Vec::with_capacity(IN + OUT + 1);
    for tensor in inputs.into_iter().chain(&outputs) {
        args.push(pointer(tensor)?);
    }
    args.push(int(count / 8)?);
    let kernel = format!("{kernel}_{}", suffix(given)?);
    // SAFETY: the gates take their inputs, their outputs and the number of eights; `mod.rs` checked that shapes agree.
    unsafe { launch(card(given)?, &kernel, Grid::each(count / 8), &args)? };
    Ok(std::array::from_fn(|i| outputs[i].clone()))
}
