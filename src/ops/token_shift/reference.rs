//! Token shift as the definition reads, sequence by sequence, differentiable by candle.

use candle_core::{Result, Tensor};

use super::Offsets;

/// a `[N, C]`, already normal; first and mix `[C]`; to `[N, C]`.
pub fn forward(a: &Tensor, first: &Tensor, mix: &Tensor, offsets: &Offsets) -> Result<Tensor> {
    let mut previous = Vec::new();
    for range in offsets.ranges() {
        previous.push(first.unsqueeze(0)?);
        if range.len() > 1 {
            previous.push(a.narrow(0, range.start, range.len() - 1)?);
        }
    }
    let previous = Tensor::cat(&previous, 0)?;
    a.broadcast_mul(mix)? + previous.broadcast_mul(&(1.0 - mix)?)?
}
