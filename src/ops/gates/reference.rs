//! The gates as the definitions read, differentiable by candle.

use candle_core::{Result, Tensor};

/// y * silu(g), all `[N, C]`.
pub fn silu_mul(y: &Tensor, g: &Tensor) -> Result<Tensor> {
    (y * g)? * sigmoid(g)?
}

/// sigmoid(r) * v, all `[N, C]`.
pub fn sigmoid_mul(r: &Tensor, v: &Tensor) -> Result<Tensor> {
    sigmoid(r)? * v
}

/// max(k, 0)^2, `[N, F]`.
pub fn relu_squared(k: &Tensor) -> Result<Tensor> {
    k.relu()?.sqr()
}

fn sigmoid(x: &Tensor) -> Result<Tensor> {
    (x.neg()?.exp()? + 1.0)?.recip()
}
