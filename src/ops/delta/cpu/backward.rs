//! The backward pass of one task, in two sweeps: backwards through its tokens with G, then forwards
//! again with S transposed. Sums over keys run down the columns of a matrix whose lanes are values,
//! and sums over values down the columns of one whose lanes are keys; the sweep with G has both,
//! and sums lanes.

use std::ops::Range;

use super::super::DeltaViews;
use super::gradients::{KeyedGradients, TokenInputs};
use super::matrix::{
    self, BackwardKeys, BackwardValues, DeltaMatrix, ForwardAgainKeys, ForwardAgainValues,
    StoredOrder,
};
use super::task::{DeltaTask, Direction, decay, decay_and_slope, product, write};
use crate::ops::cpu::activations::Activations;
use crate::ops::cpu::level::vectorised;
use crate::ops::cpu::output::{OutputParts, prefetch, prefetch_for_writing};
use crate::ops::cpu::vector::{LANES, Vector, sum_of};
use crate::ops::linear::PackedParts;

/// What both sweeps of a backward pass read and write.
pub struct BackwardPass<'a> {
    pub x: &'a DeltaViews<'a>,
    pub dy: Activations<'a>,
    pub dq: &'a [f32],
    pub sa: &'a [f32],
    pub dr: PackedParts<'a>,
    pub dw: PackedParts<'a>,
    pub dk: OutputParts<'a>,
    pub dv: OutputParts<'a>,
    pub dkk: OutputParts<'a>,
    pub dalpha: OutputParts<'a>,
}

/// What the first sweep of a backward pass leaves for the second, of one task.
pub struct FirstSweep<'a> {
    /// -dsa, `[T, K]`.
    pub minus_dsa: &'a [f32],
    /// L before the first token, `[K, K]`.
    pub start: &'a [f32],
    /// G v and G sa, `[T, K]` each, in as many terms as the task had shares.
    pub sums: &'a [[Vec<f32>; 2]],
}

