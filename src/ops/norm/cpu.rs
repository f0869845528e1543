//! Normalisation on the CPU: rows in parallel, each group read three times (mean, variance, values)
//! while it is in cache.

use candle_core::{DType, Result, Shape, Tensor};
use rayon::prelude::*;

use crate::ops::cpu::activations::{Activations, ActivationsOutput};
use crate::ops::cpu::level::{Level, vectorised};
use crate::ops::cpu::output::rows;
use crate::ops::cpu::vector::{LANES, Vector, dot, sum, sum_of};

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

/// y `[rows, C]` from x `[rows, C]`.
pub fn forward(x: &[f32], norm: Params) -> Vec<f32> {
    let (channels, level) = (norm.weight.len(), Level::current());
    rows(x.len(), channels, PIECE, |_| {
        |t, y: &mut [f32]| row(level, norm, &x[t * channels..][..channels], y)
    })
}

/// dx `[rows, C]`, stored as `dtype`.
pub fn backward(dy: Activations, x: Activations, norm: Params, dtype: DType) -> Result<Tensor> {
    let (channels, level) = (norm.weight.len(), Level::current());
    let count = x.len() / channels;
    let mut dx = ActivationsOutput::new(dtype, x.len())?;
    let out = dx.parts();
    (0..count.div_ceil(PIECE))
        .into_par_iter()
        .for_each(|piece| {
            let [mut dx, mut dy_scratch, mut x_scratch] = [(); 3].map(|()| vec![0.0; channels]);
            for t in piece * PIECE..count.min((piece + 1) * PIECE) {
                let at = t * channels..(t + 1) * channels;
                let dy = dy.part(level, at.clone(), &mut dy_scratch);
                let x = x.part(level, at.clone(), &mut x_scratch);
                row_backward(level, norm, dy, x, &mut dx);
                // SAFETY: pieces are disjoint.
                unsafe { out.write(level, at.start, &dx) };
            }
        });
    // SAFETY: the pieces are the whole.
    unsafe { dx.finish(&Shape::from((count, channels))) }
}

vectorised! {
    /// One row's y.
    pub fn row<V: Vector>(level: Level, norm: Params<'_>, x: &[f32], y: &mut [f32]) {
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
    pub fn row_backward<V: Vector>(
        level: Level,
        norm: Params<'_>,
        dy: &[f32],
        x: &[f32],
        dx: &mut [f32],
    ) {
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

/// Mean and 1 / sqrt(variance + eps). The variance is summed around the mean: the difference of the
/// mean square and the squared mean loses its digits where the mean is large.
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
