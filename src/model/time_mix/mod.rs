//! Time-mix, the half of a block that looks along the sequence, in each version of RWKV.
//!
//! The versions differ in their maths, and each has a file. What they have in common is what a
//! block needs of them: this enum hands every call on.

mod v5;
mod v7;

use anyhow::Result;
use candle_core::Tensor;

use super::weights::ModelFile;
use super::{Carried, Config, LayerState, Version};
use crate::ops::{Compute, Offsets};

/// Of the norm after the recurrence: 1e-5 times the square of RWKV-5's `head_size_divisor`, 8. The
/// code of RWKV-7 has the same number, whatever the size of a head.
const LN_X_EPS: f32 = 64e-5;

/// The frozen weights of one layer's time-mix.
#[expect(
    clippy::large_enum_variant,
    reason = "a layer has one, of a kilobyte, which stays where it is"
)]
pub enum TimeMix {
    V5(v5::TimeMix),
    V7(v7::TimeMix),
}

/// What the backward pass needs of a forward pass.
pub enum Kept {
    V5(v5::Kept),
    V7(v7::Kept),
}

/// What a text that goes on starts from, of each sequence; training does not use it.
pub struct Ends {
    /// `[sequences, C]`.
    pub shift: Tensor,
    /// `[sequences, H, K, K]`.
    pub wkv: Tensor,
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
            Version::V7 => v7::TimeMix::load(file, config, i, compute).map(Self::V7),
        }
    }

    /// Bytes that the matrices take in memory.
    pub fn bytes(&self) -> usize {
        match self {
            Self::V5(mix) => mix.bytes(),
            Self::V7(mix) => mix.bytes(),
        }
    }

    /// What [`Kept::bytes`] is for each row.
    pub fn kept_per_row(&self, config: &Config, compute: &Compute) -> usize {
        match self {
            Self::V5(_) => v5::Kept::bytes_per_row(config, compute),
            Self::V7(mix) => mix.kept_per_row(config, compute),
        }
    }

    /// Adds the time-mix of `input` to it. Gives back too what the backward pass needs, and what each
    /// sequence ends with.
    pub fn forward(
        &self,
        input: &Carried,
        start: &LayerState,
        offsets: &Offsets,
    ) -> Result<(Carried, Kept, Ends)> {
        match self {
            Self::V5(mix) => {
                let (x, kept, ends) =
                    mix.forward(&input.x, &start.att_shift, &start.wkv, offsets)?;
                Ok((Carried::of(x), Kept::V5(kept), ends))
            }
            Self::V7(mix) => {
                let (out, kept, ends) = mix.forward(input, start, offsets)?;
                Ok((out, Kept::V7(kept), ends))
            }
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
                Ok((Carried::of(x), start))
            }
            (Self::V7(mix), Kept::V7(kept)) => mix.backward(d_out, input, kept, start, offsets),
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
}
