//! The backward pass of one task: a sweep backwards through its tokens with G, one forwards again
//! with S transposed, and one that takes gradients back through the keys. Sums over keys run down the
//! columns of a matrix whose lanes are values, and sums over values down the columns of one whose lanes
//! are keys; the sweep with G has both, and sums lanes.

use std::ops::Range;

use super::super::DeltaViews;
use super::gradients::{KeyedGradients, TokenInputs};
use super::keys::{self, TaskKeys};
use super::matrix::{
    self, BackwardKeys, BackwardValues, DeltaMatrix, ForwardAgainKeys, ForwardAgainValues,
    StoredOrder,
};
use super::task::{DeltaTask, Direction, product, write};
use crate::ops::cpu::activations::Activations;
use crate::ops::cpu::level::vectorised;
use crate::ops::cpu::output::{OutputParts, prefetch, prefetch_for_writing};
use crate::ops::cpu::vector::{LANES, Vector, sum_of};
use crate::ops::linear::PackedParts;

/// What a backward pass reads and writes.
pub struct BackwardPass<'a> {
    pub x: &'a DeltaViews<'a>,
    pub dy: Activations<'a>,
    pub dq: &'a [f32],
    pub sa: &'a [f32],
    pub dr: PackedParts<'a>,
    pub dw: PackedParts<'a>,
    pub d_kappa: PackedParts<'a>,
    pub da: PackedParts<'a>,
    pub dv: OutputParts<'a>,
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

/// What the second sweep leaves of a task: dkk, dalpha and dk, `[T, K]` each.
pub struct SecondSweep<'a> {
    pub dkk: OutputParts<'a>,
    pub dalpha: OutputParts<'a>,
    pub dk: OutputParts<'a>,
}

