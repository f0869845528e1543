//! WKV on the CPU: every head of every sequence is a task of its own, and steps through its tokens
//! with S in cache, a few tokens at a time: S is read and written once for all of them, and takes
//! two multiplications a token instead of three.
//!
//! With n tokens from S on, their numbers t and j from 0:
//!
//! ```text
//! y_t  = (w^t * r_t) S + sum over j <= t of A[t, j] v_j
//! dr_t = w^t * (dy_t S') + sum over j < t of P[t, j] w^(t-1-j) * k_j + P[t, t] u * k_t
//! S    = w^n * S + sum over j of (w^(n-1-j) * k_j)^T v_j
//!
//! A[t, j] = r_t . (w^(t-1-j) * k_j),  A[t, t] = r_t . (u * k_t),  P[t, j] = dy_t . v_j
//! ```
//!
//! With time reversed, r and k in each other's place, and v and dy too, S is G, y is dv and dr is
//! dk: two loops, `values` and `keys`, are all. No power of w is negative, so that nothing
//! overflows however fast a head forgets; S and G are given `NORMAL` each time, so that nothing
//! becomes subnormal. What is summed over values takes S transposed, so that
//! sums never run across lanes.

mod keys;
mod matrix;
mod rows;
mod task;
mod values;

use std::ops::Range;

use candle_core::{Result, Shape, Tensor};
use rayon::prelude::*;

use self::keys::keys;
use self::task::{Order, Out, Task};
use self::values::values;
use super::Inputs;
use crate::ops::cpu::activations::{Activations, ActivationsOutput};
use crate::ops::cpu::level::Level;
use crate::ops::cpu::output::{Output, cleared};
use crate::ops::cpu::sequences::sum_over_sequences;
use crate::ops::linear::{Packed, PackedOutput, ProductType};

/// (y `[N, C]` as r's type, end states `[sequences, H, K, K]`).
pub fn forward(x: &Inputs) -> Result<(Tensor, Vec<f32>)> {
    let (size, level) = (x.head_size, Level::current());
    let mut y = ActivationsOutput::new(x.r.dtype(), x.r.len())?;
    let mut ends = Output::new(x.offsets.sequences() * x.state.len());
    let out = Out::Tensor(y.parts());
    ends.memory()
        .par_chunks_exact_mut(size * size)
        .zip(tasks(x))
        .for_each(|(end, task)| {
            let end = end.write_copy_of_slice(task.state);
            let sweep = task.sweep(Order::Forwards, &out);
            values(level, sweep, [x.r, x.k, x.v], end);
        });
    let shape = Shape::from((x.offsets.rows(), x.n_head * size));
    // SAFETY: every head of every row belongs to a task, which writes it, and its end.
    unsafe { Ok((y.finish(&shape)?, ends.finish())) }
}

/// dr, dk, dv `[N, C]` and the learned state's gradient `[H, K, K]`.
pub fn backward(dy: Activations, x: &Inputs, product: ProductType) -> ([Packed; 3], Vec<f32>) {
    let (size, level) = (x.head_size, Level::current());
    let dims = [x.offsets.rows(), x.n_head * size];
    let mut outs = [(); 3].map(|()| PackedOutput::new(product, dims));
    let mut starts = Output::new(x.offsets.sequences() * x.state.len());
    let [dr, dk, dv] = outs.each_mut().map(|out| Out::Packed(out.parts()));
    starts
        .memory()
        .par_chunks_exact_mut(size * size)
        .zip(tasks(x))
        .for_each(|(start, task)| {
            let start = cleared(start, 0.0);
            let turned = transposed(task.state, size);
            let to_dr = task.sweep(Order::Forwards, &dr);
            let to_dk = task.sweep(Order::Backwards, &dk);
            let to_dv = task.sweep(Order::Backwards, &dv);
            keys(level, to_dr, [dy, x.v, x.k], &turned);
            keys(level, to_dk, [x.v, dy, x.r], start);
            values(level, to_dv, [x.k, x.r, dy], start);
        });
    // SAFETY: every sequence's heads are tasks, each of which clears its start.
    let starts = unsafe { starts.finish() };
    let dstate = sum_over_sequences(&starts, x.state.len());
    // SAFETY: as above.
    (outs.map(|out| unsafe { out.finish() }), dstate)
}

/// A square matrix's columns as rows.
fn transposed(matrix: &[f32], size: usize) -> Vec<f32> {
    let mut turned = vec![0.0; matrix.len()];
    for (row, numbers) in matrix.chunks_exact(size).enumerate() {
        for (turned, number) in turned[row..].iter_mut().step_by(size).zip(numbers) {
            *turned = *number;
        }
    }
    turned
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
