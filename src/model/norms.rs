//! What blocks and the head take from a model's file alike.

use anyhow::Result;
use candle_core::Tensor;

use super::ModelFile;
use crate::ops::Compute;
use crate::ops::norm::Norm;

const LN_EPS: f32 = 1e-5;

/// A LayerNorm of C channels under `name`.
pub fn layer_norm(
    file: &ModelFile,
    name: &str,
    channels: usize,
    compute: &Compute,
) -> Result<Norm> {
    Ok(Norm {
        weight: file.vector(&format!("{name}.weight"), channels, compute)?,
        bias: file.vector(&format!("{name}.bias"), channels, compute)?,
        groups: 1,
        eps: LN_EPS,
    })
}

/// The mix `[C]` of a token shift, from a file of RWKV-7, which says how much of the row before is
/// taken.
pub fn shift_mix(
    file: &ModelFile,
    name: &str,
    channels: usize,
    compute: &Compute,
) -> Result<Tensor> {
    Ok((1.0 - file.vector(name, channels, compute)?)?)
}
