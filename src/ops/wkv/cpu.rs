//! WKV on the CPU: every head of every sequence is a task of its own, and steps through its tokens with S in cache.

use std::ops::Range;

use rayon::prelude::*;

use super::Inputs;
use crate::ops::dot;

/// (y `[N, C]`, end states `[sequences, H, K, K]`).
pub fn forward(x: &Inputs) -> (Vec<f32>, Vec<f32>) {
    let size = x.head_size;
    let heads: Vec<([Vec<f32>; 1], Vec<f32>)> = tasks(x)
        .map(|task| {
            let mut s = task.state.to_vec();
            let mut y = vec![0.0; task.rows.len() * size];
            for (t, y) in task.rows.clone().zip(y.chunks_exact_mut(size)) {
                let (r, k, v) = (task.row(x.r, t), task.row(x.k, t), task.row(x.v, t));
                for (i, s) in s.chunks_exact_mut(size).enumerate() {
                    let (r, k, w, u) = (r[i], k[i], task.decay[i], task.bonus[i]);
                    for j in 0..size {
                        let kv = k * v[j];
                        y[j] += r * (s[j] + u * kv);
                        s[j] = w * s[j] + kv;
                    }
                }
            }
            ([y], s)
        })
        .collect();
    let [y] = gather(x, heads.iter().map(|(y, _)| y));
    (y, heads.into_iter().flat_map(|(_, s)| s).collect())
}

/// dr, dk, dv `[N, C]` and the learned state's gradient `[H, K, K]`.
pub fn backward(dy: &[f32], x: &Inputs) -> [Vec<f32>; 4] {
    let size = x.head_size;
    let heads: Vec<([Vec<f32>; 3], Vec<f32>)> = tasks(x)
        .map(|task| {
            let mut dr = vec![0.0; task.rows.len() * size];
            let (mut dk, mut dv) = (dr.clone(), dr.clone());

            let mut s = task.state.to_vec();
            for (t, dr) in task.rows.clone().zip(dr.chunks_exact_mut(size)) {
                let (k, v, dy) = (task.row(x.k, t), task.row(x.v, t), task.row(dy, t));
                let v_dy = dot(v, dy);
                for (i, s) in s.chunks_exact_mut(size).enumerate() {
                    dr[i] = dot(s, dy) + task.bonus[i] * k[i] * v_dy;
                    for j in 0..size {
                        s[j] = task.decay[i] * s[j] + k[i] * v[j];
                    }
                }
            }

            let mut g = vec![0.0; size * size];
            for (t, (dk, dv)) in task
                .rows
                .clone()
                .zip(dk.chunks_exact_mut(size).zip(dv.chunks_exact_mut(size)))
                .rev()
            {
                let (r, k, v, dy) = (
                    task.row(x.r, t),
                    task.row(x.k, t),
                    task.row(x.v, t),
                    task.row(dy, t),
                );
                let v_dy = dot(v, dy);
                let mut r_uk = 0.0;
                for (i, g) in g.chunks_exact_mut(size).enumerate() {
                    dk[i] = dot(g, v) + task.bonus[i] * r[i] * v_dy;
                    r_uk += r[i] * task.bonus[i] * k[i];
                    for j in 0..size {
                        dv[j] += g[j] * k[i];
                        g[j] = task.decay[i] * g[j] + r[i] * dy[j];
                    }
                }
                for (dv, dy) in dv.iter_mut().zip(dy) {
                    *dv += r_uk * dy;
                }
            }
            ([dr, dk, dv], g)
        })
        .collect();
    let [dr, dk, dv] = gather(x, heads.iter().map(|(rows, _)| rows));
    let mut dstate = vec![0.0; x.state.len()];
    for (task, (_, g)) in heads.iter().enumerate() {
        let head = task % x.n_head;
        for (sum, g) in dstate[head * size * size..].iter_mut().zip(g) {
            *sum += g;
        }
    }
    [dr, dk, dv, dstate]
}

/// One head of one sequence.
struct Task<'a> {
    rows: Range<usize>,
    state: &'a [f32],
    decay: &'a [f32],
    bonus: &'a [f32],
    /// Where this head's channels begin in a row, how many they are, and how long a row is.
    first: usize,
    size: usize,
    channels: usize,
}

impl Task<'_> {
    /// This head's channels of row `t`.
    fn row<'a>(&self, x: &'a [f32], t: usize) -> &'a [f32] {
        &x[t * self.channels + self.first..][..self.size]
    }
}

/// All tasks, sequence by sequence, head by head.
fn tasks<'a>(x: &'a Inputs) -> impl IndexedParallelIterator<Item = Task<'a>> {
    let size = x.head_size;
    let sequences: Vec<Range<usize>> = x.offsets.ranges().collect();
    (0..sequences.len() * x.n_head)
        .into_par_iter()
        .map(move |task| {
            let head = task % x.n_head;
            Task {
                rows: sequences[task / x.n_head].clone(),
                state: &x.state[head * size * size..][..size * size],
                decay: &x.decay[head * size..][..size],
                bonus: &x.bonus[head * size..][..size],
                first: head * size,
                size,
                channels: x.n_head * size,
            }
        })
}

/// Sets the tasks' results, each `[rows of its sequence, K]`, back side by side into `[N, C]`.
fn gather<'a, const M: usize>(
    x: &Inputs,
    heads: impl Iterator<Item = &'a [Vec<f32>; M]>,
) -> [Vec<f32>; M] {
    let channels = x.n_head * x.head_size;
    let heads: Vec<_> = heads.collect();
    std::array::from_fn(|m| {
        let mut whole = Vec::with_capacity(x.offsets.rows() * channels);
        for (range, heads) in x.offsets.ranges().zip(heads.chunks_exact(x.n_head)) {
            for t in 0..range.len() {
                for head in heads {
                    whole.extend_from_slice(&head[m][t * x.head_size..][..x.head_size]);
                }
            }
        }
        whole
    })
}
