//! The forward pass of one task: forwards through its tokens with S, whose lanes are values.

use std::ops::Range;

use super::super::DeltaViews;
use super::keys::TaskKeys;
use super::matrix::{self, DeltaMatrix, ForwardKeys, StoredOrder};
use super::task::{DeltaTask, Direction, product, write, write_activations};
use crate::ops::cpu::activations::ActivationsParts;
use crate::ops::cpu::level::vectorised;
use crate::ops::cpu::output::{OutputParts, prefetch_for_writing};
use crate::ops::cpu::vector::{LANES, Vector};

/// What a forward pass writes.
pub struct ForwardParts<'a> {
    pub y: ActivationsParts<'a>,
    pub sa: OutputParts<'a>,
    pub q: OutputParts<'a>,
}

vectorised! {
    /// Some columns of y and sa, and of S after the last token into `end`.
    pub fn forward<V: Vector>(
        level: Level,
        x: &DeltaViews<'_>,
        task: &DeltaTask<'_>,
        keys: &TaskKeys,
        columns: Range<usize>,
        out: &ForwardParts<'_>,
        end: &OutputParts<'_>,
    ) {
        match matrix::vectors_at_once::<V>(columns.len()) {
            4 => forward_by::<V, 4>(x, task, keys, columns, out, end),
            2 => forward_by::<V, 2>(x, task, keys, columns, out, end),
            _ => forward_by::<V, 1>(x, task, keys, columns, out, end),
        }
    }
}

#[inline(always)]
fn forward_by<V: Vector, const N: usize>(
    x: &DeltaViews,
    task: &DeltaTask,
    keys: &TaskKeys,
    columns: Range<usize>,
    out: &ForwardParts,
    end: &OutputParts,
) {
    let size = task.size;
    let mut s = DeltaMatrix::<V, N>::new(task.state, size, columns.clone(), StoredOrder::RowMajor);
    let [mut b, mut sa, mut y] = [(); 3].map(|()| vec![0.0; size]);
    let [mut r_scratch, mut v_scratch] = [(); 2].map(|()| vec![0.0; size]);
    // A first step that leaves S as it is gives the first token's sa.
    let first = ForwardKeys {
        w: &vec![1.0; size],
        b: &b,
        k: &b,
        r: &b,
        kk: &keys.kk[..size],
    };
    matrix::forward_step(&mut s, &first, &b, &mut sa, &mut y);
    for t in task.rows.clone() {
        let (here, own) = (task.at(t), task.own(t));
        let ahead = task.ahead(Direction::Forwards, t);
        for x in [x.r, x.v] {
            x.prefetch(ahead.clone());
        }
        let ahead = ahead.start + columns.start;
        out.y.prefetch(ahead, columns.len());
        prefetch_for_writing(out.sa.pointer(ahead..ahead + columns.len()), columns.len());
        let r = x.r.part_inline(here.clone(), &mut r_scratch);
        let k = &keys.k[own.clone()];
        let v = x.v.part_inline(here.clone(), &mut v_scratch);
        product(&keys.kk[own.clone()], &keys.alpha[own.clone()], &mut b);
        // After the last token there is none: its own kk stands in, and the sa that it gives is
        // unused.
        let next = task.own((t + 1).min(task.rows.end - 1));
        let here_keys = ForwardKeys {
            w: &keys.w[own],
            b: &b,
            k,
            r,
            kk: &keys.kk[next],
        };
        let first = here.start + columns.start;
        // SAFETY: no other task has this head of this sequence, and no other share these columns.
        unsafe { write(&out.sa, first, &sa[columns.clone()]) };
        matrix::forward_step(&mut s, &here_keys, v, &mut sa, &mut y);
        // SAFETY: as above.
        unsafe { write_activations(&out.y, first, &y[columns.clone()]) };
        if columns.start == 0 {
            // SAFETY: as above; one share has the first column.
            unsafe { write(&out.q, task.number(t), &[score::<V>(r, k, task.bonus)]) };
        }
    }
    // SAFETY: no other share has these columns.
    s.write(|at, values| unsafe { write(end, at.start, values) });
}

/// The sum of r k r_k.
#[inline(always)]
fn score<V: Vector>(r: &[f32], k: &[f32], bonus: &[f32]) -> f32 {
    let mut sum = V::zero();
    for ((r, k), bonus) in r
        .chunks(LANES)
        .zip(k.chunks(LANES))
        .zip(bonus.chunks(LANES))
    {
        sum = sum.add_product(V::load(r).mul(V::load(k)), V::load(bonus));
    }
    sum.sum()
}
