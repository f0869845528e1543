//! The channel-mix of RWKV-5: two products around a squared relu, times the sigmoid of a third.

use anyhow::Result;
use candle_core::Tensor;

use crate::model::weights::ModelFile;
use crate::model::{Config, bytes, layer_norm};
use crate::ops::linear::Matrix;
use crate::ops::norm::Norm;
use crate::ops::token_shift::{Shifted, TokenShift};
use crate::ops::{Compute, Offsets, gates};

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

impl Kept {
    /// Bytes that it takes in memory.
    pub fn bytes(&self) -> usize {
        let Self { k, r, v } = self;
        [k, r, v].map(bytes).iter().sum()
    }

    /// What [`Self::bytes`] is for each row.
    pub fn bytes_per_row(config: &Config, compute: &Compute) -> usize {
        let &Config { n_embd, n_ffn, .. } = config;
        compute.sensitive_activations().size_in_bytes() * n_embd
            + compute.activations().size_in_bytes() * (n_ffn + n_embd)
    }
}

impl ChannelMix {
    /// Layer `i` of a file.
    pub fn load(file: &ModelFile, config: &Config, i: usize, compute: &Compute) -> Result<Self> {
        let &Config { n_embd, n_ffn, .. } = config;
        let name = |rest: &str| format!("blocks.{i}.ffn.{rest}");
        Ok(Self {
            ln: layer_norm(file, &format!("blocks.{i}.ln2"), n_embd, compute)?,
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

    /// x `[N, C]`, each sequence starting from `shift` `[C]`, to (x plus the channel-mix of it,
    /// what the backward pass needs, the shift after each sequence `[sequences, C]`).
    pub fn forward(
        &self,
        x: &Tensor,
        shift: &Tensor,
        offsets: &Offsets,
    ) -> Result<(Tensor, Kept, Tensor)> {
        let product = self.value.product();
        let Shifted { mixed, ends } = self.shift(offsets).forward(x, shift, product)?;
        let k = self.key.forward(&mixed[0])?;
        let r = self.receptance.forward_sensitive(&mixed[1])?;
        let v = self.value.forward(&gates::relu_squared(&k, product)?)?;
        let out = gates::sigmoid_mul_onto(x, &r, &v)?;
        Ok((out, Kept { k, r, v }, ends))
    }

    /// (dx `[N, C]`, the shift's gradient `[C]`) from the output's gradient and the forward's
    /// inputs.
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
        self.shift(offsets)
            .backward(x, d_out, &d_mixed)
            .map_err(Into::into)
    }

    fn shift<'a>(&'a self, offsets: &'a Offsets) -> TokenShift<'a> {
        TokenShift {
            norm: &self.ln,
            mixes: vec![&self.mix_k, &self.mix_r],
            offsets,
        }
    }
}
