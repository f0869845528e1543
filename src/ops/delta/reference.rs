//! The recurrence one token at a time, differentiable by candle.

use candle_core::{D, Result, Tensor};

use super::{DeltaInputs, Offsets};

/// (y `[N, C]`, q `[N, H]`, end states `[sequences, H, K, K]`) of inputs `[N, C]`, state `[H, K,
/// K]`, w0 `[C]` and r_k `[H, K]`.
pub fn forward(
    x: DeltaInputs,
    state: &Tensor,
    decay: &Tensor,
    bonus: &Tensor,
    offsets: &Offsets,
) -> Result<(Tensor, Tensor, Tensor)> {
    let (n_head, head_size) = bonus.dims2()?;
    let s = x.w.broadcast_add(decay)?.neg()?.exp()?;
    let w = ((s + 1.0)?.recip()? * -(-0.5f64).exp())?.exp()?;
    let (mut ys, mut ends) = (Vec::new(), Vec::new());
    for range in offsets.ranges() {
        let mut s = state.clone();
        for t in range {
            let row = |x: &Tensor| x.get(t)?.reshape((n_head, 1, head_size));
            let column = |x: &Tensor| x.get(t)?.reshape((n_head, head_size, 1));
            let sa = row(x.kk)?.matmul(&s)?.neg()?;
            let b = (column(x.kk)? * column(x.alpha)?)?;
            let added = (b.matmul(&sa)? + column(x.k)?.matmul(&row(x.v)?)?)?;
            s = (s.broadcast_mul(&column(&w)?)? + added)?;
            ys.push(row(x.r)?.matmul(&s)?.reshape((1, n_head * head_size))?);
        }
        ends.push(s);
    }
    let heads = (offsets.rows(), n_head, head_size);
    let q = (x.r * x.k)?.reshape(heads)?.broadcast_mul(bonus)?;
    Ok((
        Tensor::cat(&ys, 0)?,
        q.sum(D::Minus1)?,
        Tensor::stack(&ends, 0)?,
    ))
}
