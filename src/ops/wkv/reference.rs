//! The recurrence one token at a time, differentiable by candle.

use candle_core::{Result, Tensor};

use super::Offsets;

/// (y `[N, C]`, end states `[sequences, H, K, K]`); r, k, v `[N, C]`, state `[H, K, K]`, decay and
/// bonus `[H, K]`.
pub fn forward(
    [r, k, v]: [&Tensor; 3],
    state: &Tensor,
    decay: &Tensor,
    bonus: &Tensor,
    offsets: &Offsets,
) -> Result<(Tensor, Tensor)> {
    let (n_head, head_size) = decay.dims2()?;
    let (decay, bonus) = (decay.unsqueeze(2)?, bonus.unsqueeze(2)?);
    let (mut ys, mut ends) = (Vec::new(), Vec::new());
    for range in offsets.ranges() {
        let mut s = state.clone();
        for t in range {
            let r = r.get(t)?.reshape((n_head, 1, head_size))?;
            let k = k.get(t)?.reshape((n_head, head_size, 1))?;
            let v = v.get(t)?.reshape((n_head, 1, head_size))?;
            let kv = k.matmul(&v)?;
            ys.push(
                r.matmul(&(&s + kv.broadcast_mul(&bonus)?)?)?
                    .reshape((1, n_head * head_size))?,
            );
            s = (s.broadcast_mul(&decay)? + kv)?;
        }
        ends.push(s);
    }
    Ok((Tensor::cat(&ys, 0)?, Tensor::stack(&ends, 0)?))
}
