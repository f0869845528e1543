//! The head: last norm, projection onto the vocabulary, and the loss. Only rows that predict
//! something come here.

use anyhow::Result;
use candle_core::Tensor;

use super::Config;
use super::weights::ModelFile;
use crate::ops::linear::{Matrix, Weights};
use crate::ops::norm::Norm;
use crate::ops::{Compute, cross_entropy, gates, rows};

/// Logits that exist at one time: 128 MB of them, whatever the number of rows. Fewer would have the
/// head's matrix packed more often than its products can pay for.
const LOGITS: usize = 1 << 25;

/// The frozen weights after the last block.
pub struct Head {
    ln_out: Norm,
    projection: Matrix,
}

/// The most bytes of logits and of their gradient, packed, that there are at one time: four and at
/// most six a number.
pub const BYTES: usize = 10 * LOGITS;

impl Head {
    pub fn load(file: &ModelFile, config: &Config, compute: &Compute) -> Result<Self> {
        let &Config {
            vocab_size, n_embd, ..
        } = config;
        // In four bits the head alone would cost more loss than all blocks together
        // (docs/PERFORMANCE.md).
        let weights = match compute.weights {
            Weights::Nf4 => Weights::Int8,
            weights @ (Weights::File | Weights::Bf16 | Weights::Int8) => weights,
        };
        let of_head = Compute {
            weights,
            ..compute.clone()
        };
        Ok(Self {
            ln_out: super::layer_norm(file, "ln_out", n_embd, compute)?,
            projection: file.matrix("head.weight", [vocab_size, n_embd], &of_head)?,
        })
    }

    /// Bytes that the matrix takes in memory.
    pub fn bytes(&self) -> usize {
        self.projection.bytes()
    }

    /// x `[R, C]` to logits `[R, V]`, in f32.
    pub fn logits(&self, x: &Tensor) -> Result<Tensor> {
        let normal = gates::norm_silu(&self.ln_out, x, None, self.projection.product())?;
        Ok(self.projection.forward_wide(&normal)?)
    }

    /// Loss of the rows `scored` of x `[N, C]` against `targets`, summed, and how many of them a
    /// greedy choice would hit.
    pub fn score(&self, x: &Tensor, scored: &[u32], targets: &[u32]) -> Result<(f64, usize)> {
        let (mut loss, mut hits) = (0.0, 0);
        let chunk = self.chunk();
        for (scored, targets) in scored.chunks(chunk).zip(targets.chunks(chunk)) {
            let x = rows::take(x, scored)?;
            let (part, some) = cross_entropy::score(&self.logits(&x)?, targets)?;
            loss += part;
            hits += some;
        }
        Ok((loss, hits))
    }

    /// Rows whose logits there may be at one time.
    fn chunk(&self) -> usize {
        (LOGITS / self.projection.dims()[0]).max(1)
    }

    /// (the losses of the rows `scored` of x `[N, C]` against `targets`, a tensor for each chunk of
    /// them; the gradient `[N, C]` of their sum times `scale`).
    pub fn loss_and_gradient(
        &self,
        x: &Tensor,
        scored: &[u32],
        targets: &[u32],
        scale: f64,
    ) -> Result<(Vec<Tensor>, Tensor)> {
        let chunk = self.chunk();
        let (mut losses, mut d_scored) = (Vec::new(), Vec::new());
        for (scored, targets) in scored.chunks(chunk).zip(targets.chunks(chunk)) {
            let count = scored.len();
            // A single row's product is summed in another order: a rank whose share has one scored row
            // would have other bits than the batch on one rank. So it goes twice, and counts once.
            let times = if count == 1 { 2 } else { 1 };
            let (scored, targets) = (scored.repeat(times), targets.repeat(times));
            let x = rows::take(x, &scored)?;
            let logits = self.logits(&x)?;
            let (part, d_logits) = cross_entropy::loss_and_gradient(
                &logits,
                &targets,
                scale as f32,
                self.projection.product(),
            )?;
            losses.push(part.narrow(0, 0, count)?);
            drop(logits);
            let d_normal = self.projection.backward(&d_logits)?;
            let dx = self.ln_out.backward(&d_normal, &x)?;
            d_scored.push(dx.narrow(0, 0, count)?);
        }
        let dx = rows::put(&Tensor::cat(&d_scored, 0)?, scored, x)?;
        Ok((losses, dx))
    }
}
