//! LayerNorm and token shift on the CPU: a row's normal form is computed once, used as the row and as the row before
//! the next, and goes to the products without touching memory in between.

use std::ops::Range;

use rayon::prelude::*;

use super::Offsets;
use crate::ops::level::Level;
use crate::ops::linear::{Product, Rows};
use crate::ops::norm::Params;

/// Rows that a backward task takes at once.
const PIECE: usize = 32;

pub fn forward(
    norm: Params,
    x: &[f32],
    first: &[f32],
    mixes: &[&[f32]],
    offsets: &Offsets,
    product: Product,
) -> Vec<Rows> {
    let channels = first.len();
    let row = |t: usize| &x[t * channels..][..channels];
    Rows::fill(
        product,
        [offsets.rows(), channels],
        mixes.len(),
        |range: Range<usize>, out| {
            let (mut now, mut before) = (vec![0.0; channels], vec![0.0; channels]);
            let mut mixed = vec![0.0; channels];
            if !offsets.is_start(range.start) {
                norm.row(row(range.start - 1), &mut now);
            }
            for t in range {
                std::mem::swap(&mut now, &mut before);
                norm.row(row(t), &mut now);
                let before = if offsets.is_start(t) { first } else { &before };
                for (i, mix) in mixes.iter().enumerate() {
                    for (((x, now), before), mix) in mixed.iter_mut().zip(&now).zip(before).zip(*mix) {
                        *x = now * mix + before * (1.0 - mix);
                    }
                    out.put(i, t, &mixed);
                }
            }
        },
    )
}

/// (d_out plus what comes back through the mixes and the norm, dfirst).
pub fn backward(
    norm: Params,
    x: &[f32],
    d_out: &[f32],
    d_mixed: &[&[f32]],
    mixes: &[&[f32]],
    offsets: &Offsets,
) -> (Vec<f32>, Vec<f32>) {
    let (channels, level) = (norm.weight.len(), Level::current());
    let rows = offsets.rows();
    let mut dx = vec![0.0; x.len()];
    dx.par_chunks_mut(PIECE * channels)
        .enumerate()
        .for_each(|(piece, dx)| {
            level.run(|| {
                let mut da = vec![0.0; channels];
                for (t, dx) in (piece * PIECE..).zip(dx.chunks_mut(channels)) {
                    da.fill(0.0);
                    let followed = t + 1 < rows && !offsets.is_start(t + 1);
                    for (d, mix) in d_mixed.iter().zip(mixes) {
                        let now = &d[t * channels..][..channels];
                        for ((da, d), mix) in da.iter_mut().zip(now).zip(*mix) {
                            *da += mix * d;
                        }
                        if followed {
                            let next = &d[(t + 1) * channels..][..channels];
                            for ((da, d), mix) in da.iter_mut().zip(next).zip(*mix) {
                                *da += (1.0 - mix) * d;
                            }
                        }
                    }
                    norm.row_backward(&da, &x[t * channels..][..channels], dx);
                    for (dx, d) in dx.iter_mut().zip(&d_out[t * channels..]) {
                        *dx += d;
                    }
                }
            });
        });

    let mut dfirst = vec![0.0; channels];
    level.run(|| {
        for &start in offsets.starts() {
            for (d, mix) in d_mixed.iter().zip(mixes) {
                for ((dfirst, d), mix) in dfirst.iter_mut().zip(&d[start * channels..]).zip(*mix) {
                    *dfirst += (1.0 - mix) * d;
                }
            }
        }
    });
    (dx, dfirst)
}

/// The norm of some rows of x, one after another.
pub fn normal_rows(norm: Params, x: &[f32], rows: impl Iterator<Item = usize>) -> Vec<f32> {
    let channels = norm.weight.len();
    let mut out = Vec::new();
    for t in rows {
        let start = out.len();
        out.resize(start + channels, 0.0);
        norm.row(&x[t * channels..][..channels], &mut out[start..]);
    }
    out
}
