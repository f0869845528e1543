//! Adam on a card.

use candle_core::{DType, Result, Tensor, Var};

use super::{Adam, EPS, Moments};
use crate::ops::cuda::{Arg, Grid, card, int, launch, output, pointer};

/// Blocks that sum squares, each its own part.
const PARTS: usize = 256;

pub fn step(
    adam: &Adam,
    var: &Var,
    moments: &Moments,
    gradient: &Tensor,
    learning_rate: f64,
    step: usize,
) -> Result<()> {
    let &Adam {
        beta1,
        beta2,
        weight_decay,
    } = adam;
    let step = i32::try_from(step).unwrap_or(i32::MAX);
    let float = |x: f64| Arg::Float(x as f32);
    let count = var.elem_count();
    let args = [
        pointer(var)?,
        pointer(&moments.first)?,
        pointer(&moments.second)?,
        pointer(gradient)?,
        float(beta1),
        float(beta2),
        float(learning_rate),
        float(1.0 - learning_rate * weight_decay),
        float(1.0 / (1.0 - beta1.powi(step))),
        float(1.0 / (1.0 - beta2.powi(step))),
        float(EPS),
        int(count)?,
    ];
    // SAFETY: the kernel's arguments, all four tensors of one shape. It writes to the variable and the moments, which
    // are the learner's own.
    unsafe { launch(card(var)?, "adam", Grid::each(count), &args) }
}

pub fn sum_of_squares(tensor: &Tensor) -> Result<f64> {
    let parts = output(tensor, PARTS, DType::F64)?;
    let args = [
        pointer(tensor)?,
        pointer(&parts)?,
        Arg::Long(tensor.elem_count() as i64),
    ];
    // SAFETY: the kernel's arguments; every block writes one part.
    unsafe { launch(card(tensor)?, "sum_of_squares", Grid::blocks(PARTS), &args)? };
    Ok(parts.to_vec1::<f64>()?.iter().sum())
}
