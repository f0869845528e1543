//! Element-wise loops on the CPU, in parallel pieces.

use rayon::prelude::*;

/// Elements a task takes at once: enough to outweigh its hand-over.
const PIECE: usize = 4096;

/// The logistic function. exp(-x) may overflow to infinity, which gives the right 0.
pub fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

pub fn map(a: &[f32], f: impl Fn(f32) -> f32 + Sync) -> Vec<f32> {
    a.par_iter().with_min_len(PIECE).map(|&a| f(a)).collect()
}

pub fn map2(a: &[f32], b: &[f32], f: impl Fn(f32, f32) -> f32 + Sync) -> Vec<f32> {
    a.par_iter()
        .zip(b)
        .with_min_len(PIECE)
        .map(|(&a, &b)| f(a, b))
        .collect()
}

pub fn map3(
    a: &[f32],
    b: &[f32],
    c: &[f32],
    f: impl Fn(f32, f32, f32) -> (f32, f32) + Sync,
) -> (Vec<f32>, Vec<f32>) {
    a.par_iter()
        .zip(b)
        .zip(c)
        .with_min_len(PIECE)
        .map(|((&a, &b), &c)| f(a, b, c))
        .unzip()
}
