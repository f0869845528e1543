//! The RWKV model with a learnable starting state over frozen weights.
//!
//! [`Rwkv`] reads from the top down: embed, norm, blocks, head. Forward and backward are written as
//! a pair at every level, and nothing is hidden in a graph: the backward pass is the forward pass's
//! lines in reverse, each replaced by its vector-Jacobian product. Frozen weights get no gradient
//! anywhere.

mod advance;
mod batch;
mod block;
mod carried;
mod channel_mix;
mod config;
mod fingerprint;
mod group;
mod head;
mod memory;
mod no_model;
mod norms;
mod notes;
mod obtain;
mod other_models;
mod reader;
mod start;
mod state;
mod tail;
mod time_mix;
mod watch;
pub mod weights;

use std::path::Path;

use anyhow::{Context, Result, ensure};
use candle_core::Tensor;
use serde::{Deserialize, Serialize};

pub use batch::{Batch, FirstRow, Sequence, split};
pub use config::{Config, Generation, Version};
pub use fingerprint::{is_fingerprint, is_same_model};
pub use group::{Group, PerGroup};
pub use no_model::with_way_out;
pub use notes::also_holds;
pub use obtain::{must_fetch, obtain};
pub use reader::Reader;
pub use state::{LayerState, State};
pub use weights::ModelFile;

use self::block::Block;
use self::carried::Carried;
use self::head::Head;
use self::memory::bytes_remembered;
use self::norms::{layer_norm, shift_mix};
use self::tail::Tail;
use self::watch::Files;
use crate::ops::cuda::HEAD_SIZES;
use crate::ops::linear::{Matrix, Weights};
use crate::ops::norm::Norm;
use crate::ops::{Compute, Offsets, device, rows};
use crate::setting::{DEVICE, WEIGHTS};
use crate::tensors::Element;

/// Whether the backward pass finds a block's intermediate values kept, or computes them again from
/// the block's input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Intermediates {
    /// Kept: fast.
    Keep,
    /// Computed again: small.
    Recompute,
}

/// What the forward pass leaves of a block to the backward pass.
struct Remembered {
    input: Carried,
    /// Computed again from the input where it is not kept.
    kept: Option<block::Kept>,
}

impl Remembered {
    /// Bytes that it takes in memory.
    fn bytes(&self) -> usize {
        let Self { input, kept } = self;
        input.bytes() + kept.as_ref().map_or(0, block::Kept::bytes)
    }
}

/// A frozen model.
pub struct Rwkv {
    config: Config,
    fingerprint: String,
    compute: Compute,
    embedding: Matrix,
    ln0: Norm,
    blocks: Vec<Block>,
    head: Head,
    /// What is merged into it.
    merged: Option<State>,
    unused: Option<String>,
    files: Files,
}

impl Rwkv {
    /// Opens a model's file and takes its weights, as [`Self::load`].
    pub fn open(path: &Path, compute: impl Into<Compute>) -> Result<Self> {
        let file = ModelFile::open(path)?;
        let loaded = Self::load(&file, compute);
        let loaded = loaded.map_err(|error| match device::is_out_of_memory(&error) {
            true => error.context(format!(
                "the GPU's memory does not hold it; {WEIGHTS} int8 and nf4 need less, and {DEVICE} cpu none"
            )),
            false => error,
        });
        loaded.with_context(|| format!("cannot use the model {}", path.display()))
    }

    /// Takes the weights from a file, leaving the matrices in its memory map, or copying them to a
    /// GPU.
    pub fn load(file: &ModelFile, compute: impl Into<Compute>) -> Result<Self> {
        let (config, compute) = (Config::of(file)?, compute.into());
        ensure!(
            compute.device.is_cpu() || HEAD_SIZES.contains(&config.head_size),
            "its heads have {} channels, and the GPU's kernels take {HEAD_SIZES:?}; use {DEVICE} cpu",
            config.head_size
        );
        // A few of its rows are read, and none of them multiplied: it stays as it is.
        let of_embedding = Compute {
            weights: Weights::File,
            ..compute.clone()
        };
        let shape = [config.vocab_size, config.n_embd];
        let embedding = file.matrix("emb.weight", shape, &of_embedding)?;
        let ln0 = layer_norm(file, "blocks.0.ln0", config.n_embd, &compute)?;
        let blocks = (0..config.n_layer)
            .map(|i| Block::load(file, &config, i, &compute))
            .collect::<Result<_>>()?;
        let head = Head::load(file, &config, &compute)?;
        let merged = start::merged(file, &config)?;
        // First, since whatever the fingerprint reads counts as used.
        let unused = notes::unused(file, &config)?;
        let fingerprint = fingerprint::fingerprint(file, &config, merged.as_ref())?;
        Ok(Self {
            config,
            fingerprint,
            embedding,
            ln0,
            blocks,
            head,
            merged,
            unused,
            files: Files::of(file),
            compute,
        })
    }

    /// The model's version and sizes.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Where it computes, and how. States that it is given must be there.
    pub fn compute(&self) -> &Compute {
        &self.compute
    }

    /// Tells this model from others of the same shape, whatever type its file keeps the same
    /// numbers in.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// How the file stores its numbers; a learnt state is saved alike.
    pub fn element(&self) -> Element {
        self.embedding.element()
    }

