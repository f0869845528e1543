//! The value residual as the definition reads, differentiable by candle.

use candle_core::{Result, Tensor};

/// v of nu, v_first and gate `[N, C]`, and v0 `[C]`.
pub fn forward(nu: &Tensor, v_first: &Tensor, gate: &Tensor, bias: &Tensor) -> Result<Tensor> {
    let beta = (gate.broadcast_add(bias)?.neg()?.exp()? + 1.0)?.recip()?;
    nu + ((v_first - nu)? * beta)?
}
