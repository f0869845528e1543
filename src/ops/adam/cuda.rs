//! Adam on a GPU.

use candle_core::{Result, Tensor, Var};

use super::{Adam, EPS, Moments};
use crate::ops::cuda::{Arg, Grid, gpu, int, launch, pointer};

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
    // SAFETY: the kernel's arguments, all four tensors of one shape. It writes to the variable and
    // the moments, which are the learner's own.
    unsafe { launch(gpu(var)?, "adam", Grid::each(count), &args) }
}
