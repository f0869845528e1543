//! Reading on from a state: what answers are made with, where learning goes through whole batches.

use anyhow::{Result, ensure};
use candle_core::Tensor;

use super::{Carried, LayerState, Rwkv, State};
use crate::ops::{Offsets, rows};

impl Rwkv {
    /// The state after the soft prompt has been read, without a soft prompt: reading goes on from
    /// either alike. A state without a soft prompt stays as it is.
    pub fn fold(&self, state: &State) -> Result<State> {
        match &state.soft_prompt {
            Some(soft_prompt) => {
                let (_, layers) = self.forward(&[], Some(soft_prompt), &state.layers()?)?;
                Ok(State::from_layers(None, &layers)?)
            }
            None => Ok(state.clone()),
        }
    }

    /// Reads `tokens` from `state` on: (logits `[V]` that predict the next token, the state after
    /// them). A soft prompt is read first, and is used up by that.
    pub fn advance(&self, tokens: &[u32], state: &State) -> Result<(Vec<f32>, State)> {
        let (logits, layers) =
            self.advance_layers(tokens, state.soft_prompt.as_ref(), &state.layers()?)?;
        Ok((logits, State::from_layers(None, &layers)?))
    }

    /// As [`Self::advance`], from a state in parts to one in parts.
    pub(super) fn advance_layers(
        &self,
        tokens: &[u32],
        soft_prompt: Option<&Tensor>,
        layers: &[LayerState],
    ) -> Result<(Vec<f32>, Vec<LayerState>)> {
        let (x, layers) = self.forward(tokens, soft_prompt, layers)?;
        let last = x.narrow(0, x.dim(0)? - 1, 1)?.contiguous()?;
        Ok((self.head.logits(&last)?.flatten_all()?.to_vec1()?, layers))
    }

    /// As [`Self::advance`], with the logits of every row, soft prompt's included: `[rows, V]`. For
    /// tests and short texts.
    pub fn logits(&self, tokens: &[u32], state: &State) -> Result<(Tensor, State)> {
        let (x, layers) = self.forward(tokens, state.soft_prompt.as_ref(), &state.layers()?)?;
        Ok((self.head.logits(&x)?, State::from_layers(None, &layers)?))
    }

    /// The last block's output for one sequence, and each layer's state after it.
    fn forward(
        &self,
        tokens: &[u32],
        soft_prompt: Option<&Tensor>,
        layers: &[LayerState],
    ) -> Result<(Tensor, Vec<LayerState>)> {
        let first = soft_prompt.is_some().then_some(None);
        let rows: Vec<Option<u32>> = first
            .into_iter()
            .chain(tokens.iter().copied().map(Some))
            .collect();
        ensure!(
            !rows.is_empty(),
            "there is nothing to read: no token and no soft prompt"
        );
        let offsets = Offsets::from_lengths([rows.len()]);
        let embedded = self.embed(&rows, soft_prompt)?;
        let (out, layers) = self.advance_blocks(embedded, layers, &offsets)?;
        Ok((out.x, layers))
    }

    /// One token on a GPU, which holds its number `[1]`: (logits `[1, V]`, the state after it).
    /// Nothing is copied from or to main memory.
    pub(super) fn step_on_gpu(
        &self,
        token: &Tensor,
        layers: &[LayerState],
        offsets: &Offsets,
    ) -> Result<(Tensor, Vec<LayerState>)> {
        let embedded = rows::embed_on_gpu(&self.embedding, token)?;
        let x = self.ln0.forward(&embedded)?;
        let (out, ends) = self.advance_blocks(Carried::of(x), layers, offsets)?;
        Ok((self.head.logits(&out.x)?, ends))
    }

    /// All blocks on one sequence: (the last one's output, each layer's state after it).
    fn advance_blocks(
        &self,
        mut carried: Carried,
        layers: &[LayerState],
        offsets: &Offsets,
    ) -> Result<(Carried, Vec<LayerState>)> {
        ensure!(
            layers.len() == self.blocks.len(),
            "a state of {} layers for a model of {}",
            layers.len(),
            self.blocks.len()
        );
        let mut ends = Vec::with_capacity(self.blocks.len());
        for (block, start) in self.blocks.iter().zip(layers) {
            let (out, end) = block.advance(&carried, start, offsets)?;
            ends.push(end);
            carried = out;
        }
        Ok((carried, ends))
    }
}
