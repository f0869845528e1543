//! Normalisation on the CPU: rows in parallel, each group read twice (statistics, then values).

use rayon::prelude::*;

pub fn forward(x: &[f32], weight: &[f32], bias: &[f32], groups: usize, eps: f32) -> Vec<f32> {
    let channels = weight.len();
    let size = channels / groups;
    let mut y = vec![0.0; x.len()];
    y.par_chunks_mut(channels)
        .zip(x.par_chunks(channels))
        .for_each(|(y, x)| {
            for start in (0..channels).step_by(size) {
                let group = start..start + size;
                let (mean, scale) = statistics(&x[group.clone()], eps);
                for c in group {
                    y[c] = (x[c] - mean) * scale * weight[c] + bias[c];
                }
            }
        });
    y
}

pub fn backward(dy: &[f32], x: &[f32], weight: &[f32], groups: usize, eps: f32) -> Vec<f32> {
    let channels = weight.len();
    let size = channels / groups;
    let mut dx = vec![0.0; x.len()];
    dx.par_chunks_mut(channels)
        .zip(dy.par_chunks(channels))
        .zip(x.par_chunks(channels))
        .for_each(|((dx, dy), x)| {
            for start in (0..channels).step_by(size) {
                let group = start..start + size;
                let (mean, scale) = statistics(&x[group.clone()], eps);
                let (mut sum_d, mut sum_dn) = (0.0, 0.0);
                for c in group.clone() {
                    let d = dy[c] * weight[c];
                    sum_d += d;
                    sum_dn += d * (x[c] - mean) * scale;
                }
                let (mean_d, mean_dn) = (sum_d / size as f32, sum_dn / size as f32);
                for c in group {
                    dx[c] = (dy[c] * weight[c] - mean_d - (x[c] - mean) * scale * mean_dn) * scale;
                }
            }
        });
    dx
}

/// Mean and 1 / sqrt(variance + eps). The variance is summed around the mean: the difference of the mean square and
/// the squared mean loses its digits where the mean is large.
fn statistics(x: &[f32], eps: f32) -> (f32, f32) {
    let size = x.len() as f32;
    let mean = x.iter().sum::<f32>() / size;
    let variance = x.iter().map(|x| (x - mean) * (x - mean)).sum::<f32>() / size;
    (mean, 1.0 / (variance + eps).sqrt())
}
