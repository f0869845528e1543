//! The output as the definition reads, differentiable by candle.

use candle_core::{Result, Tensor};

use super::DeltaOutputInputs;
use crate::ops::norm;

/// z of inputs whose heads q has, with a norm's weight and bias `[C]`.
pub fn forward(x: DeltaOutputInputs, weight: &Tensor, bias: &Tensor, eps: f64) -> Result<Tensor> {
    let ((rows, channels), (_, n_head)) = (x.y.dims2()?, x.q.dims2()?);
    let normal = norm::reference::forward(x.y, n_head, weight, bias, eps)?;
    let v = x.v.reshape((rows, n_head, channels / n_head))?;
    let own = v.broadcast_mul(&x.q.unsqueeze(2)?)?;
    (normal + own.reshape((rows, channels))?)? * x.gate
}
