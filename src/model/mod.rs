//! RWKV-5 with a learnable starting state over frozen weights.
//!
//! [`Rwkv`] reads from the top down: embed, norm, blocks, head. Forward and backward are written as a pair at every
//! level, and nothing is hidden in a graph: the backward pass is the forward pass's lines in reverse, each replaced by
//! its vector-Jacobian product. Frozen weights get no gradient anywhere.

mod block;
mod channel_mix;
mod config;
mod head;
mod reader;
mod state;
mod time_mix;
pub mod weights;

use std::ops::AddAssign;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use candle_core::Tensor;
use serde::{Deserialize, Serialize};

pub use config::{Config, Version};
pub use reader::Reader;
pub use state::{LayerState, State};
pub use weights::ModelFile;

use self::block::Block;
use self::head::Head;
use crate::data::{Batch, Example, batch};
use crate::ops::linear::{Element, Matrix, WIDENED, Weights};
use crate::ops::norm::Norm;
use crate::ops::wkv::HEAD_SIZES_ON_CARDS;
use crate::ops::{Compute, Offsets, device, rows};

const LN_EPS: f32 = 1e-5;
/// Of the norm after the WKV: 1e-5 * 8^2, the release's `head_size_divisor` squared.
const LN_X_EPS: f32 = 64e-5;

/// Whether the backward pass finds a block's intermediate values kept, or computes them again from the block's input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Intermediates {
    Keep,
    Recompute,
}

/// Rows of examples that are scored at once: enough for products to be fast, and little memory.
const SCORED_ROWS: usize = 2048;

/// How well some completions' tokens are predicted.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Score {
    /// The sum of their losses.
    pub sum: f64,
    /// How many of them a greedy choice would hit.
    pub hits: usize,
    pub tokens: usize,
}

impl Score {
    /// The mean loss.
    pub fn loss(&self) -> f64 {
        self.sum / self.tokens as f64
    }

    /// The share of hits.
    pub fn accuracy(&self) -> f64 {
        self.hits as f64 / self.tokens as f64
    }
}

impl AddAssign for Score {
    fn add_assign(&mut self, other: Self) {
        self.sum += other.sum;
        self.hits += other.hits;
        self.tokens += other.tokens;
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
}

impl Rwkv {
    /// Opens a model's file and takes its weights, as [`Self::load`].
    pub fn open(path: &Path, compute: impl Into<Compute>) -> Result<Self> {
        let file = ModelFile::open(path)?;
        let loaded = Self::load(&file, compute);
        let loaded = loaded.map_err(|error| match device::is_out_of_memory(&error) {
            true => error.context(
                "the GPU's memory does not hold it; --weights int8 and nf4 need less, and --device cpu none",
            ),
            false => error,
        });
        loaded.with_context(|| format!("cannot use the model {}", path.display()))
    }

