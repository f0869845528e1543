//! Normalisation on the CPU: rows in parallel, each group read twice (statistics, then values).

use rayon::prelude::*;

use crate::ops::level::Level;
use crate::ops::vector::sum_of;

/// A norm's plain numbers.
#[derive(Clone, Copy)]
pub struct Params<'a> {
    pub weight: &'a [f32],
    pub bias: &'a [f32],
    pub groups: usize,
    pub eps: f32,
}

/// Rows that a task takes at once.
const PIECE: usize = 32;

pub fn forward(x: &[f32], norm: Params) -> Vec<f32> {
    let (channels, level) = (norm.weight.len(), Level::current());
    let mut y = vec![0.0; x.len()];
    y.par_chunks_mut(PIECE * channels)
        .zip(x.par_chunks(PIECE * channels))
        .for_each(|(y, x)| {
            level.run(|| {
                for (y, x) in y.chunks_mut(channels).zip(x.chunks(channels)) {
                    norm.row(x, y);
                }
            });
        });
    y
}

pub fn backward(dy: &[f32], x: &[f32], norm: Params) -> Vec<f32> {
    let (channels, level) = (norm.weight.len(), Level::current());
    let mut dx = vec![0.0; x.len()];
    dx.par_chunks_mut(PIECE * channels)
        .zip(x.par_chunks(PIECE * channels))
        .zip(dy.par_chunks(PIECE * channels))
        .for_each(|((dx, x), dy)| {
            level.run(|| {
                for ((dx, x), dy) in dx
                    .chunks_mut(channels)
                    .zip(x.chunks(channels))
                    .zip(dy.chunks(channels))
                {
                    norm.row_backward(dy, x, dx);
                }
            });
        });
    dx
}

impl Params<'_> {
    /// One row's y.
    #[inline(always)]
    pub fn row(self, x: &[f32], y: &mut [f32]) {
        let size = self.weight.len() / self.groups;
        let parts = self
            .weight
            .chunks_exact(size)
            .zip(self.bias.chunks_exact(size));
        let rows = x.chunks_exact(size).zip(y.chunks_exact_mut(size));
        for ((x, y), (weight, bias)) in rows.zip(parts) {
            let (mean, scale) = statistics(x, self.eps);
            for (((y, x), weight), bias) in y.iter_mut().zip(x).zip(weight).zip(bias) {
                *y = (x - mean) * scale * weight + bias;
            }
        }
    }

    /// One row's dx.
    #[inline(always)]
    pub fn row_backward(self, dy: &[f32], x: &[f32], dx: &mut [f32]) {
        let size = self.weight.len() / self.groups;
        let rows = x.chunks_exact(size).zip(dx.chunks_exact_mut(size));
        let parts = dy
            .chunks_exact(size)
            .zip(self.weight.chunks_exact(size));
        for ((x, dx), (dy, weight)) in rows.zip(parts) {
            let (mean, scale) = statistics(x, self.eps);
            let mean_d = sum_of(size, |c| dy[c] * weight[c]) / size as f32;
            let mean_dn =
                sum_of(size, |c| dy[c] * weight[c] * ((x[c] - mean) * scale)) / size as f32;
            for (((dx, x), dy), weight) in dx.iter_mut().zip(x).zip(dy).zip(weight) {
                *dx = (dy * weight - mean_d - (x - mean) * scale * mean_dn) * scale;
            }
        }
    }
}

/// Mean and 1 / sqrt(variance + eps). The variance is summed around the mean: the difference of the mean square and
/// the squared mean loses its digits where the mean is large.
#[inline(always)]
fn statistics(x: &[f32], eps: f32) -> (f32, f32) {
    let size = x.len() as f32;
    let mean = sum_of(x.len(), |i| x[i]) / size;
    let variance = sum_of(x.len(), |i| (x[i] - mean) * (x[i] - mean)) / size;
    (mean, 1.0 / (variance + eps).sqrt())
}
