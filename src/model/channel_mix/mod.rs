//! Channel-mix, the half of a block that looks at one row and the row before it, in each version of
//! RWKV. As with [`time_mix`](super::time_mix), this enum hands every call on.

mod v5;
mod v7;

use anyhow::Result;
use candle_core::Tensor;

use super::weights::ModelFile;
use super::{Config, Version};
use crate::ops::{Compute, Offsets};

/// The frozen weights of one layer's channel-mix.
pub enum ChannelMix {
    V5(v5::ChannelMix),
    V7(v7::ChannelMix),
}

/// What the backward pass needs of a forward pass.
pub enum Kept {
    V5(v5::Kept),
    V7(v7::Kept),
}

impl ChannelMix {
    /// Layer `i` of a file.
    pub fn load(file: &ModelFile, config: &Config, i: usize, compute: &Compute) -> Result<Self> {
        match config.version {
            Version::V5_0 | Version::V5_1 | Version::V5_2 => {
                v5::ChannelMix::load(file, config, i, compute).map(Self::V5)
            }
            Version::V7 => v7::ChannelMix::load(file, config, i, compute).map(Self::V7),
        }
    }

    /// Bytes that the matrices take in memory.
    pub fn bytes(&self) -> usize {
        match self {
            Self::V5(mix) => mix.bytes(),
            Self::V7(mix) => mix.bytes(),
        }
    }

    /// x `[N, C]`, each sequence starting from `shift` `[C]`, to (x plus the channel-mix of it,
    /// what the backward pass needs, the shift after each sequence `[sequences, C]`).
    pub fn forward(
        &self,
        x: &Tensor,
        shift: &Tensor,
        offsets: &Offsets,
    ) -> Result<(Tensor, Kept, Tensor)> {
        match self {
            Self::V5(mix) => {
                let (out, kept, ends) = mix.forward(x, shift, offsets)?;
                Ok((out, Kept::V5(kept), ends))
            }
            Self::V7(mix) => {
                let (out, kept, ends) = mix.forward(x, shift, offsets)?;
                Ok((out, Kept::V7(kept), ends))
            }
        }
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
        match (self, kept) {
            (Self::V5(mix), Kept::V5(kept)) => mix.backward(d_out, x, kept, offsets),
            (Self::V7(mix), Kept::V7(kept)) => mix.backward(d_out, x, kept, offsets),
            (Self::V5(_), Kept::V7(_)) | (Self::V7(_), Kept::V5(_)) => {
                unreachable!("kept by the layer's own forward pass")
            }
        }
    }
}

impl Kept {
    /// Bytes that it takes in memory.
    pub fn bytes(&self) -> usize {
        match self {
            Self::V5(kept) => kept.bytes(),
            Self::V7(kept) => kept.bytes(),
        }
    }

    /// What [`Self::bytes`] is for each row.
    pub fn bytes_per_row(config: &Config, compute: &Compute) -> usize {
        match config.version {
            Version::V5_0 | Version::V5_1 | Version::V5_2 => {
                v5::Kept::bytes_per_row(config, compute)
            }
            Version::V7 => v7::Kept::bytes_per_row(config, compute),
        }
    }
}