    /// The loss of a batch, summed over its scored rows and times `scale`, and its gradient with
    /// respect to `state`.
    pub fn loss_and_gradient(
        &self,
        batch: &Batch,
        state: &State,
        intermediates: Intermediates,
        scale: f64,
    ) -> Result<(f64, State)> {
        let (offsets, tail) = (&batch.offsets, Tail::of(batch));
        let tail = tail.as_ref();
        let (out, mut remembered) = self.forward_blocks(batch, tail, state, intermediates)?;

        let scored = tail.map_or(&batch.scored, |tail| &tail.scored);
        let (losses, dx) = self
            .head
            .loss_and_gradient(&out.x, scored, &batch.targets, scale)?;
        drop(out);

        let mut d = Carried::of(dx);
        let mut layers = Vec::with_capacity(self.blocks.len());
        for (i, block) in self.blocks.iter().enumerate().rev() {
            let (Some(Remembered { input, kept }), start) = (remembered.pop(), state.layer(i)?)
            else {
                unreachable!("one input a block")
            };
            let tail = tail.filter(|_| self.is_last(i));
            let kept = match kept {
                Some(kept) => kept,
                None => block.forward(&input, &start, offsets, tail)?.1,
            };
            let (d_in, d_start) = block.backward(&d, &input, &kept, &start, offsets, tail)?;
            d = d_in;
            layers.push(d_start);
        }
        layers.reverse();

        // The rest of d belongs to frozen embeddings.
        let d_soft_prompt = match &state.soft_prompt {
            Some(soft_prompt) => Some(self.soft_prompt_gradient(&d.x, soft_prompt, offsets)?),
            None => None,
        };
        // Read last: a GPU has all its work by then.
        let mut loss = 0.0;
        for part in losses {
            loss += part.to_vec1::<f64>()?.iter().sum::<f64>();
        }
        Ok((loss * scale, State::from_layers(d_soft_prompt, &layers)?))
    }

    /// The gradient of the soft prompt, from that of each sequence's first row behind the norm. Each goes
    /// back through the norm by itself, so that a share of a batch has the same term for it: where the
    /// norm meets a soft prompt near zero, it magnifies rounding.
    fn soft_prompt_gradient(
        &self,
        d: &Tensor,
        soft_prompt: &Tensor,
        offsets: &Offsets,
    ) -> Result<Tensor> {
        let starts: Vec<u32> = offsets.starts().iter().map(|&row| row as u32).collect();
        let rows = rows::take(&soft_prompt.unsqueeze(0)?, &vec![0; starts.len()])?;
        let d = self.ln0.backward(&rows::take(d, &starts)?, &rows)?;
        let all: Vec<u32> = (0..starts.len() as u32).collect();
        Ok(rows::sum(&d, &all)?.squeeze(0)?)
    }

    /// The loss of a batch, summed over its scored rows, and in how many of them the target is the
    /// likeliest token.
    pub fn score(&self, batch: &Batch, state: &State) -> Result<(f64, usize)> {
        if batch.scored.is_empty() {
            return Ok((0.0, 0));
        }
        let tail = Tail::of(batch);
        let tail = tail.as_ref();
        let mut carried = self.embed(&batch.tokens, state.soft_prompt.as_ref())?;
        for (i, block) in self.blocks.iter().enumerate() {
            let (start, tail) = (state.layer(i)?, tail.filter(|_| self.is_last(i)));
            carried = block.forward(&carried, &start, &batch.offsets, tail)?.0;
        }
        let scored = tail.map_or(&batch.scored, |tail| &tail.scored);
        self.head.score(&carried.x, scored, &batch.targets)
    }

    fn is_last(&self, block: usize) -> bool {
        block + 1 == self.blocks.len()
    }

    /// The last block's output, for the tail if there is one, and of every block what its backward pass needs.
    fn forward_blocks(
        &self,
        batch: &Batch,
        tail: Option<&Tail>,
        state: &State,
        intermediates: Intermediates,
    ) -> Result<(Carried, Vec<Remembered>)> {
        let mut carried = self.embed(&batch.tokens, state.soft_prompt.as_ref())?;
        let mut remembered = Vec::with_capacity(self.blocks.len());
        for (i, block) in self.blocks.iter().enumerate() {
            let (start, tail) = (state.layer(i)?, tail.filter(|_| self.is_last(i)));
            let (out, kept) = block.forward(&carried, &start, &batch.offsets, tail)?;
            remembered.push(Remembered {
                input: carried,
                kept: (intermediates == Intermediates::Keep).then_some(kept),
            });
            carried = out;
        }
        debug_assert!(
            bytes_remembered(&remembered, &carried)
                <= batch.tokens.len() * self.remembered_per_row(intermediates),
            "the memory plan counts what is remembered"
        );
        Ok((carried, remembered))
    }

    /// What the first block is given: the normal embedding of each row.
    fn embed(&self, tokens: &[Option<u32>], soft_prompt: Option<&Tensor>) -> Result<Carried> {
        let embedded = rows::embed(&self.embedding, tokens, soft_prompt)?;
        Ok(Carried::of(self.ln0.forward(&embedded)?))
    }
}

/// Bytes of a tensor's numbers.
fn bytes(tensor: &Tensor) -> usize {
    tensor.elem_count() * tensor.dtype().size_in_bytes()
}
