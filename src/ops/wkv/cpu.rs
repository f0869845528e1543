//! WKV on the CPU: every head of every sequence is a task of its own, and steps through its tokens with S in cache.
//!
//! S lies in columns of vectors, `[K / LANES][K]`, so that what is summed over rows stays in one register. The bonus is
//! taken out of the sum: y = r S + (r . (u * k)) v.

use std::ops::Range;

use rayon::prelude::*;

use super::Inputs;
use crate::ops::Parts;
use crate::ops::level::Level;
use crate::ops::vector::{LANES, Lanes, dot, sum_of};

/// (y `[N, C]`, end states `[sequences, H, K, K]`).
pub fn forward(x: &Inputs) -> (Vec<f32>, Vec<f32>) {
    let (size, level) = (x.head_size, Level::current());
    let mut y = vec![0.0; x.r.len()];
    let mut end = vec![0.0; x.offsets.sequences() * x.state.len()];
    let out = Parts::new(&mut y);
    end.par_chunks_exact_mut(size * size)
        .zip(tasks(x))
        .for_each(|(end, task)| level.run(|| task.forward(x, &out, end)));
    (y, end)
}

/// dr, dk, dv `[N, C]` and the learned state's gradient `[H, K, K]`.
pub fn backward(dy: &[f32], x: &Inputs) -> [Vec<f32>; 4] {
    let (size, level) = (x.head_size, Level::current());
    let [mut dr, mut dk, mut dv] = [(); 3].map(|()| vec![0.0; dy.len()]);
    let mut starts = vec![0.0; x.offsets.sequences() * x.state.len()];
    let outs = [&mut dr, &mut dk, &mut dv].map(|out| Parts::new(out));
    starts
        .par_chunks_exact_mut(size * size)
        .zip(tasks(x))
        .for_each(|(start, task)| {
            level.run(|| {
                task.backward_r(dy, x, &outs[0]);
                task.backward_kv(dy, x, &outs[1], &outs[2], start);
            });
        });
    // In order, so that the same batch gives the same sum.
    let mut dstate = vec![0.0; x.state.len()];
    for start in starts.chunks_exact(dstate.len()) {
        for (sum, g) in dstate.iter_mut().zip(start) {
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
    #[inline(always)]
    fn forward(&self, x: &Inputs, y: &Parts, end: &mut [f32]) {
        let size = self.size;
        let mut s = Matrix::new(self.state, size);
        for t in self.rows.clone() {
            let (r, k, v) = (self.row(x.r, t), self.row(x.k, t), self.row(x.v, t));
            let bonus = self.bonus_of(r, k);
            // SAFETY: no other task has this head of this sequence.
            let y = unsafe { y.part(self.at(t)) };
            for (column, y) in s.columns().zip(y.chunks_mut(LANES)) {
                let v = Lanes::load(&v[column.start..]);
                // Two sums, since each addition waits for the one before.
                let mut sums = [Lanes::ZERO.add_scaled(bonus, v), Lanes::ZERO];
                for (i, s) in column.rows.iter_mut().enumerate() {
                    sums[i % 2] = sums[i % 2].add_scaled(r[i], *s);
                    *s = s.scale(self.decay[i]).add_scaled(k[i], v);
                }
                sums[0].add_scaled(1.0, sums[1]).store(y);
            }
        }
        s.write(end);
    }

    /// dr_t = S_t dy_t + (u * k_t) (v_t . dy_t), with S transposed: its rows are values, its lanes keys.
    #[inline(always)]
    fn backward_r(&self, dy: &[f32], x: &Inputs, dr: &Parts) {
        let size = self.size;
        let mut s = Matrix::transposed(self.state, size);
        for t in self.rows.clone() {
            let (k, v, dy) = (self.row(x.k, t), self.row(x.v, t), self.row(dy, t));
            let v_dy = dot(v, dy);
            // SAFETY: no other task has this head of this sequence.
            let dr = unsafe { dr.part(self.at(t)) };
            for (column, dr) in s.columns().zip(dr.chunks_mut(LANES)) {
                let k = Lanes::load(&k[column.start..]);
                let decay = Lanes::load(&self.decay[column.start..]);
                let bonus = Lanes::load(&self.bonus[column.start..]);
                let mut sums = [Lanes::ZERO.add_product(bonus.scale(v_dy), k), Lanes::ZERO];
                for (j, s) in column.rows.iter_mut().enumerate() {
                    sums[j % 2] = sums[j % 2].add_scaled(dy[j], *s);
                    *s = Lanes::ZERO.add_product(decay, *s).add_scaled(v[j], k);
                }
                sums[0].add_scaled(1.0, sums[1]).store(dr);
            }
        }
    }

    /// dk, dv and G at the start, from the end backwards.
    #[inline(always)]
    fn backward_kv(&self, dy: &[f32], x: &Inputs, dk: &Parts, dv: &Parts, start: &mut [f32]) {
        let size = self.size;
        let mut g = Matrix::new(start, size);
        let mut g_v = vec![Lanes::ZERO; size];
        for t in self.rows.clone().rev() {
            let (r, k) = (self.row(x.r, t), self.row(x.k, t));
            let (v, dy) = (self.row(x.v, t), self.row(dy, t));
            let bonus = self.bonus_of(r, k);
            g_v.fill(Lanes::ZERO);
            // SAFETY: no other task has this head of this sequence.
            let (dk, dv) = unsafe { (dk.part(self.at(t)), dv.part(self.at(t))) };
            for (column, dv) in g.columns().zip(dv.chunks_mut(LANES)) {
                let v = Lanes::load(&v[column.start..]);
                let dy = Lanes::load(&dy[column.start..]);
                let mut sums = [Lanes::ZERO.add_scaled(bonus, dy), Lanes::ZERO];
                for (i, (g, g_v)) in column.rows.iter_mut().zip(&mut g_v).enumerate() {
                    sums[i % 2] = sums[i % 2].add_scaled(k[i], *g);
                    *g_v = g_v.add_product(*g, v);
                    *g = g.scale(self.decay[i]).add_scaled(r[i], dy);
                }
                sums[0].add_scaled(1.0, sums[1]).store(dv);
            }
            let v_dy = dot(v, dy);
            for (i, (dk, g_v)) in dk.iter_mut().zip(&g_v).enumerate() {
                *dk = g_v.sum() + self.bonus[i] * r[i] * v_dy;
            }
        }
        g.write(start);
    }

    /// r . (u * k)
    #[inline(always)]
    fn bonus_of(&self, r: &[f32], k: &[f32]) -> f32 {
        let (r, k, u) = (&r[..self.size], &k[..self.size], &self.bonus[..self.size]);
        sum_of(self.size, |i| r[i] * u[i] * k[i])
    }

    /// This head's channels of row `t`.
    #[inline(always)]
    fn row<'a>(&self, x: &'a [f32], t: usize) -> &'a [f32] {
        &x[self.at(t)]
    }

    #[inline(always)]
    fn at(&self, t: usize) -> Range<usize> {
        let start = t * self.channels + self.first;
        start..start + self.size
    }
}

