//! Cross-entropy on the CPU: rows in parallel, each read three times while it is in cache.

use rayon::prelude::*;

/// Turns each row of logits into its gradient; returns the summed loss.
pub fn loss_and_gradient(logits: &mut [f32], targets: &[u32], scale: f32) -> f64 {
    let vocab = logits.len() / targets.len();
    let losses: Vec<f64> = logits
        .par_chunks_mut(vocab)
        .zip(targets)
        .map(|(row, &target)| {
            let target = target as usize;
            let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let target_logit = row[target] - max;
            row.iter_mut().for_each(|z| *z = (*z - max).exp());
            let sum = sum(row);
            let normal = scale * (1.0 / sum) as f32;
            row.iter_mut().for_each(|z| *z *= normal);
            row[target] -= scale;
            sum.ln() - f64::from(target_logit)
        })
        .collect();
    // Summed in order, whatever thread was first: the same run gives the same loss.
    losses.iter().sum()
}

/// Sum in f64: where the model is sure, the loss is the small difference of this sum and 1. Interleaved, so that it
/// vectorises.
fn sum(values: &[f32]) -> f64 {
    const LANES: usize = 8;
    let mut sums = [0.0; LANES];
    let pieces = values.chunks_exact(LANES);
    let rest: f64 = pieces.remainder().iter().map(|&x| f64::from(x)).sum();
    for piece in pieces {
        for lane in 0..LANES {
            sums[lane] += f64::from(piece[lane]);
        }
    }
    sums.iter().sum::<f64>() + rest
}
