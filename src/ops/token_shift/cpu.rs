//! LayerNorm and token shift on the CPU: a row's normal form is computed once, used as the row and
//! as the row before the next, and goes to the products without touching memory in between.

use std::ops::Range;

use super::Offsets;
use crate::ops::cpu::activations::Activations;
use crate::ops::cpu::level::{Level, vectorised};
use crate::ops::cpu::output::rows;
use crate::ops::linear::{Packed, ProductType};
use crate::ops::norm::{self, Params};

/// Rows that a backward task takes at once.
const PIECE: usize = 32;

/// A token shift's plain numbers.
pub struct Shift<'a> {
    pub norm: Params<'a>,
    pub mixes: &'a [&'a [f32]],
    pub offsets: &'a Offsets,
}

impl Shift<'_> {
    /// One mixed copy of x's normal rows for each mix.
    pub fn forward(&self, x: &[f32], first: &[f32], product: ProductType) -> Vec<Packed> {
        let &Self {
            norm,
            mixes,
            offsets,
        } = self;
        let (channels, level) = (first.len(), Level::current());
        let row = |t: usize| &x[t * channels..][..channels];
        Packed::fill(
            product,
            [offsets.rows(), channels],
            mixes.len(),
            |range: Range<usize>, out| {
                let (mut now, mut before) = (vec![0.0; channels], vec![0.0; channels]);
                let mut mixed = vec![0.0; channels];
                if !offsets.is_start(range.start) {
                    norm::row(level, norm, row(range.start - 1), &mut now);
                }
                for t in range {
                    std::mem::swap(&mut now, &mut before);
                    norm::row(level, norm, row(t), &mut now);
                    let before = if offsets.is_start(t) { first } else { &before };
                    for (i, mix) in mixes.iter().enumerate() {
                        mix_rows(level, &now, before, mix, &mut mixed);
                        out.put(i, t, &mixed);
                    }
                }
            },
        )
    }

    /// (d_out plus what comes back through the mixes and the norm, dfirst).
    pub fn backward(
        &self,
        x: &[f32],
        d_out: &[f32],
        d_mixed: &[Activations],
    ) -> (Vec<f32>, Vec<f32>) {
        let &Self {
            norm,
            mixes,
            offsets,
        } = self;
        let (channels, level) = (norm.weight.len(), Level::current());
        let count = offsets.rows();
        let row = |t: usize| t * channels..(t + 1) * channels;
        let dx = rows(x.len(), channels, PIECE, |first| {
            let mut da = vec![0.0; channels];
            // The row of each gradient that comes next, and the one after it.
            let mut next: Vec<[Vec<f32>; 2]> = d_mixed
                .iter()
                .map(|d| {
                    let mut scratch = [(); 2].map(|()| vec![0.0; channels]);
                    d.copy(level, row(first), &mut scratch[0]);
                    scratch
                })
                .collect();
            move |t, dx: &mut [f32]| {
                da.fill(0.0);
                for ((d, mix), [now, after]) in d_mixed.iter().zip(mixes).zip(&mut next) {
                    add_scaled(level, mix, now, &mut da);
                    if t + 1 < count {
                        d.copy(level, row(t + 1), after);
                        if !offsets.is_start(t + 1) {
                            add_rest(level, mix, after, &mut da);
                        }
                    }
                    std::mem::swap(now, after);
                }
                norm::row_backward(level, norm, &da, &x[row(t)], dx);
                add(level, &d_out[row(t)], dx);
            }
        });

        let [mut dfirst, mut of_one, mut scratch] = [(); 3].map(|()| vec![0.0; channels]);
        for &start in offsets.starts() {
            // Each sequence by itself, so that a share of a batch has the same term for it.
            of_one.fill(0.0);
            for (d, mix) in d_mixed.iter().zip(mixes) {
                let d = d.part(level, row(start), &mut scratch);
                add_rest(level, mix, d, &mut of_one);
            }
            add(level, &of_one, &mut dfirst);
        }
        (dx, dfirst)
    }
}

/// The norm of some rows of x, one after another.
pub fn normal_rows(norm: Params, x: &[f32], rows: impl Iterator<Item = usize>) -> Vec<f32> {
    let channels = norm.weight.len();
    let mut out = Vec::new();
    for t in rows {
        let start = out.len();
        out.resize(start + channels, 0.0);
        let x = &x[t * channels..][..channels];
        norm::row(Level::current(), norm, x, &mut out[start..]);
    }
    out
}

vectorised! {
    /// now * mix + before * (1 - mix)
    fn mix_rows<V: Vector>(
        level: Level,
        now: &[f32],
        before: &[f32],
        mix: &[f32],
        out: &mut [f32],
    ) {
        for (((x, now), before), mix) in out.iter_mut().zip(now).zip(before).zip(mix) {
            *x = now * mix + before * (1.0 - mix);
        }
    }
}

vectorised! {
    /// sum + mix * d
    fn add_scaled<V: Vector>(level: Level, mix: &[f32], d: &[f32], sum: &mut [f32]) {
        for ((sum, d), mix) in sum.iter_mut().zip(d).zip(mix) {
            *sum += mix * d;
        }
    }
}

vectorised! {
    /// sum + (1 - mix) * d
    fn add_rest<V: Vector>(level: Level, mix: &[f32], d: &[f32], sum: &mut [f32]) {
        for ((sum, d), mix) in sum.iter_mut().zip(d).zip(mix) {
            *sum += (1.0 - mix) * d;
        }
    }
}

vectorised! {
    fn add<V: Vector>(level: Level, d: &[f32], sum: &mut [f32]) {
        for (sum, d) in sum.iter_mut().zip(d) {
            *sum += d;
        }
    }
}
