//! Cross-entropy on the CPU: rows in parallel, each read while it is in cache, and its gradient put
//! down in the form that the product with the head's matrix takes.

use std::sync::Mutex;

use rayon::prelude::*;

use crate::ops::cpu::level::{Level, vectorised};
use crate::ops::cpu::vector::{LANES, Vector, exp};
use crate::ops::linear::{Packed, ProductType};

/// (each row's loss, the gradient of the logits times `scale`).
pub fn loss_and_gradient(
    logits: &[f32],
    targets: &[u32],
    scale: f32,
    product: ProductType,
) -> (Vec<f64>, Packed) {
    let level = Level::current();
    let (rows, vocab) = (targets.len(), logits.len() / targets.len());
    let losses = Mutex::new(vec![0.0; rows]);
    let gradient = Packed::each(product, [rows, vocab], |row, gradient| {
        let logits = &logits[row * vocab..][..vocab];
        let loss = row_loss(level, logits, targets[row] as usize, scale, gradient);
        losses
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())[row] = loss;
    });
    let losses = losses
        .into_inner()
        .unwrap_or_else(|poisoned| poisoned.into_inner());
    (losses, gradient)
}

/// (the summed loss, how many targets are their row's first largest logit).
pub fn score(logits: &[f32], targets: &[u32]) -> (f64, usize) {
    let level = Level::current();
    let vocab = logits.len() / targets.len();
    let rows = logits.par_chunks(vocab).zip(targets);
    let scores: Vec<(f64, bool)> = rows
        .map(|(logits, &target)| row_score(level, logits, target as usize))
        .collect();
    let loss = scores.iter().map(|(loss, _)| loss).sum();
    (
        loss,
        scores.iter().filter(|(_, is_first)| *is_first).count(),
    )
}

vectorised! {
    /// One row's loss, and whether its target is the first of the largest logits.
    fn row_score<V: Vector>(level: Level, logits: &[f32], target: usize) -> (f64, bool) {
        let max = max(logits);
        let mut piece = [0.0; 64 * LANES];
        let mut sum = 0.0;
        for logits in logits.chunks(piece.len()) {
            sum += exponentials::<V>(logits, max, &mut piece[..logits.len()]);
        }
        let is_first = logits[target] == max && logits[..target].iter().all(|&logit| logit < max);
        (sum.ln() - f64::from(logits[target] - max), is_first)
    }
}

vectorised! {
    /// One row's loss and gradient.
    fn row_loss<V: Vector>(
        level: Level,
        logits: &[f32],
        target: usize,
        scale: f32,
        gradient: &mut [f32],
    ) -> f64 {
        let max = max(logits);
        let sum = exponentials::<V>(logits, max, gradient);
        let normal = scale * (1.0 / sum) as f32;
        gradient.iter_mut().for_each(|e| *e *= normal);
        gradient[target] -= scale;
        sum.ln() - f64::from(logits[target] - max)
    }
}

#[inline(always)]
fn max(values: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let pieces = values.chunks_exact(LANES);
    let rest = pieces.remainder();
    for piece in pieces {
        for (lane, &value) in lanes.iter_mut().zip(piece) {
            *lane = lane.max(value);
        }
    }
    lanes
        .iter()
        .chain(rest)
        .copied()
        .fold(f32::NEG_INFINITY, f32::max)
}

/// exp(value - max) of each value into `out`, and their sum in f64: where the model is sure, the
/// loss is the small difference of this sum and 1.
#[inline(always)]
fn exponentials<V: Vector>(values: &[f32], max: f32, out: &mut [f32]) -> f64 {
    let mut sums = [0.0; LANES];
    let mut sum = 0.0;
    for (values, out) in values.chunks(LANES).zip(out.chunks_mut(LANES)) {
        for (out, value) in out.iter_mut().zip(values) {
            *out = exp::<V>(value - max);
        }
        if out.len() == LANES {
            for (sum, &e) in sums.iter_mut().zip(&*out) {
                *sum += f64::from(e);
            }
        } else {
            sum += out.iter().map(|&e| f64::from(e)).sum::<f64>();
        }
    }
    sums.iter().sum::<f64>() + sum
}
