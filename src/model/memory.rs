//! How many bytes a model needs, from which a run plans how much of a batch is computed at once.

use super::block::Kept;
use super::{Block, Carried, Config, Intermediates, Rwkv, head};
use crate::ops::linear::WIDENED;

impl Rwkv {
    /// Bytes that one row of a batch occupies between forward and backward.
    pub fn bytes_per_row(&self, intermediates: Intermediates) -> usize {
        self.remembered_per_row(intermediates) + self.working_per_row()
    }

    /// Bytes that are needed whatever the size of a batch: the head's logits, and in main memory
    /// the weights, which should stay although they are only mapped. A GPU holds them already.
    pub fn bytes_aside(&self) -> usize {
        match self.compute.device.is_cpu() {
            true => self.embedding.bytes() + self.bytes_multiplied() + head::BYTES,
            false => head::BYTES + WIDENED,
        }
    }

    /// Bytes of the matrices that every row is multiplied with, as they are held: all but the
    /// embedding.
    pub fn bytes_multiplied(&self) -> usize {
        self.blocks.iter().map(Block::bytes).sum::<usize>() + self.head.bytes()
    }

    /// Bytes a row of what the forward pass leaves to the backward pass: every block's input, and
    /// its intermediate values if they are kept.
    pub(super) fn remembered_per_row(&self, intermediates: Intermediates) -> usize {
        let Self {
            config, compute, ..
        } = self;
        let kept = match intermediates {
            Intermediates::Keep => Kept::bytes_per_row(config, compute),
            Intermediates::Recompute => 0,
        };
        config.n_layer * (Carried::bytes_per_row(config) + kept)
    }

    /// Bytes a row of what comes and goes with each block: its intermediate values if they are
    /// computed again, their gradients, the block's output, its gradient and its input's. The
    /// values' share also makes up for what is short-lived: four mixed copies of the gradients, and
    /// on a GPU the WKV's states between chunks, which are about two more. What products take from
    /// the left is at most six bytes a number, and one block's widest of it lives at a time.
    fn working_per_row(&self) -> usize {
        let config @ &Config { n_embd, n_ffn, .. } = &self.config;
        let packed = 6 * (6 * n_embd + n_ffn);
        2 * Kept::bytes_per_row(config, &self.compute) + 3 * Carried::bytes_per_row(config) + packed
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use anyhow::Result;

    use super::*;
    use crate::model::{Batch, FirstRow, ModelFile, Sequence, State};
    use crate::ops::linear::Product;

    /// To the byte: a tensor more in a [`Kept`] has to be counted.
    #[test]
    fn the_plan_counts_what_a_run_keeps() -> Result<()> {
        for version in ["5.0", "5.1", "5.2"] {
            let path = format!("tests/golden/model_{version}.pth");
            let file = ModelFile::open(&Path::new(env!("CARGO_MANIFEST_DIR")).join(path))?;
            for product in [Product::F32, Product::Bf16] {
                let model = Rwkv::load(&file, product)?;
                let sequence = |tokens| Sequence {
                    tokens,
                    scored: &[],
                };
                let sequences = [sequence(&[1, 2, 3, 4, 5, 6]), sequence(&[7, 8])];
                let batch = Batch::pack(sequences, FirstRow::Token);
                let state = State::zeros(model.config())?;
                for intermediates in [Intermediates::Keep, Intermediates::Recompute] {
                    let (_, remembered) = model.forward_blocks(&batch, &state, intermediates)?;
                    let bytes: usize = remembered.iter().map(|block| block.bytes()).sum();
                    let planned = batch.tokens.len() * model.remembered_per_row(intermediates);
                    assert_eq!(bytes, planned, "{version} {product} {intermediates:?}");
                }
            }
        }
        Ok(())
    }
}
