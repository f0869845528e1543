//! One layer: time-mix, then channel-mix, each added to what came in.

use anyhow::Result;
use candle_core::Tensor;

use super::channel_mix::{self, ChannelMix};
use super::time_mix::{self, TimeMix};
use super::weights::ModelFile;
use super::{Config, LayerState};
use crate::ops::{Compute, Offsets};

/// The frozen weights of one layer.
pub struct Block {
    att: TimeMix,
    ffn: ChannelMix,
}

/// What the backward pass needs of a forward pass.
pub struct Kept {
    att: time_mix::Kept,
    /// Between the halves, `[N, C]`.
    middle: Tensor,
    ffn: channel_mix::Kept,
}

/// Numbers of [`Kept`] for each row: those of `Compute::sensitive_activations`, and all others.
pub fn kept_per_row(n_embd: usize, n_ffn: usize) -> [usize; 2] {
    [
        (time_mix::KEPT + channel_mix::KEPT_SENSITIVE) * n_embd,
        (1 + channel_mix::KEPT) * n_embd + n_ffn,
    ]
}

/// How a block leaves each sequence.
pub struct End {
    att: time_mix::End,
    /// `[sequences, C]`.
    ffn_shift: Tensor,
}

impl End {
    /// The state after sequence `i`.
    pub fn of_sequence(&self, i: usize) -> Result<LayerState> {
        Ok(LayerState {
            att_shift: self.att.shift.get(i)?,
            ffn_shift: self.ffn_shift.get(i)?,
            wkv: self.att.wkv.get(i)?,
        })
    }
}

impl Block {
    /// Layer `i` of a file.
    pub fn load(file: &ModelFile, config: &Config, i: usize, compute: &Compute) -> Result<Self> {
        Ok(Self {
            att: TimeMix::load(file, config, i, compute)?,
            ffn: ChannelMix::load(file, config, i, compute)?,
        })
    }

    /// Bytes that the matrices take in memory.
    pub fn bytes(&self) -> usize {
        self.att.bytes() + self.ffn.bytes()
    }

    /// x `[N, C]` to the block's output `[N, C]`; every sequence starts from `start`.
    pub fn forward(
        &self,
        x: &Tensor,
        start: &LayerState,
        offsets: &Offsets,
    ) -> Result<(Tensor, Kept, End)> {
        let (middle, att, att_end) = self.att.forward(x, &start.att_shift, &start.wkv, offsets)?;
        let (out, ffn, ffn_shift) = self.ffn.forward(&middle, &start.ffn_shift, offsets)?;
        Ok((
            out,
            Kept { att, middle, ffn },
            End {
                att: att_end,
                ffn_shift,
            },
        ))
    }

    /// (dx `[N, C]`, the gradient of `start`) from the output's gradient and the forward's input.
    pub fn backward(
        &self,
        d_out: &Tensor,
        x: &Tensor,
        kept: &Kept,
        start: &LayerState,
        offsets: &Offsets,
    ) -> Result<(Tensor, LayerState)> {
        let (d_middle, ffn_shift) = self.ffn.backward(d_out, &kept.middle, &kept.ffn, offsets)?;
        let (dx, att_shift, wkv) = self
            .att
            .backward(&d_middle, x, &kept.att, &start.wkv, offsets)?;
        Ok((
            dx,
            LayerState {
                att_shift,
                ffn_shift,
                wkv,
            },
        ))
    }
}
