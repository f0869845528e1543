//! The recurrence on the CPU: every head of every sequence is a task of its own, makes its keys and
//! goes through its tokens with a matrix in cache. Where there are fewer such tasks than threads,
//! threads share a task, its keys by tokens and its matrix by columns: a column of values changes
//! without the others, and what is summed over values needs no other key.

mod backward;
mod forward;
mod gradients;
mod keys;
mod matrix;
mod task;

use std::ops::Range;

use candle_core::{Result, Shape, Tensor};
use rayon::prelude::*;

use self::backward::{BackwardPass, FirstSweep, SecondSweep, backward_keys, backwards, forwards};
use self::keys::TaskKeys;
use self::task::DeltaTask;
use super::DeltaViews;
use crate::ops::cpu::activations::{Activations, ActivationsOutput};
use crate::ops::cpu::level::Level;
use crate::ops::cpu::output::{Output, OutputParts};
use crate::ops::cpu::sequences::sum_over_sequences;
use crate::ops::linear::{Packed, PackedOutput, ProductType};

/// What a forward pass makes.
pub struct PlainForward {
    /// `[N, C]`, as r's type.
    pub y: Tensor,
    /// `[N, H]`.
    pub q: Vec<f32>,
    /// `[N, C]`.
    pub sa: Vec<f32>,
    /// `[sequences, H, K, K]`.
    pub ends: Vec<f32>,
}

pub fn forward(x: &DeltaViews) -> Result<PlainForward> {
    let level = Level::current();
    let (rows, channels) = (x.offsets.rows(), x.n_head * x.head_size);
    let mut y = ActivationsOutput::new(x.r.dtype(), rows * channels)?;
    let mut sa = Output::new(rows * channels);
    let mut q = Output::new(rows * x.n_head);
    let out = forward::ForwardParts {
        y: y.parts(),
        sa: sa.parts(),
        q: q.parts(),
    };
    let mut ends = Output::new(x.offsets.sequences() * x.state.len());
    ends.memory()
        .par_chunks_exact_mut(x.head_size * x.head_size)
        .zip(tasks(x))
        .for_each(|(end, task)| {
            let keys = TaskKeys::new(level, x, &task, false);
            let end = OutputParts::of(end);
            task.shares(|columns| forward::forward(level, x, &task, &keys, columns, &out, &end));
        });
    // SAFETY: every head of every row belongs to a task, which writes it, and its end.
    unsafe {
        Ok(PlainForward {
            y: y.finish(&Shape::from((rows, channels)))?,
            q: q.finish(),
            sa: sa.finish(),
            ends: ends.finish(),
        })
    }
}

/// What a backward pass makes.
pub struct PlainGradients {
    pub dr: Packed,
    pub dw: Packed,
    pub d_kappa: Packed,
    pub da: Packed,
    /// `[N, C]`.
    pub dv: Vec<f32>,
    /// `[H, K, K]`.
    pub dstate: Vec<f32>,
}

pub fn backward(
    dy: Activations,
    dq: &[f32],
    sa: &[f32],
    x: &DeltaViews,
    product: ProductType,
) -> PlainGradients {
    let (size, level) = (x.head_size, Level::current());
    let dims @ [rows, channels] = [x.offsets.rows(), x.n_head * size];
    let mut packed = [(); 4].map(|()| PackedOutput::new(product, dims));
    let mut dv = Output::new(rows * channels);
    let [dr, dw, d_kappa, da] = packed.each_mut().map(PackedOutput::parts);
    let pass = BackwardPass {
        x,
        dy,
        dq,
        sa,
        dr,
        dw,
        d_kappa,
        da,
        dv: dv.parts(),
    };
    let mut starts = Output::new(x.offsets.sequences() * x.state.len());
    starts
        .memory()
        .par_chunks_exact_mut(size * size)
        .zip(tasks(x))
        .for_each(|(start, task)| {
            let keys = TaskKeys::new(level, x, &task, true);
            let mut minus_dsa = Output::new(task.rows.len() * size);
            let (dsa_parts, start_parts) = (minus_dsa.parts(), OutputParts::of(start));
            let sums = task.shares(|columns| {
                backwards(
                    level,
                    &pass,
                    &task,
                    &keys,
                    columns,
                    [&dsa_parts, &start_parts],
                )
            });
            // SAFETY: the shares' columns are the whole.
            let (minus_dsa, start) = unsafe { (minus_dsa.finish(), start.assume_init_ref()) };
            let first = FirstSweep {
                minus_dsa: &minus_dsa,
                start,
                sums: &sums,
            };
            let mut of_keys = [(); 3].map(|()| Output::new(task.rows.len() * size));
            let [dkk, dalpha, dk] = of_keys.each_mut().map(Output::parts);
            let second = SecondSweep { dkk, dalpha, dk };
            task.shares(|columns| forwards(level, &pass, &task, &keys, columns, &first, &second));
            // SAFETY: as above.
            let of_keys = of_keys.map(|d| unsafe { d.finish() });
            let of_keys = of_keys.each_ref().map(|d| &d[..]);
            task.pieces(|rows| backward_keys(level, &pass, &task, rows, of_keys));
        });
    // SAFETY: every head of every row belongs to a task, which writes it, and its start.
    let ([dr, dw, d_kappa, da], starts) =
        unsafe { (packed.map(|out| out.finish()), starts.finish()) };
    PlainGradients {
        dr,
        dw,
        d_kappa,
        da,
        // SAFETY: as above.
        dv: unsafe { dv.finish() },
        dstate: sum_over_sequences(&starts, x.state.len()),
    }
}

/// All tasks, sequence by sequence, head by head.
fn tasks<'a>(x: &'a DeltaViews) -> impl IndexedParallelIterator<Item = DeltaTask<'a>> {
    let (size, n_head) = (x.head_size, x.n_head);
    let sequences: Vec<Range<usize>> = x.offsets.ranges().collect();
    let count = sequences.len() * n_head;
    (0..count).into_par_iter().map(move |task| {
        let head = task % n_head;
        DeltaTask {
            rows: sequences[task / n_head].clone(),
            state: &x.state[head * size * size..][..size * size],
            decay: &x.decay[head * size..][..size],
            bonus: &x.bonus[head * size..][..size],
            keys: x.keys.of_head(head, size),
            head,
            n_head,
            size,
            count,
        }
    })
}
