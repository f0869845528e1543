//! Normalisation on the CPU: rows in parallel, each group read three times (mean, variance, values) while it is in cache.

use crate::ops::level::{Level, vectorised};
use crate::ops::output::chunks;
use crate::ops::vector::{LANES, Vector, dot, sum, sum_of};

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
    let size = PIECE * channels;
    chunks(x.len(), size, 0.0, |piece, y| {
        let x = &x[piece * size..];
        for (y, x) in y.chunks_exact_mut(channels).zip(x.chunks_exact(channels)) {
            row(level, norm, x, y);
        }
    })
}

pub fn backward(dy: &[f32], x: &[f32], norm: Params) -> Vec<f32> {
    let (channels, level) = (norm.weight.len(), Level::current());
    let size = PIECE * channels;
    chunks(x.len(), size, 0.0, |piece, dx| {
        let inputs = dy[piece * size..].chunks_exact(channels);
        let inputs = inputs.zip(x[piece * size..].chunks_exact(channels));
        for (dx, (dy, x)) in dx.chunks_exact_mut(channels).zip(inputs) {
            row_backward(level, norm, dy, x, dx);
        }
    })
}

vectorised! {
    /// One row's y.
    pub fn row(norm: Params<'_>, x: &[f32], y: &mut [f32]) {
        let size = norm.weight.len() / norm.groups;
        let parts = norm.weight.chunks_exact(size).zip(norm.bias.chunks_exact(size));
        let rows = x.chunks_exact(size).zip(y.chunks_exact_mut(size));
        for ((x, y), (weight, bias)) in rows.zip(parts) {
            let (mean, scale) = statistics::<V>(x, norm.eps);
            for (((y, x), weight), bias) in y.iter_mut().zip(x).zip(weight).zip(bias) {
                *y = (x - mean) * scale * weight + bias;
            }
        }
    }
}

vectorised! {
    /// One row's dx.
    pub fn row_backward(norm: Params<'_>, dy: &[f32], x: &[f32], dx: &mut [f32]) {
        let size = norm.weight.len() / norm.groups;
        let rows = x.chunks_exact(size).zip(dx.chunks_exact_mut(size));
        let parts = dy.chunks_exact(size).zip(norm.weight.chunks_exact(size));
        for ((x, dx), (dy, weight)) in rows.zip(parts) {
            let (mean, scale) = statistics::<V>(x, norm.eps);
            let mean_d = dot::<V>(dy, weight) / size as f32;
            let mean_dn = sum_of::<V, 3>([dy, weight, x], |[dy, weight, x]| {
                dy.mul(weight).mul(x.add(V::splat(-mean)))
            }) * scale
                / size as f32;
            for (((dx, x), dy), weight) in dx.iter_mut().zip(x).zip(dy).zip(weight) {
                *dx = (dy * weight - mean_d - (x - mean) * scale * mean_dn) * scale;
            }
        }
    }
}

/// Mean and 1 / sqrt(variance + eps). The variance is summed around the mean: the difference of the mean square and
/// the squared mean loses its digits where the mean is large.
#[inline(always)]
fn statistics<V: Vector>(x: &[f32], eps: f32) -> (f32, f32) {
    let size = x.len() as f32;
    let mean = sum::<V>(x) / size;
    let (whole, rest) = x.split_at(x.len() / LANES * LANES);
    let squares = sum_of::<V, 1>([whole], |[x]| {
        let centred = x.add(V::splat(-mean));
        centred.mul(centred)
    });
    let rest: f32 = rest.iter().map(|x| (x - mean) * (x - mean)).sum();
    let variance = (squares + rest) / size;
    (mean, 1.0 / (variance + eps).sqrt())
}
