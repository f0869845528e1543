//! The channel-mix of RWKV-7: two products around a squared relu.

use anyhow::Result;
use candle_core::Tensor;

use crate::model::weights::ModelFile;
use crate::model::{Config, bytes, layer_norm, shift_mix};
use crate::ops::linear::{Matrix, Rows};
use crate::ops::norm::Norm;
use crate::ops::token_shift::{Shifted, TokenShift};
use crate::ops::{Compute, Offsets, gates};

/// The frozen weights of one layer's channel-mix.
pub struct ChannelMix {
    ln: Norm,
    /// `[C]`.
    mix: Tensor,
    key: Matrix,
    value: Matrix,
}

/// What the backward pass needs of a forward pass.
pub struct Kept {
    /// Before its relu, `[N, F]`.
    k: Tensor,
}

impl Kept {
    /// Bytes that it takes in memory.
    pub fn bytes(&self) -> usize {
        let Self { k } = self;
        bytes(k)
    }

    /// What [`Self::bytes`] is for each row.
    pub fn bytes_per_row(config: &Config, compute: &Compute) -> usize {
        compute.activations().size_in_bytes() * config.n_ffn
    }
}

impl ChannelMix {
    /// Layer `i` of a file.
    pub fn load(file: &ModelFile, config: &Config, i: usize, compute: &Compute) -> Result<Self> {
        let &Config { n_embd, n_ffn, .. } = config;
        let name = |rest: &str| format!("blocks.{i}.ffn.{rest}");
        Ok(Self {
            ln: layer_norm(file, &format!("blocks.{i}.ln2"), n_embd, compute)?,
            mix: shift_mix(file, &name("x_k"), n_embd, compute)?,
            key: file.matrix(&name("key.weight"), [n_ffn, n_embd], compute)?,
            value: file.matrix(&name("value.weight"), [n_embd, n_ffn], compute)?,
        })
    }

    /// Bytes that the matrices take in memory.
    pub fn bytes(&self) -> usize {
        self.key.bytes() + self.value.bytes()
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
        drop(mixed);
        let z = gates::relu_squared(&k, product)?;
        Ok((self.value.forward_onto(x, &z)?, Kept { k }, ends))
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
        let dz = self.value.backward(&Rows::of(product, d_out)?)?;
        let dk = gates::relu_squared_backward(&dz, &kept.k, product)?;
        let d_mixed = [self.key.backward(&dk)?];
        Ok(self.shift(offsets).backward(x, d_out, &d_mixed)?)
    }

    fn shift<'a>(&'a self, offsets: &'a Offsets) -> TokenShift<'a> {
        TokenShift {
            norm: &self.ln,
            mixes: vec![&self.mix],
            offsets,
        }
    }
}
