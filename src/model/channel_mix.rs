//! Channel-mix, the half of a block that looks at one row and the row before it: two products around a squared relu.

use anyhow::Result;
use candle_core::Tensor;

use super::Config;
use super::weights::ModelFile;
use crate::ops::linear::Matrix;
use crate::ops::norm::Norm;
use crate::ops::{Compute, Offsets, gates, token_shift};

/// The frozen weights of one layer's channel-mix.
pub struct ChannelMix {
    ln: Norm,
    mix_k: Tensor,
    mix_r: Tensor,
    key: Matrix,
    receptance: Matrix,
    value: Matrix,
}

/// What the backward pass needs of a forward pass.
pub struct Kept {
    /// Before its relu, `[N, F]`.
    k: Tensor,
    /// Before its sigmoid, `[N, C]`.
    r: Tensor,
    /// `[N, C]`.
    v: Tensor,
}

/// Numbers of [`Kept`] for each channel of each row: r, and the others, beside one for each of the F
/// inner channels.
pub const KEPT_SENSITIVE: usize = 1;
pub const KEPT: usize = 1;

impl ChannelMix {
    /// Layer `i` of a file.
    pub fn load(file: &ModelFile, config: &Config, i: usize, compute: &Compute) -> Result<Self> {
        let &Config { n_embd, n_ffn, .. } = config;
        let name = |rest: &str| format!("blocks.{i}.ffn.{rest}");
        Ok(Self {
            ln: super::layer_norm(file, &format!("blocks.{i}.ln2"), n_embd, compute)?,
            mix_k: file.vector(&name("time_mix_k"), n_embd, compute)?,
            mix_r: file.vector(&name("time_mix_r"), n_embd, compute)?,
            key: file.matrix(&name("key.weight"), [n_ffn, n_embd], compute)?,
            receptance: file.matrix(&name("receptance.weight"), [n_embd, n_embd], compute)?,
            value: file.matrix(&name("value.weight"), [n_embd, n_ffn], compute)?,
        })
    }

    /// Bytes that the matrices take in memory.
    pub fn bytes(&self) -> usize {
        self.key.bytes() + self.receptance.bytes() + self.value.bytes()
    }

    /// x `[N, C]`, each sequence starting from `shift` `[C]`, to (x plus the channel-mix of it, kept, the last row of
    /// each sequence `[sequences, C]`).
    pub fn forward(
        &self,
        x: &Tensor,
        shift: &Tensor,
        offsets: &Offsets,
    ) -> Result<(Tensor, Kept, Tensor)> {
        let product = self.value.product();
        let mixed = token_shift::forward(&self.ln, x, shift, &self.mixes(), offsets, product)?;
        let k = self.key.forward(&mixed[0])?;
        let r = self.receptance.forward_sensitive(&mixed[1])?;
        let v = self.value.forward(&gates::relu_squared(&k, product)?)?;
        let out = gates::sigmoid_mul_onto(x, &r, &v)?;
        Ok((
            out,
            Kept { k, r, v },
            token_shift::last(&self.ln, x, offsets)?,
        ))
    }

    /// (dx `[N, C]`, the shift's gradient `[C]`) from the output's gradient and the forward's inputs.
    pub fn backward(
        &self,
        d_out: &Tensor,
        x: &Tensor,
        kept: &Kept,
        offsets: &Offsets,
    ) -> Result<(Tensor, Tensor)> {
        let product = self.value.product();
        let [dr, dv] = gates::sigmoid_mul_backward(d_out, &kept.r, &kept.v, product)?;
        let dk = gates::relu_squared_backward(&self.value.backward(&dv)?, &kept.k, product)?;
        let d_mixed = [self.key.backward(&dk)?, self.receptance.backward(&dr)?];
        token_shift::backward(&self.ln, x, d_out, &d_mixed, &self.mixes(), offsets)
            .map_err(Into::into)
    }

    fn mixes(&self) -> [&Tensor; 2] {
        [&self.mix_k, &self.mix_r]
    }
}