    /// Takes the weights from a file, leaving the matrices in its memory map, or copying them to a card.
    pub fn load(file: &ModelFile, compute: impl Into<Compute>) -> Result<Self> {
        let (config, compute) = (Config::of(file)?, compute.into());
        ensure!(
            compute.device.is_cpu() || HEAD_SIZES_ON_CARDS.contains(&config.head_size),
            "its heads have {} channels, and the GPU's kernels take {HEAD_SIZES_ON_CARDS:?}; use --device cpu",
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
        Ok(Self {
            config,
            fingerprint: config::fingerprint(file, &config)?,
            embedding,
            ln0,
            blocks,
            head: Head::load(file, &config, &compute)?,
            compute,
        })
    }

    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Where it computes, and how. States that it is given must be there.
    pub fn compute(&self) -> &Compute {
        &self.compute
    }

    /// Tells this model from others of the same shape, whatever type its file keeps the same numbers in.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// How the file stores its numbers; a learnt state is saved alike.
    pub fn element(&self) -> Element {
        self.embedding.element()
    }

    /// Bytes that one row of a batch occupies between forward and backward.
    pub fn bytes_per_row(&self, intermediates: Intermediates) -> usize {
        let &Config {
            n_layer,
            n_embd,
            n_ffn,
            ..
        } = &self.config;
        let given = self.compute.activations().size_in_bytes();
        let [sensitive, others] = block::kept_per_row(n_embd, n_ffn);
        let sensitive = self.compute.sensitive_activations().size_in_bytes() * sensitive;
        let kept = sensitive + given * others;
        let layers_kept = match intermediates {
            Intermediates::Keep => n_layer,
            Intermediates::Recompute => 0,
        };
        // What goes from layer to layer is f32: each block's input, what stands between its halves, and at one block its
        // output and their gradients. Of what products take and give, one block's values live in either case, beside
        // their gradients and four mixed copies of them; on a card the WKV's states between chunks are about two more.
        // What products take from the left is at most six bytes a number, and one block's widest of it lives at a time.
        let packed = 6 * (6 * n_embd + n_ffn);
        4 * (n_layer + layers_kept + 5) * n_embd + (layers_kept + 2) * kept + packed
    }

    /// Bytes that are needed whatever the size of a batch: the head's logits, and in main memory the weights, which
    /// should stay although they are only mapped. A card holds them already.
    pub fn bytes_aside(&self) -> usize {
        match self.compute.device.is_cpu() {
            true => self.embedding.bytes() + self.bytes_multiplied() + head::BYTES,
            false => head::BYTES + WIDENED,
        }
    }

    /// Bytes of the matrices that every row is multiplied with, as they are held: all but the embedding.
    pub fn bytes_multiplied(&self) -> usize {
        self.blocks.iter().map(Block::bytes).sum::<usize>() + self.head.bytes()
    }

    /// The loss of a batch, summed over its scored rows and times `scale`, and its gradient with respect to `state`.
    pub fn loss_and_gradient(
        &self,
        batch: &Batch,
        state: &State,
        intermediates: Intermediates,
        scale: f64,
    ) -> Result<(f64, State)> {
        let offsets = &batch.offsets;
        let embedded = self.embed(&batch.tokens, state)?;
        let mut x = self.ln0.forward(&embedded)?;
        let mut inputs = Vec::with_capacity(self.blocks.len());
        for (i, block) in self.blocks.iter().enumerate() {
            let (out, kept, _) = block.forward(&x, &state.layer(i)?, offsets)?;
            inputs.push((x, (intermediates == Intermediates::Keep).then_some(kept)));
            x = out;
        }

        let (losses, mut dx) =
            self.head
                .loss_and_gradient(&x, &batch.scored, &batch.targets, scale)?;

        let mut layers = Vec::with_capacity(self.blocks.len());
        for (i, block) in self.blocks.iter().enumerate().rev() {
            let (Some((x, kept)), start) = (inputs.pop(), state.layer(i)?) else {
                unreachable!("one input a block")
            };
            let kept = match kept {
                Some(kept) => kept,
                None => block.forward(&x, &start, offsets)?.1,
            };
            let (d_in, d_start) = block.backward(&dx, &x, &kept, &start, offsets)?;
            dx = d_in;
            layers.push(d_start);
        }
        layers.reverse();

        // The rest of dx belongs to frozen embeddings. All soft prompt rows hold the same vector.
        let d_soft_prompt = match &state.soft_prompt {
            Some(soft_prompt) => {
                let starts: Vec<u32> = offsets.starts().iter().map(|&row| row as u32).collect();
                let d = rows::sum(&dx, &starts)?;
                Some(
                    self.ln0
                        .backward(&d, &soft_prompt.unsqueeze(0)?)?
                        .squeeze(0)?,
                )
            }
            None => None,
        };
        // Read last: a card has all its work by then.
        let mut loss = 0.0;
        for part in losses {
            loss += part.to_vec1::<f64>()?.iter().sum::<f64>();
        }
        Ok((loss * scale, State::from_layers(d_soft_prompt, &layers)?))
    }

    /// How well examples are predicted from `state`, however many they are.
    pub fn score(&self, examples: &[Example], state: &State) -> Result<Score> {
        let soft_prompt = state.soft_prompt.is_some();
        let rows: Vec<usize> = examples.iter().map(|e| e.rows(soft_prompt)).collect();
        let mut score = Score::default();
        let (mut most, mut done) = (SCORED_ROWS, 0);
        while done < examples.len() {
            let part = batch::split(&rows[done..], most).swap_remove(0);
            let some = &examples[done..][part.clone()];
            match self.score_at_once(some, state) {
                Ok(part) => score += part,
                // Less at a time, as long as there is less.
                Err(error) if device::is_out_of_memory(&error) && some.len() > 1 => {
                    device::give_back_memory(&self.compute.device)?;
                    most = rows[done..][part].iter().sum::<usize>() / 2;
                    continue;
                }
                Err(error) => return Err(error),
            }
            done += some.len();
        }
        ensure!(score.tokens > 0, "there is no completion to score");
        Ok(score)
    }

    fn score_at_once(&self, examples: &[Example], state: &State) -> Result<Score> {
        let batch = Batch::pack(examples, state.soft_prompt.is_some());
        let mut x = self.ln0.forward(&self.embed(&batch.tokens, state)?)?;
        for (i, block) in self.blocks.iter().enumerate() {
            x = block.forward(&x, &state.layer(i)?, &batch.offsets)?.0;
        }
        let (sum, hits) = self.head.score(&x, &batch.scored, &batch.targets)?;
        Ok(Score {
            sum,
            hits,
            tokens: batch.targets.len(),
        })
    }

    /// The state after the soft prompt, which it holds in place of one: reading goes on from either alike. A state
    /// without a soft prompt stays as it is.
    pub fn fold(&self, state: &State) -> Result<State> {
        match state.soft_prompt {
            Some(_) => Ok(self.forward(&[], state)?.1),
            None => Ok(state.clone()),
        }
    }

    /// Reads `tokens` from `state` on: (logits `[V]` that predict the next token, the state after them). A soft prompt
    /// is read first, and is used up by that.
    pub fn advance(&self, tokens: &[u32], state: &State) -> Result<(Vec<f32>, State)> {
        let (x, state) = self.forward(tokens, state)?;
        let last = x.narrow(0, x.dim(0)? - 1, 1)?.contiguous()?;
        Ok((self.head.logits(&last)?.flatten_all()?.to_vec1()?, state))
    }

    /// As [`Self::advance`], with the logits of every row, soft prompt's included: `[rows, V]`. For tests and short texts.
    pub fn logits(&self, tokens: &[u32], state: &State) -> Result<(Tensor, State)> {
        let (x, state) = self.forward(tokens, state)?;
        Ok((self.head.logits(&x)?, state))
    }

    /// The last block's output for one sequence, and the state after it.
    fn forward(&self, tokens: &[u32], state: &State) -> Result<(Tensor, State)> {
        let soft_prompt = state.soft_prompt.is_some().then_some(None);
        let rows: Vec<Option<u32>> = soft_prompt
            .into_iter()
            .chain(tokens.iter().copied().map(Some))
            .collect();
        ensure!(
            !rows.is_empty(),
            "there is nothing to read: no token and no soft prompt"
        );
        let offsets = Offsets::from_lengths([rows.len()]);
        let x = self.ln0.forward(&self.embed(&rows, state)?)?;
        let (x, layers) = self.blocks(x, state, &offsets)?;
        Ok((x, State::from_layers(None, &layers)?))
    }

    /// One token on a card, which holds its number `[1]`: (logits `[1, V]`, the state after it). Nothing is copied from or
    /// to main memory.
    #[cfg(feature = "cuda")]
    fn step_on_card(
        &self,
        token: &Tensor,
        state: &State,
        offsets: &Offsets,
    ) -> Result<(Tensor, Vec<LayerState>)> {
        let embedded = rows::embed_on_card(&self.embedding, token)?;
        let (x, ends) = self.blocks(self.ln0.forward(&embedded)?, state, offsets)?;
        Ok((self.head.logits(&x)?, ends))
    }

    /// All blocks on one sequence: (the last one's output, each layer's state after it).
    fn blocks(
        &self,
        mut x: Tensor,
        state: &State,
        offsets: &Offsets,
    ) -> Result<(Tensor, Vec<LayerState>)> {
        let mut layers = Vec::with_capacity(self.blocks.len());
        for (i, block) in self.blocks.iter().enumerate() {
            let (out, _, end) = block.forward(&x, &state.layer(i)?, offsets)?;
            layers.push(end.of_sequence(0)?);
            x = out;
        }
        Ok((x, layers))
    }

    /// The embedding of each row `[N, C]`.
    fn embed(&self, tokens: &[Option<u32>], state: &State) -> Result<Tensor> {
        Ok(rows::embed(
            &self.embedding,
            tokens,
            state.soft_prompt.as_ref(),
        )?)
    }
}

/// A LayerNorm of C channels under `name`.
fn layer_norm(file: &ModelFile, name: &str, channels: usize, compute: &Compute) -> Result<Norm> {
    Ok(Norm {
        weight: file.vector(&format!("{name}.weight"), channels, compute)?,
        bias: file.vector(&format!("{name}.bias"), channels, compute)?,
        groups: 1,
        eps: LN_EPS,
    })
}
