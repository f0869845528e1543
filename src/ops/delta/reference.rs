//! The recurrence one token at a time, differentiable by candle.

use candle_core::{D, Result, Tensor};

use super::{Delta, DeltaInputs, DeltaKeys, Offsets};

/// (y `[N, C]`, q `[N, H]`, end states `[sequences, H, K, K]`) of a state `[H, K, K]`.
pub fn forward(
    delta: &Delta,
    x: DeltaInputs,
    state: &Tensor,
    offsets: &Offsets,
) -> Result<(Tensor, Tensor, Tensor)> {
    let (n_head, head_size) = delta.bonus.dims2()?;
    let s = x.w.broadcast_add(&delta.decay)?.neg()?.exp()?;
    let w = ((s + 1.0)?.recip()? * -(-0.5f64).exp())?.exp()?;
    let [kk, alpha, k] = keys(&delta.keys, [x.kappa, x.a], n_head)?;
    let (mut ys, mut ends) = (Vec::new(), Vec::new());
    for range in offsets.ranges() {
        let mut s = state.clone();
        for t in range {
            let row = |x: &Tensor| x.get(t)?.reshape((n_head, 1, head_size));
            let column = |x: &Tensor| x.get(t)?.reshape((n_head, head_size, 1));
            let sa = row(&kk)?.matmul(&s)?.neg()?;
            let b = (column(&kk)? * column(&alpha)?)?;
            let added = (b.matmul(&sa)? + column(&k)?.matmul(&row(x.v)?)?)?;
            s = (s.broadcast_mul(&column(&w)?)? + added)?;
            ys.push(row(x.r)?.matmul(&s)?.reshape((1, n_head * head_size))?);
        }
        ends.push(s);
    }
    let heads = (offsets.rows(), n_head, head_size);
    let q = (x.r * k)?.reshape(heads)?.broadcast_mul(&delta.bonus)?;
    Ok((
        Tensor::cat(&ys, 0)?,
        q.sum(D::Minus1)?,
        Tensor::stack(&ends, 0)?,
    ))
}

/// \[kk, alpha, k\] of kappa and a, `[N, C]` each.
pub fn keys(keys: &DeltaKeys, [kappa, a]: [&Tensor; 2], n_head: usize) -> Result<[Tensor; 3]> {
    let (rows, channels) = kappa.dims2()?;
    let u = kappa.broadcast_mul(&keys.removal)?;
    let heads = u.reshape((rows, n_head, channels / n_head))?;
    let length = heads
        .sqr()?
        .sum_keepdim(D::Minus1)?
        .sqrt()?
        .clamp(1e-12, f64::MAX)?;
    let kk = heads.broadcast_div(&length)?.reshape((rows, channels))?;
    let alpha = (a.broadcast_add(&keys.rate)?.neg()?.exp()? + 1.0)?.recip()?;
    let share = (&alpha - 1.0)?.broadcast_mul(&keys.share)?;
    let k = (kappa * share.affine(1.0, 1.0)?)?;
    Ok([kk, alpha, k])
}