vectorised! {
    /// The backward pass's first sweep for some values: writes their dv, their -dsa `[T, K]` and
    /// their L before the first token `[K, K]`, and returns what they add to G v and G sa `[T, K]`.
    pub fn backwards<V: Vector>(
        level: Level,
        pass: &BackwardPass<'_>,
        task: &DeltaTask<'_>,
        keys: &TaskKeys,
        columns: Range<usize>,
        outs: [&OutputParts<'_>; 2],
    ) -> [Vec<f32>; 2] {
        match matrix::vectors_at_once::<V>(columns.len()) {
            4 => backwards_by::<V, 4>(pass, task, keys, columns, outs),
            2 => backwards_by::<V, 2>(pass, task, keys, columns, outs),
            _ => backwards_by::<V, 1>(pass, task, keys, columns, outs),
        }
    }
}

#[inline(always)]
fn backwards_by<V: Vector, const N: usize>(
    pass: &BackwardPass,
    task: &DeltaTask,
    all: &TaskKeys,
    columns: Range<usize>,
    [dsa_out, start_out]: [&OutputParts; 2],
) -> [Vec<f32>; 2] {
    let (size, x) = (task.size, pass.x);
    let mut g = DeltaMatrix::<V, N>::zero(size, columns.clone());
    let mut sums = vec![[V::zero(); 2]; size.next_multiple_of(LANES)];
    let mut summed = [(); 2].map(|()| vec![0.0; task.rows.len() * size]);
    // After the last token L is 0: so are w and dsa there.
    let [mut b, mut dv, mut minus_dsa] = [(); 3].map(|()| vec![0.0; size]);
    let [mut r_scratch, mut v_scratch, mut dy_scratch] = [(); 3].map(|()| vec![0.0; size]);
    let zero = vec![0.0; size];
    let mut w = &zero[..];
    for t in task.rows.clone().rev() {
        let (here, own) = (task.at(t), task.own(t));
        let ahead = task.ahead(Direction::Backwards, t);
        for x in [x.r, x.v, pass.dy] {
            x.prefetch(ahead.clone());
        }
        prefetch(&pass.sa[ahead.clone()]);
        let ahead = ahead.start + columns.start;
        prefetch_for_writing(pass.dv.pointer(ahead..ahead + columns.len()), columns.len());
        product(&all.kk[own.clone()], &all.alpha[own.clone()], &mut b);
        // The last token's own kk stands in for one after it, and is multiplied by 0.
        let after = task.own((t + 1).min(task.rows.end - 1));
        let keys = BackwardKeys {
            w,
            kk: &all.kk[after],
            r: x.r.part_inline(here.clone(), &mut r_scratch),
            k: &all.k[own.clone()],
            b: &b,
        };
        let values = BackwardValues {
            dy: pass.dy.part_inline(here.clone(), &mut dy_scratch),
            v: x.v.part_inline(here.clone(), &mut v_scratch),
            sa: &pass.sa[here.clone()],
        };
        matrix::backward_step(&mut g, &keys, &values, &mut minus_dsa, &mut dv, &mut sums);
        w = &all.w[own.clone()];

        for (which, summed) in summed.iter_mut().enumerate() {
            matrix::sum_lanes(&sums, which, &mut summed[own.clone()]);
        }
        // SAFETY: no other task has this head of this sequence, and no other share these columns.
        unsafe {
            write(
                dsa_out,
                own.start + columns.start,
                &minus_dsa[columns.clone()],
            );
            write(&pass.dv, here.start + columns.start, &dv[columns.clone()]);
        }
    }
    // One more step, without a token's own terms, gives L before the first token.
    let keys = BackwardKeys {
        w,
        kk: &all.kk[..size],
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
        keys: &TaskKeys,
        columns: Range<usize>,
        first: &FirstSweep<'_>,
        out: &SecondSweep<'_>,
    ) {
        match matrix::vectors_at_once::<V>(columns.len()) {
            4 => forwards_by::<V, 4>(pass, task, keys, columns, first, out),
            2 => forwards_by::<V, 2>(pass, task, keys, columns, first, out),
            _ => forwards_by::<V, 1>(pass, task, keys, columns, first, out),
        }
    }
}

#[inline(always)]
fn forwards_by<V: Vector, const N: usize>(
    pass: &BackwardPass,
    task: &DeltaTask,
    all: &TaskKeys,
    columns: Range<usize>,
    first: &FirstSweep,
    out: &SecondSweep,
) {
    let (size, x) = (task.size, pass.x);
    let mut s =
        DeltaMatrix::<V, N>::new(task.state, size, columns.clone(), StoredOrder::ColumnMajor);
    let [mut b, mut r_scratch, mut v_scratch, mut dy_scratch] = [(); 4].map(|()| vec![0.0; size]);
    let mut token = KeyedGradients::new(size);
    let matrices = first
        .start
        .chunks_exact(size)
        .zip(task.state.chunks_exact(size));
    for (e, (l, s)) in token.e.iter_mut().zip(matrices) {
        *e = sum_of::<V, 2>([l, s], |[l, s]| l.mul(s));
    }
    for t in task.rows.clone() {
        let (here, own) = (task.at(t), task.own(t));
        let ahead = task.ahead(Direction::Forwards, t);
        for x in [x.r, x.v, pass.dy] {
            x.prefetch(ahead.clone());
        }
        prefetch(&pass.sa[ahead.clone()]);
        let ahead_row = task.row(ahead.start);
        for out in [&pass.dr, &pass.dw] {
            out.prefetch(ahead_row, task.first() + columns.start, columns.len());
        }
        token.take(first.sums, own.clone());
        token.dw.copy_from_slice(&all.slopes[own.clone()]);
        let (kk, alpha) = (&all.kk[own.clone()], &all.alpha[own.clone()]);
        product(kk, alpha, &mut b);
        let (w, k) = (&all.w[own.clone()], &all.k[own.clone()]);
        let keys = ForwardAgainKeys { w, b: &b, k };
        let values = ForwardAgainValues {
            minus_dsa: &first.minus_dsa[own.clone()],
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

        let at = own.start + columns.start;
        // SAFETY: no other task has this head of this sequence, and no other share these columns.
        unsafe {
            write(&out.dk, at, &token.dk[columns.clone()]);
            write(&out.dkk, at, &token.dkk[columns.clone()]);
            write(&out.dalpha, at, &token.dalpha[columns.clone()]);
            let column = task.first() + columns.start;
            pass.dr.write_inline(t, column, &token.dr[columns.clone()]);
            pass.dw.write_inline(t, column, &token.dw[columns.clone()]);
        }
    }
}

vectorised! {
    /// Writes dkappa and da of some rows from what the second sweep left: dkk, dalpha and dk.
    pub fn backward_keys<V: Vector>(
        level: Level,
        pass: &BackwardPass<'_>,
        task: &DeltaTask<'_>,
        rows: Range<usize>,
        of_keys: [&[f32]; 3],
    ) {
        let (size, x) = (task.size, pass.x);
        let [mut d_kappa, mut da, mut scratch] = [(); 3].map(|()| vec![0.0; size]);
        for t in rows {
            let (here, own) = (task.at(t), task.own(t));
            let ahead = task.ahead(Direction::Forwards, t);
            x.kappa.prefetch(ahead.clone());
            prefetch(&x.a[ahead.clone()]);
            for out in [&pass.d_kappa, &pass.da] {
                out.prefetch(task.row(ahead.start), task.first(), size);
            }
            let kappa = x.kappa.part_inline(here.clone(), &mut scratch);
            let of_keys = of_keys.map(|d| &d[own.clone()]);
            keys::backward::<V>(task, of_keys, [kappa, &x.a[here]], [&mut d_kappa, &mut da]);
            // SAFETY: no other task has this head of this sequence, and no other piece these rows.
            unsafe {
                pass.d_kappa.write_inline(t, task.first(), &d_kappa);
                pass.da.write_inline(t, task.first(), &da);
            }
        }
    }
}
