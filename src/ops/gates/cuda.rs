//! The gates on a card that look at one number at a time; those with a norm are the norm's.

use candle_core::{Result, Tensor};

use crate::ops::cuda::{Arg, Grid, card, launch, output, packs, pointer, suffix};
use crate::ops::linear::Rows;

pub fn sigmoid_mul_onto(x: &Tensor, r: &Tensor, v: &Tensor) -> Result<Tensor> {
    let [z] = each("sigmoid_mul_onto", [x, r, v])?;
    Ok(z)
}

pub fn sigmoid_mul_backward(dz: &Tensor, r: &Tensor, v: &Tensor) -> Result<[Rows; 2]> {
    Ok(each("sigmoid_mul_backward", [dz, r, v])?.map(Rows::Card))
}

pub fn relu_squared(k: &Tensor) -> Result<Rows> {
    let [z] = each("relu_squared", [k])?;
    Ok(Rows::Card(z))
}

pub fn relu_squared_backward(dz: &Tensor, k: &Tensor) -> Result<Rows> {
    let [dk] = each("relu_squared_backward", [dz, k])?;
    Ok(Rows::Card(dk))
}

/// A kernel that makes numbers of numbers at the same place.
fn each<const IN: usize, const OUT: usize>(
    kernel: &str,
    inputs: [&Tensor; IN],
) -> Result<[Tensor; OUT]> {
    let like = inputs[0];
    let mut outputs = Vec::with_capacity(OUT);
    for _ in 0..OUT {
        outputs.push(output(like, like.shape(), like.dtype())?);
    }
    let packs = packs(like)?;
    let mut args = Vec::with_capacity(IN + OUT + 1);
    for tensor in inputs.into_iter().chain(&outputs) {
        args.push(pointer(tensor)?);
    }
    args.push(Arg::Long(packs as i64));
    let kernel = format!("{kernel}_{}", suffix(like)?);
    // SAFETY: the gates take their inputs, their outputs and the number of packs; `mod.rs` checked that shapes agree.
    unsafe { launch(card(like)?, &kernel, Grid::each(packs), &args)? };
    Ok(std::array::from_fn(|i| outputs[i].clone()))
}
