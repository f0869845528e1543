//! The products as candle computes them from a whole matrix.

use candle_core::{Result, Tensor};

/// x W', `[N, out]`.
pub fn forward(x: &Tensor, w: &Tensor) -> Result<Tensor> {
    x.matmul(&w.t()?)
}

/// dy W, `[N, in]`.
pub fn backward(dy: &Tensor, w: &Tensor) -> Result<Tensor> {
    dy.matmul(w)
}
