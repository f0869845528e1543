//! One layer: time-mix, then channel-mix, each added to what came in.

use anyhow::Result;

use super::channel_mix::{self, ChannelMix};
use super::time_mix::{self, TimeMix};
use super::weights::ModelFile;
use super::{Carried, Config, LayerState, Tail};
use crate::ops::{Compute, Offsets, rows};

/// The frozen weights of one layer.
pub struct Block {
    att: TimeMix,
    ffn: ChannelMix,
}

/// What the backward pass needs of a forward pass.
pub struct Kept {
    att: time_mix::Kept,
    /// What channel-mix was given.
    middle: Carried,
    ffn: channel_mix::Kept,
}

impl Kept {
    /// Bytes that it takes in memory.
    pub fn bytes(&self) -> usize {
        let Self { att, middle, ffn } = self;
        att.bytes() + middle.bytes() + ffn.bytes()
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

    /// What [`Kept::bytes`] is for each row.
    pub fn kept_per_row(&self, config: &Config, compute: &Compute) -> usize {
        self.att.kept_per_row(config, compute)
            + Carried::bytes_per_row(config)
            + channel_mix::Kept::bytes_per_row(config, compute)
    }

    /// The block's output, and what the backward pass needs; every sequence starts from `start`.
    /// With a tail, which the last block may be given, the output is of its rows alone.
    pub fn forward(
        &self,
        input: &Carried,
        start: &LayerState,
        offsets: &Offsets,
        tail: Option<&Tail>,
    ) -> Result<(Carried, Kept)> {
        let (mut middle, att, _) = self.att.forward(input, start, offsets)?;
        if let Some(tail) = tail {
            middle.x = rows::take(&middle.x, &tail.rows)?;
        }
        let ffn_offsets = tail.map_or(offsets, |tail| &tail.offsets);
        let (x, ffn, _) = self.ffn.forward(&middle.x, &start.ffn_shift, ffn_offsets)?;
        Ok((middle.with(x), Kept { att, middle, ffn }))
    }

    /// As [`Self::forward`] of one sequence, for reading on: (the block's output, the state after
    /// it).
    pub fn advance(
        &self,
        input: &Carried,
        start: &LayerState,
        offsets: &Offsets,
    ) -> Result<(Carried, LayerState)> {
        let (middle, _, att) = self.att.forward(input, start, offsets)?;
        let (x, _, ffn_shift) = self.ffn.forward(&middle.x, &start.ffn_shift, offsets)?;
        let end = LayerState {
            att_shift: att.shift.get(0)?,
            ffn_shift: ffn_shift.get(0)?,
            wkv: att.wkv.get(0)?,
        };
        Ok((middle.with(x), end))
    }

    /// The gradients of the forward's input and of `start`, from its output's.
    pub fn backward(
        &self,
        d_out: &Carried,
        input: &Carried,
        kept: &Kept,
        start: &LayerState,
        offsets: &Offsets,
        tail: Option<&Tail>,
    ) -> Result<(Carried, LayerState)> {
        let ffn_offsets = tail.map_or(offsets, |tail| &tail.offsets);
        let (mut x, ffn_shift) =
            self.ffn
                .backward(&d_out.x, &kept.middle.x, &kept.ffn, ffn_offsets)?;
        if let Some(tail) = tail {
            x = rows::put(&x, &tail.rows, &input.x)?;
        }
        let d_middle = d_out.with(x);
        let (d_in, att) = self
            .att
            .backward(&d_middle, input, &kept.att, start, offsets)?;
        let d_start = LayerState {
            att_shift: att.shift,
            ffn_shift,
            wkv: att.wkv,
        };
        Ok((d_in, d_start))
    }
}