vectorised! {
    /// The backward pass's first sweep for some values: writes their dv, their -dsa `[T, K]` and
    /// their L before the first token `[K, K]`, and returns what they add to G v and G sa `[T, K]`.
    pub fn backwards<V: Vector>(
        level: Level,
        pass: &BackwardPass<'_>,
        task: &DeltaTask<'_>,
        columns: Range<usize>,
        outs: [&OutputParts<'_>; 2],
    ) -> [Vec<f32>; 2] {
        match matrix::vectors_at_once::<V>(columns.len()) {
            4 => backwards_by::<V, 4>(pass, task, columns, outs),
            2 => backwards_by::<V, 2>(pass, task, columns, outs),
            _ => backwards_by::<V, 1>(pass, task, columns, outs),
        }
    }
}

#[inline(always)]
fn backwards_by<V: Vector, const N: usize>(
    pass: &BackwardPass,
    task: &DeltaTask,
    columns: Range<usize>,
    [dsa_out, start_out]: [&OutputParts; 2],
) -> [Vec<f32>; 2] {
    let (size, x) = (task.size, pass.x);
    let mut g = DeltaMatrix::<V, N>::zero(size, columns.clone());
    let mut sums = vec![[V::zero(); 2]; size.next_multiple_of(LANES)];
    let mut summed = [(); 2].map(|()| vec![0.0; task.rows.len() * size]);
    // After the last token L is 0: so are w and dsa there.
    let [mut w, mut b, mut dv, mut minus_dsa] = [(); 4].map(|()| vec![0.0; size]);
    let [mut r_scratch, mut k_scratch, mut v_scratch, mut dy_scratch] =
        [(); 4].map(|()| vec![0.0; size]);
    for t in task.rows.clone().rev() {
        let (here, ahead) = (task.at(t), task.ahead(Direction::Backwards, t));
        for x in [x.r, x.k, x.v, pass.dy] {
            x.prefetch(ahead.clone());
        }
        for x in [x.w, x.kk, x.alpha, pass.sa] {
            prefetch(&x[ahead.clone()]);
        }
        let ahead = ahead.start + columns.start;
        prefetch_for_writing(pass.dv.pointer(ahead..ahead + columns.len()), columns.len());
        product(&x.kk[here.clone()], &x.alpha[here.clone()], &mut b);
        // The last token's own kk stands in for one after it, and is multiplied by 0.
        let after = task.at((t + 1).min(task.rows.end - 1));
        let keys = BackwardKeys {
            w: &w,
            kk: &x.kk[after],
            r: x.r.part_inline(here.clone(), &mut r_scratch),
            k: x.k.part_inline(here.clone(), &mut k_scratch),
            b: &b,
        };
        let values = BackwardValues {
            dy: pass.dy.part_inline(here.clone(), &mut dy_scratch),
            v: x.v.part_inline(here.clone(), &mut v_scratch),
            sa: &pass.sa[here.clone()],
        };
        matrix::backward_step(&mut g, &keys, &values, &mut minus_dsa, &mut dv, &mut sums);
        decay::<V>(&x.w[here.clone()], task.decay, &mut w);

        let number = (t - task.rows.start) * size;
        for (which, summed) in summed.iter_mut().enumerate() {
            matrix::sum_lanes(&sums, which, &mut summed[number..number + size]);
        }
        // SAFETY: no other task has this head of this sequence, and no other share these columns.
        unsafe {
            write(dsa_out, number + columns.start, &minus_dsa[columns.clone()]);
            write(&pass.dv, here.start + columns.start, &dv[columns.clone()]);
        }
    }
    // One more step, without a token's own terms, gives L before the first token.
    let zero = vec![0.0; size];
    let keys = BackwardKeys {
        w: &w,
        kk: &x.kk[task.at(task.rows.start)],
        r: &zero,
        k: &zero,
        b: &zero,
    };
    let values = BackwardValues {
        dy: &zero,
        v: &zero,
        sa: &zero,
    };
    matrix::backward_step(&mut g, &keys, &values, &mut minus_dsa, &mut dv, &mut sums);
    // SAFETY: no other share has these columns.
    g.write(|at, values| unsafe { write(start_out, at.start, values) });
    summed
}

vectorised! {
    /// The backward pass's second sweep for some keys: writes their dr, dw, dk, dkk and dalpha.
    pub fn forwards<V: Vector>(
        level: Level,
        pass: &BackwardPass<'_>,
        task: &DeltaTask<'_>,
        columns: Range<usize>,
        first: &FirstSweep<'_>,
    ) {
        match matrix::vectors_at_once::<V>(columns.len()) {
            4 => forwards_by::<V, 4>(pass, task, columns, first),
            2 => forwards_by::<V, 2>(pass, task, columns, first),
            _ => forwards_by::<V, 1>(pass, task, columns, first),
        }
    }
}

#[inline(always)]
fn forwards_by<V: Vector, const N: usize>(
    pass: &BackwardPass,
    task: &DeltaTask,
    columns: Range<usize>,
    first: &FirstSweep,
) {
    let (size, x) = (task.size, pass.x);
    let mut s =
        DeltaMatrix::<V, N>::new(task.state, size, columns.clone(), StoredOrder::ColumnMajor);
    let [mut w, mut b] = [(); 2].map(|()| vec![0.0; size]);
    let [mut r_scratch, mut k_scratch, mut v_scratch, mut dy_scratch] =
        [(); 4].map(|()| vec![0.0; size]);
    let mut token = KeyedGradients::new(size);
    let matrices = first
        .start
        .chunks_exact(size)
        .zip(task.state.chunks_exact(size));
    for (e, (l, s)) in token.e.iter_mut().zip(matrices) {
        *e = sum_of::<V, 2>([l, s], |[l, s]| l.mul(s));
    }
    for t in task.rows.clone() {
        let (here, ahead) = (task.at(t), task.ahead(Direction::Forwards, t));
        for x in [x.r, x.k, x.v, pass.dy] {
            x.prefetch(ahead.clone());
        }
        for x in [x.w, x.kk, x.alpha, pass.sa] {
            prefetch(&x[ahead.clone()]);
        }
        let (ahead, ahead_row) = (ahead.start + columns.start, task.row(ahead.start));
        for out in [&pass.dk, &pass.dkk, &pass.dalpha] {
            prefetch_for_writing(out.pointer(ahead..ahead + columns.len()), columns.len());
        }
        for out in [&pass.dr, &pass.dw] {
            out.prefetch(ahead_row, task.first() + columns.start, columns.len());
        }
        let number = (t - task.rows.start) * size;
        let number = number..number + size;
        token.take(first.sums, number.clone());
        decay_and_slope::<V>(&x.w[here.clone()], task.decay, &mut w, &mut token.dw);
        let (kk, alpha) = (&x.kk[here.clone()], &x.alpha[here.clone()]);
        product(kk, alpha, &mut b);
        let k = x.k.part_inline(here.clone(), &mut k_scratch);
        let keys = ForwardAgainKeys { w: &w, b: &b, k };
        let values = ForwardAgainValues {
            minus_dsa: &first.minus_dsa[number],
            sa: &pass.sa[here.clone()],
            v: x.v.part_inline(here.clone(), &mut v_scratch),
            dy: pass.dy.part_inline(here.clone(), &mut dy_scratch),
        };
        matrix::forward_again_step(&mut s, &values, &keys, &mut token.dkk, &mut token.dr);
        let known = TokenInputs {
            r: x.r.part_inline(here.clone(), &mut r_scratch),
            k,
            kk,
            alpha,
            b: &b,
            bonus: task.bonus,
            dq: pass.dq[task.number(t)],
        };
        token.finish::<V>(&known, columns.clone());

        let at = here.start + columns.start;
        // SAFETY: no other task has this head of this sequence, and no other share these columns.
        unsafe {
            write(&pass.dk, at, &token.dk[columns.clone()]);
            write(&pass.dkk, at, &token.dkk[columns.clone()]);
            write(&pass.dalpha, at, &token.dalpha[columns.clone()]);
            let column = task.first() + columns.start;
            pass.dr.write_inline(t, column, &token.dr[columns.clone()]);
            pass.dw.write_inline(t, column, &token.dw[columns.clone()]);
        }
    }
}
