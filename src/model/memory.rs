//! How many bytes a model needs, from which a run plans how much of a batch is computed at once.

use super::{Block, Carried, Config, Intermediates, Remembered, Rwkv, Version, bytes};
use crate::ops::linear::WIDENED;

impl Rwkv {
    /// Bytes that one row of a batch occupies between forward and backward.
    pub fn bytes_per_row(&self, intermediates: Intermediates) -> usize {
        self.remembered_per_row(intermediates) + self.working_per_row()
    }

    /// Bytes that are needed whatever the size of a batch: the head's logits, and in main memory
    /// the weights, which should stay although they are only mapped. A GPU holds them already.
    pub fn bytes_aside(&self) -> usize {
        let logits = self.head.bytes_of_logits();
        match self.compute.device.is_cpu() {
            true => self.embedding.bytes() + self.bytes_multiplied() + logits,
            false => logits + WIDENED,
        }
    }

    /// Bytes of the matrices that every row is multiplied with, as they are held: all but the
    /// embedding.
    pub fn bytes_multiplied(&self) -> usize {
        self.blocks.iter().map(Block::bytes).sum::<usize>() + self.head.bytes()
    }

    /// Bytes a row of what the forward pass leaves to the backward pass: every block's input, its
    /// intermediate values if they are kept, and the value that RWKV-7 carries through all layers. The
    /// last block keeps less for rows before the first scored one.
    pub(super) fn remembered_per_row(&self, intermediates: Intermediates) -> usize {
        let Self {
            config, compute, ..
        } = self;
        let kept: usize = match intermediates {
            Intermediates::Keep => {
                let each = self.blocks.iter();
                each.map(|block| block.kept_per_row(config, compute)).sum()
            }
            Intermediates::Recompute => 0,
        };
        let v_first = match config.version {
            Version::V5_0 | Version::V5_1 | Version::V5_2 => 0,
            Version::V7 => compute.sensitive_activations().size_in_bytes() * config.n_embd,
        };
        config.n_layer * Carried::bytes_per_row(config) + kept + v_first
    }

    /// Bytes a row of what comes and goes with each block: its intermediate values if they are
    /// computed again, their gradients, the block's output, its gradient and its input's. The
    /// values' share also makes up for what is short-lived: four mixed copies of the gradients, and
    /// on a GPU the WKV's states between chunks, which are about two more. What products take from
    /// the left is at most six bytes a number, and one block's widest of it lives at a time. RWKV-7
    /// makes its keys (three tensors on a GPU, elsewhere buffers of the tasks that run) and its mixed
    /// value again.
    fn working_per_row(&self) -> usize {
        let config @ &Config { n_embd, n_ffn, .. } = &self.config;
        let packed = 6 * (6 * n_embd + n_ffn);
        let last = self.blocks.last();
        let kept = last.map_or(0, |block| block.kept_per_row(config, &self.compute));
        let again = match config.version {
            Version::V5_0 | Version::V5_1 | Version::V5_2 => 0,
            Version::V7 => 4 * size_of::<f32>() * n_embd,
        };
        2 * kept + again + 3 * Carried::bytes_per_row(config) + packed
    }
}

/// Bytes of what is remembered of all blocks, of which the last gave `out`.
pub(super) fn bytes_remembered(remembered: &[Remembered], out: &Carried) -> usize {
    let v_first = out.v_first.as_ref().map_or(0, bytes);
    remembered.iter().map(Remembered::bytes).sum::<usize>() + v_first
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use anyhow::Result;

    use super::*;
    use crate::model::{Batch, FirstRow, ModelFile, Sequence, State};
    use crate::ops::linear::ProductType;

    /// To the byte: a tensor more in a [`Kept`] has to be counted.
    #[test]
    fn the_plan_counts_what_a_run_keeps() -> Result<()> {
        for version in ["5.0", "5.1", "5.2", "7"] {
            let path = format!("tests/golden/model_{version}.pth");
            let file = ModelFile::open(&Path::new(env!("CARGO_MANIFEST_DIR")).join(path))?;
            for product in [ProductType::F32, ProductType::Bf16] {
                let model = Rwkv::load(&file, product)?;
                let sequence = |tokens| Sequence {
                    tokens,
                    scored: &[],
                };
                let sequences = [sequence(&[1, 2, 3, 4, 5, 6]), sequence(&[7, 8])];
                let batch = Batch::pack(sequences, FirstRow::Token);
                let state = State::zeros(model.config())?;
                for intermediates in [Intermediates::Keep, Intermediates::Recompute] {
                    let (out, remembered) =
                        model.forward_blocks(&batch, None, &state, intermediates)?;
                    let bytes = bytes_remembered(&remembered, &out);
                    let planned = batch.tokens.len() * model.remembered_per_row(intermediates);
                    assert_eq!(bytes, planned, "{version} {product} {intermediates:?}");
                }
            }
        }
        Ok(())
    }
}
