//! WKV on the CPU: every head of every sequence is a task of its own, and steps through its tokens with S in cache.
//!
//! S lies in columns of vectors, `[K / LANES][K]`, so that what is summed over rows stays in one register. The bonus is
//! taken out of the sum: y = r S + (r . (u * k)) v.

use std::ops::Range;

use rayon::prelude::*;

use super::Inputs;
use crate::ops::level::{Level, vectorised};
use crate::ops::output::{Output, Parts, cleared};
use crate::ops::vector::{LANES, Vector, dot, sum_of};

/// (y `[N, C]`, end states `[sequences, H, K, K]`).
pub fn forward(x: &Inputs) -> (Vec<f32>, Vec<f32>) {
    let (size, level) = (x.head_size, Level::current());
    let mut y = Output::new(x.r.len());
    let mut end = vec![0.0; x.offsets.sequences() * x.state.len()];
    let out = y.parts();
    end.par_chunks_exact_mut(size * size)
        .zip(tasks(x))
        .for_each(|(end, task)| head_forward(level, &task, x, &out, end));
    // SAFETY: every head of every row belongs to a task, which writes it.
    (unsafe { y.finish() }, end)
}

/// dr, dk, dv `[N, C]` and the learned state's gradient `[H, K, K]`.
pub fn backward(dy: &[f32], x: &Inputs) -> [Vec<f32>; 4] {
    let (size, level) = (x.head_size, Level::current());
    let mut outs = [(); 3].map(|()| Output::new(dy.len()));
    let mut starts = vec![0.0; x.offsets.sequences() * x.state.len()];
    let parts = outs.each_mut().map(Output::parts);
    starts
        .par_chunks_exact_mut(size * size)
        .zip(tasks(x))
        .for_each(|(start, task)| {
            head_backward_r(level, &task, dy, x, &parts[0]);
            head_backward_kv(level, &task, dy, x, &parts[1..], start);
        });
    // In order, so that the same batch gives the same sum.
    let mut dstate = vec![0.0; x.state.len()];
    for start in starts.chunks_exact(dstate.len()) {
        for (sum, g) in dstate.iter_mut().zip(start) {
            *sum += g;
        }
    }
    // SAFETY: as above.
    let [dr, dk, dv] = outs.map(|out| unsafe { out.finish() });
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

vectorised! {
    fn head_forward(task: &Task<'_>, x: &Inputs<'_>, y: &Parts<'_>, end: &mut [f32]) {
        let mut s = Matrix::<V>::new(task.state, task.size);
        for t in task.rows.clone() {
            let (r, k, v) = (task.row(x.r, t), task.row(x.k, t), task.row(x.v, t));
            let bonus = V::splat(task.bonus_of::<V>(r, k));
            // SAFETY: no other task has this head of this sequence.
            let y = cleared(unsafe { y.part(task.at(t)) }, 0.0);
            for (column, y) in s.columns().zip(y.chunks_mut(LANES)) {
                let v = V::load(&v[column.start..]);
                let mut sums = [bonus.mul(v), V::zero()];
                let scalars = r.iter().zip(k).zip(task.decay).map(|((r, k), w)| [*r, *k, *w]);
                each_pair(column.rows, scalars, |i, s, scalars| {
                    let [r, k, w] = scalars.map(V::splat);
                    sums[i] = sums[i].add_product(r, *s);
                    *s = s.mul(w).add_product(k, v);
                });
                sums[0].add(sums[1]).store(y);
            }
        }
        s.write(end);
    }
}

vectorised! {
    /// dr_t = S_t dy_t + (u * k_t) (v_t . dy_t), with S transposed: its rows are values, its lanes keys.
    fn head_backward_r(task: &Task<'_>, dy: &[f32], x: &Inputs<'_>, dr: &Parts<'_>) {
        let mut s = Matrix::<V>::transposed(task.state, task.size);
        for t in task.rows.clone() {
            let (k, v, dy) = (task.row(x.k, t), task.row(x.v, t), task.row(dy, t));
            let v_dy = V::splat(dot::<V>(v, dy));
            // SAFETY: no other task has this head of this sequence.
            let dr = cleared(unsafe { dr.part(task.at(t)) }, 0.0);
            for (column, dr) in s.columns().zip(dr.chunks_mut(LANES)) {
                let k = V::load(&k[column.start..]);
                let decay = V::load(&task.decay[column.start..]);
                let bonus = V::load(&task.bonus[column.start..]);
                let mut sums = [bonus.mul(v_dy).mul(k), V::zero()];
                let scalars = v.iter().zip(dy).map(|(v, dy)| [*v, *dy]);
                each_pair(column.rows, scalars, |i, s, scalars| {
                    let [v, dy] = scalars.map(V::splat);
                    sums[i] = sums[i].add_product(dy, *s);
                    *s = s.mul(decay).add_product(v, k);
                });
                sums[0].add(sums[1]).store(dr);
            }
        }
    }
}

vectorised! {
    /// dk, dv (`dkv`) and G at the start, from the end backwards.
    fn head_backward_kv(
        task: &Task<'_>,
        dy: &[f32],
        x: &Inputs<'_>,
        dkv: &[Parts<'_>],
        start: &mut [f32],
    ) {
        let mut g = Matrix::<V>::new(start, task.size);
        let mut g_v = vec![V::zero(); task.size];
        for t in task.rows.clone().rev() {
            let (r, k) = (task.row(x.r, t), task.row(x.k, t));
            let (v, dy) = (task.row(x.v, t), task.row(dy, t));
            let bonus = V::splat(task.bonus_of::<V>(r, k));
            g_v.fill(V::zero());
            // SAFETY: no other task has this head of this sequence.
            let [dk, dv] = [0, 1].map(|i| unsafe { dkv[i].part(task.at(t)) });
            let (dk, dv) = (cleared(dk, 0.0), cleared(dv, 0.0));
            for (column, dv) in g.columns().zip(dv.chunks_mut(LANES)) {
                let v = V::load(&v[column.start..]);
                let dy = V::load(&dy[column.start..]);
                let mut sums = [bonus.mul(dy), V::zero()];
                let scalars = r.iter().zip(k).zip(task.decay).zip(&mut g_v);
                each_pair(column.rows, scalars, |i, g, (((r, k), w), g_v)| {
                    let [r, k, w] = [*r, *k, *w].map(V::splat);
                    sums[i] = sums[i].add_product(k, *g);
                    *g_v = g_v.add_product(*g, v);
                    *g = g.mul(w).add_product(r, dy);
                });
                sums[0].add(sums[1]).store(dv);
            }
            let v_dy = dot::<V>(v, dy);
            for (((dk, g_v), r), u) in dk.iter_mut().zip(&g_v).zip(r).zip(task.bonus) {
                *dk = g_v.sum() + u * r * v_dy;
            }
        }
        g.write(start);
    }
}

/// Goes through rows two at a time, so that one sum need not wait for the other: `f` gets 0 or 1 first.
#[inline(always)]
fn each_pair<V, S>(
    rows: &mut [V],
    scalars: impl Iterator<Item = S>,
    mut f: impl FnMut(usize, &mut V, S),
) {
    let mut scalars = scalars;
    let mut pairs = rows.chunks_exact_mut(2);
    for pair in pairs.by_ref() {
        let [one, two] = pair else { continue };
        if let Some(scalars) = scalars.next() {
            f(0, one, scalars);
        }
        if let Some(scalars) = scalars.next() {
            f(1, two, scalars);
        }
    }
    if let ([last], Some(scalars)) = (pairs.into_remainder(), scalars.next()) {
        f(0, last, scalars);
    }
}

impl Task<'_> {
    /// r . (u * k)
    #[inline(always)]
    fn bonus_of<V: Vector>(&self, r: &[f32], k: &[f32]) -> f32 {
        sum_of::<V, 3>([r, self.bonus, k], |[r, u, k]| r.mul(u).mul(k))
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
struct Matrix<V> {
    lanes: Vec<V>,
    size: usize,
}

/// [`LANES`] columns of a matrix, `start` the first of them.
struct Column<'a, V> {
    start: usize,
    rows: &'a mut [V],
}

impl<V: Vector> Matrix<V> {
    /// From numbers row by row.
    #[inline(always)]
    fn new(values: &[f32], size: usize) -> Self {
        let columns = (0..size).step_by(LANES);
        let lanes = columns.flat_map(|start| {
            let rows = values.chunks_exact(size);
            rows.map(move |row| V::load(&row[start..]))
        });
        Self {
            lanes: lanes.collect(),
            size,
        }
    }

    #[inline(always)]
    fn transposed(values: &[f32], size: usize) -> Self {
        let flipped: Vec<f32> = (0..size * size)
            .map(|i| values[i % size * size + i / size])
            .collect();
        Self::new(&flipped, size)
    }

    #[inline(always)]
    fn columns(&mut self) -> impl Iterator<Item = Column<'_, V>> {
        let columns = self.lanes.chunks_exact_mut(self.size).enumerate();
        columns.map(|(i, rows)| Column {
            start: i * LANES,
            rows,
        })
    }

    #[inline(always)]
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
