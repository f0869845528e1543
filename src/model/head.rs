//! The head: last norm, projection onto the vocabulary, and the loss. Only rows that predict
//! something come here.

use anyhow::Result;
use candle_core::Tensor;

use super::Config;
use super::weights::ModelFile;
use crate::ops::linear::{Matrix, Rows, Weights};
use crate::ops::norm::Norm;
use crate::ops::{Compute, cross_entropy, gates, rows};

/// Logits that exist at one time on a GPU: 128 MB of them, whatever the number of rows. Fewer would
/// have the head's matrix read more often than its products can pay for.
const LOGITS: usize = 1 << 25;
/// Rows that are scored at once on the CPU: the head's matrix is packed once for all of them. Their
/// logits are of a slice of the vocabulary.
const ROWS: usize = 1024;

/// The frozen weights after the last block.
pub struct Head {
    ln_out: Norm,
    projection: Matrix,
}

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

    /// Bytes of the logits that exist at one time, and of their gradient, packed: four and at most six
    /// a number. What scoring has for each row is planned with the row.
    pub fn bytes_of_logits(&self) -> usize {
        let [vocab_size, _] = self.projection.dims();
        let logits = match self.projection.on_gpu() {
            Some(_) => LOGITS,
            None => ROWS * vocab_size.min(cross_entropy::SLICE),
        };
        10 * logits
    }

    /// x `[R, C]` to logits `[R, V]`, in f32.
    pub fn logits(&self, x: &Tensor) -> Result<Tensor> {
        Ok(self.projection.forward_wide(&self.normal(x)?)?)
    }

    fn normal(&self, x: &Tensor) -> Result<Rows> {
        Ok(gates::norm_silu(
            &self.ln_out,
            x,
            None,
            self.projection.product(),
        )?)
    }

    /// Loss of the rows `scored` of x `[N, C]` against `targets`, summed, and how many of them a
    /// greedy choice would hit.
    pub fn score(&self, x: &Tensor, scored: &[u32], targets: &[u32]) -> Result<(f64, usize)> {
        let (mut loss, mut hits) = (0.0, 0);
        let chunk = self.chunk();
        for (scored, targets) in scored.chunks(chunk).zip(targets.chunks(chunk)) {
            let x = rows::take(x, scored)?;
            let (part, some) = cross_entropy::score(&self.projection, &self.normal(&x)?, targets)?;
            loss += part;
            hits += some;
        }
        Ok((loss, hits))
    }

    /// Rows that are scored at once.
    fn chunk(&self) -> usize {
        match self.projection.on_gpu() {
            Some(_) => (LOGITS / self.projection.dims()[0]).max(1),
            None => ROWS,
        }
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
            let normal = self.normal(&x)?;
            let head = &self.projection;
            let (part, d_normal) =
                cross_entropy::loss_and_gradient(head, &normal, &targets, scale as f32)?;
            losses.push(part.narrow(0, 0, count)?);
            let dx = self.ln_out.backward(&d_normal, &x)?;
            d_scored.push(dx.narrow(0, 0, count)?);
        }
        let dx = rows::put(&Tensor::cat(&d_scored, 0)?, scored, x)?;
        Ok((losses, dx))
    }
}
