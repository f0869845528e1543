//! The keys as the definition reads, differentiable by candle.

use candle_core::{D, Result, Tensor};

/// \[kk, alpha, k\] of kappa and a `[N, C]`; k_k, k_a and a0 are `[C]`.
pub fn forward(
    kappa: &Tensor,
    a: &Tensor,
    [removal, share, rate]: [&Tensor; 3],
    n_head: usize,
) -> Result<[Tensor; 3]> {
    let (rows, channels) = kappa.dims2()?;
    let u = kappa.broadcast_mul(removal)?;
    let heads = u.reshape((rows, n_head, channels / n_head))?;
    let length = heads
        .sqr()?
        .sum_keepdim(D::Minus1)?
        .sqrt()?
        .clamp(1e-12, f64::MAX)?;
    let kk = heads.broadcast_div(&length)?.reshape((rows, channels))?;
    let alpha = (a.broadcast_add(rate)?.neg()?.exp()? + 1.0)?.recip()?;
    let k = (kappa * (&alpha - 1.0)?.broadcast_mul(share)?.affine(1.0, 1.0)?)?;
    Ok([kk, alpha, k])
}
