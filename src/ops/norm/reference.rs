//! Normalisation as the definition reads, differentiable by candle.

use candle_core::{D, Result, Tensor};

/// x, y `[N, C]`; weight and bias `[C]`.
pub fn forward(
    x: &Tensor,
    groups: usize,
    weight: &Tensor,
    bias: &Tensor,
    eps: f64,
) -> Result<Tensor> {
    let (rows, channels) = x.dims2()?;
    let x = x.reshape((rows, groups, channels / groups))?;
    let centred = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
    let variance = centred.sqr()?.mean_keepdim(D::Minus1)?;
    let normal = centred.broadcast_div(&(variance + eps)?.sqrt()?)?;
    normal
        .reshape((rows, channels))?
        .broadcast_mul(weight)?
        .broadcast_add(bias)
}