/// A square matrix in columns of vectors.
struct Matrix {
    lanes: Vec<Lanes>,
    size: usize,
}

/// [`LANES`] columns of a matrix, `start` the first of them.
struct Column<'a> {
    start: usize,
    rows: &'a mut [Lanes],
}

impl Matrix {
    /// From numbers row by row.
    fn new(values: &[f32], size: usize) -> Self {
        let columns = (0..size).step_by(LANES);
        let lanes = columns.flat_map(|start| {
            let rows = values.chunks_exact(size);
            rows.map(move |row| Lanes::load(&row[start..]))
        });
        Self {
            lanes: lanes.collect(),
            size,
        }
    }

    fn transposed(values: &[f32], size: usize) -> Self {
        let flipped: Vec<f32> = (0..size * size)
            .map(|i| values[i % size * size + i / size])
            .collect();
        Self::new(&flipped, size)
    }

    #[inline(always)]
    fn columns(&mut self) -> impl Iterator<Item = Column<'_>> {
        let columns = self.lanes.chunks_exact_mut(self.size).enumerate();
        columns.map(|(i, rows)| Column {
            start: i * LANES,
            rows,
        })
    }

    fn write(&mut self, out: &mut [f32]) {
        let size = self.size;
        for column in self.columns() {
            for (row, lanes) in out.chunks_exact_mut(size).zip(column.rows) {
                let end = (column.start + LANES).min(size);
                lanes.store(&mut row[column.start..end]);
            }
        }
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
