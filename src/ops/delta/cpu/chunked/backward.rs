//! The backward pass of one task in chunks: forwards for S before each of them, and backwards for all
//! else.

use std::mem::MaybeUninit;
use std::ops::Range;

use super::super::backward::BackwardPass;
use super::super::gradients::{KeyedGradients, TokenInputs};
use super::super::keys::{self as task_keys, TaskKeys};
use super::super::task::{DeltaTask, product, write};
use super::keys::{ChunkKeys, load, load_rows};
use super::work::{ByKeys, ByValues, Work};
use super::{CHUNK, Walk};
use crate::ops::cpu::activations::Activations;
use crate::ops::cpu::level::{Level, vectorised};
use crate::ops::cpu::output::cleared;
use crate::ops::cpu::vector::sum_of;
use crate::ops::linear::blocks::{Block, SIDE, scale_rows};
use crate::ops::linear::cpu::unit::Unit;

/// Writes all gradients by tokens, and that of the state `[K, K]`.
pub fn backward(
    level: Level,
    unit: Unit,
    pass: &BackwardPass,
    task: &DeltaTask,
    all: &TaskKeys,
    state_gradient: &mut [MaybeUninit<f32>],
) {
    let (size, x) = (task.size, pass.x);
    let wide = size.next_multiple_of(SIDE);
    let mut work = Work::new(level, unit);
    let mut keys = ChunkKeys::new(wide);
    let [
        mut values,
        mut gradients,
        mut sums,
        mut of_state,
        mut of_gradient,
    ] = [(); 5].map(|()| Block::zero(2 * CHUNK, wide));
    let load_values = |tokens: &Range<usize>, values: &mut Block| {
        load_rows(level, task, tokens, x.v, (values, 0));
        let sa = Activations::F32(pass.sa);
        load_rows(level, task, tokens, sa, (values, CHUNK));
    };

    // S before each chunk.
    let mut states = vec![Block::of_square(task.state, size)];
    let starts: Vec<usize> = task.rows.clone().step_by(CHUNK).collect();
    for window in starts.windows(2) {
        let tokens = window[0]..window[1];
        load(level, x, task, all, tokens.clone(), &mut keys);
        load_values(&tokens, &mut values);
        let mut state = states[states.len() - 1].clone();
        work.renew(&keys, &values, &mut state);
        scale_rows(level, &mut state, keys.whole());
        states.push(state);
    }

    let mut l = Block::zero(wide, wide);
    let mut token = KeyedGradients::new(size);
    for (start, state) in starts.into_iter().zip(&states).rev() {
        let tokens = start..task.rows.end.min(start + CHUNK);
        load(level, x, task, all, tokens.clone(), &mut keys);
        load_values(&tokens, &mut values);
        load_rows(level, task, &tokens, pass.dy, (&mut gradients, 0));
        scale_rows(level, &mut l, keys.whole());
        work.keep(&l);
        let by_values = ByValues {
            values: &mut gradients,
            matrix: &mut l,
            sums: &mut sums,
        };
        work.by_values(Walk::Backwards, &keys, by_values);
        let by_keys = ByKeys {
            gradients: &gradients,
            values: &values,
            state,
            of_state: &mut of_state,
            of_gradient: &mut of_gradient,
        };
        work.by_keys(&keys, by_keys);
        let made = Made {
            keys: &keys,
            l: &l,
            state,
            sums: &sums,
            of_state: &of_state,
            of_gradient: &of_gradient,
        };
        finish(level, pass, task, all, tokens, &made, &mut token);
    }
    l.write_square(size, cleared(state_gradient, 0.0));
}

/// What a chunk's products gave.
struct Made<'a> {
    keys: &'a ChunkKeys,
    /// L before the chunk.
    l: &'a Block,
    /// S before the chunk.
    state: &'a Block,
    sums: &'a Block,
    of_state: &'a Block,
    of_gradient: &'a Block,
}

vectorised! {
    /// Makes the gradients of a chunk's tokens of its products, and writes them.
    fn finish<V: Vector>(
        level: Level,
        pass: &BackwardPass<'_>,
        task: &DeltaTask<'_>,
        all: &TaskKeys,
        tokens: Range<usize>,
        made: &Made<'_>,
        token: &mut KeyedGradients,
    ) {
        let (size, x) = (task.size, pass.x);
        let [mut b, mut d_kappa, mut da, mut r_scratch, mut scratch] = [(); 5].map(|()| vec![0.0; size]);
        for (row, e) in token.e.iter_mut().enumerate() {
            *e = sum_of::<V, 2>([made.l.row(row), made.state.row(row)], |[l, s]| l.mul(s));
        }
        for (row, t) in tokens.enumerate() {
            let (here, own) = (task.at(t), task.own(t));
            let (before, product_here) = (made.keys.products.row(row), made.keys.products.row(row + 1));
            scaled(made.of_state.row(row), product_here, &mut token.dr);
            for ((out, x), p) in
                token.dkk.iter_mut().zip(made.of_state.row(CHUNK + row)).zip(before)
            {
                *out = -x * p;
            }
            divided(made.of_gradient.row(row), product_here, &mut token.dk);
            divided(made.of_gradient.row(CHUNK + row), product_here, &mut token.dalpha);
            token.dw.copy_from_slice(&all.slopes[own.clone()]);
            let (kk, alpha) = (&all.kk[own.clone()], &all.alpha[own.clone()]);
            product(kk, alpha, &mut b);
            let known = TokenInputs {
                r: x.r.part_inline(here.clone(), &mut r_scratch),
                k: &all.k[own],
                kk,
                alpha,
                b: &b,
                bonus: task.bonus,
                dq: pass.dq[task.number(t)],
            };
            token.finish::<V>(&known, 0..size);
            let kappa = x.kappa.part_inline(here.clone(), &mut scratch);
            let (inputs, of_keys) = ([kappa, &x.a[here.clone()]], [&token.dkk[..], &token.dalpha, &token.dk]);
            task_keys::backward::<V>(task, of_keys, inputs, [&mut d_kappa, &mut da]);
            // SAFETY: no other task has this head of this sequence.
            unsafe {
                write(&pass.dv, here.start, &made.sums.row(row)[..size]);
                pass.dr.write_inline(t, task.first(), &token.dr);
                pass.dw.write_inline(t, task.first(), &token.dw);
                pass.d_kappa.write_inline(t, task.first(), &d_kappa);
                pass.da.write_inline(t, task.first(), &da);
            }
        }
    }
}

#[inline(always)]
fn scaled(x: &[f32], by: &[f32], out: &mut [f32]) {
    for ((out, x), by) in out.iter_mut().zip(x).zip(by) {
        *out = x * by;
    }
}

#[inline(always)]
fn divided(x: &[f32], by: &[f32], out: &mut [f32]) {
    for ((out, x), by) in out.iter_mut().zip(x).zip(by) {
        *out = x / by;
    }
}
