//! Time-mix, the half of a block that looks along the sequence, in each version of RWKV.
//!
//! The versions differ in their maths, and each has a file. What they have in common is what a
//! block needs of them: this enum hands every call on.

mod v5;

use anyhow::Result;
use candle_core::Tensor;

use super::weights::ModelFile;
use super::{Carried, Config, LayerState, Version};
use crate::ops::{Compute, Offsets};

/// Of the norm after the WKV: 1e-5 * 8^2, the release's `head_size_divisor` squared.
const LN_X_EPS: f32 = 64e-5;

/// The frozen weights of one layer's time-mix.
pub enum TimeMix {
    V5(v5::TimeMix),
}

/// What the backward pass needs of a forward pass.
pub enum Kept {
    V5(v5::Kept),
}

/// The gradients of what a time-mix starts from.
pub struct StartGradients {
    /// `[C]`.
    pub shift: Tensor,
    /// `[H, K, K]` as \[key, value\].
    pub wkv: Tensor,
}

impl TimeMix {
    /// Layer `i` of a file.
    pub fn load(file: &ModelFile, config: &Config, i: usize, compute: &Compute) -> Result<Self> {
        match config.version {
            Version::V5_0 | Version::V5_1 | Version::V5_2 => {
                v5::TimeMix::load(file, config, i, compute).map(Self::V5)
            }
        }
    }

    /// Bytes that the matrices take in memory.
    pub fn bytes(&self) -> usize {
        match self {
            Self::V5(mix) => mix.bytes(),
        }
    }

    /// Adds the time-mix of `input` to it. Gives back too what the backward pass needs, and the
    /// matrices after each sequence, `[sequences, H, K, K]`: the recurrence ends with them in any
    /// case.
    pub fn forward(
        &self,
        input: &Carried,
        start: &LayerState,
        offsets: &Offsets,
    ) -> Result<(Carried, Kept, Tensor)> {
        match self {
            Self::V5(mix) => {
                let (x, kept, wkv) =
                    mix.forward(&input.x, &start.att_shift, &start.wkv, offsets)?;
                Ok((Carried { x }, Kept::V5(kept), wkv))
            }
        }
    }

    /// The shift after each sequence of x `[N, C]`, `[sequences, C]`.
    pub fn end_shift(&self, x: &Tensor, offsets: &Offsets) -> Result<Tensor> {
        match self {
            Self::V5(mix) => mix.end_shift(x, offsets),
        }
    }

    /// The gradients of the forward's input and of `start`, from its output's.
    pub fn backward(
        &self,
        d_out: &Carried,
        input: &Carried,
        kept: &Kept,
        start: &LayerState,
        offsets: &Offsets,
    ) -> Result<(Carried, StartGradients)> {
        match (self, kept) {
            (Self::V5(mix), Kept::V5(kept)) => {
                let (x, start) = mix.backward(&d_out.x, &input.x, kept, &start.wkv, offsets)?;
                Ok((Carried { x }, start))
            }
        }
    }
}

impl Kept {
    /// Bytes that it takes in memory.
    pub fn bytes(&self) -> usize {
        match self {
            Self::V5(kept) => kept.bytes(),
        }
    }

    /// What [`Self::bytes`] is for each row.
    pub fn bytes_per_row(config: &Config, compute: &Compute) -> usize {
        match config.version {
            Version::V5_0 | Version::V5_1 | Version::V5_2 => {
                v5::Kept::bytes_per_row(config, compute)
            }
        }
    }
}
