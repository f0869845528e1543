//! The low-rank product as the definition reads, differentiable by candle.

use candle_core::{Result, Tensor};

use super::Activation;

pub fn forward(x: &Tensor, a: &Tensor, b: &Tensor, activation: Activation) -> Result<Tensor> {
    let h = x.matmul(a)?;
    let active = match activation {
        Activation::None => h,
        Activation::Tanh => h.tanh()?,
        Activation::Sigmoid => (h.neg()?.exp()? + 1.0)?.recip()?,
    };
    active.matmul(b)
}
