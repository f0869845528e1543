//! The forward pass of one task in chunks.

use std::mem::MaybeUninit;

use super::super::super::DeltaViews;
use super::super::forward::{ForwardParts, score};
use super::super::keys::TaskKeys;
use super::super::task::{DeltaTask, write};
use super::keys::{ChunkKeys, load, load_rows};
use super::work::{ByValues, Work};
use super::{CHUNK, Walk};
use crate::ops::cpu::level::{Level, vectorised};
use crate::ops::cpu::output::cleared;
use crate::ops::linear::blocks::{Block, SIDE, scale_rows};
use crate::ops::linear::cpu::unit::Unit;

/// y and sa, and S after the last token, `[K, K]`, into `end`.
pub fn forward(
    level: Level,
    unit: Unit,
    x: &DeltaViews,
    task: &DeltaTask,
    all: &TaskKeys,
    out: &ForwardParts,
    end: &mut [MaybeUninit<f32>],
) {
    let size = task.size;
    let wide = size.next_multiple_of(SIDE);
    let mut work = Work::new(level, unit);
    let mut keys = ChunkKeys::new(wide);
    let mut matrix = Block::of_square(task.state, size);
    let [mut values, mut sums] = [(); 2].map(|()| Block::zero(2 * CHUNK, wide));
    for start in task.rows.clone().step_by(CHUNK) {
        let tokens = start..task.rows.end.min(start + CHUNK);
        load(level, x, task, all, tokens.clone(), &mut keys);
        load_rows(level, task, &tokens, x.v, (&mut values, 0));
        let values = ByValues {
            values: &mut values,
            matrix: &mut matrix,
            sums: &mut sums,
        };
        work.by_values(Walk::Forwards, &keys, values);
        scale_rows(level, &mut matrix, keys.whole());
        for (row, t) in tokens.enumerate() {
            let at = task.at(t).start;
            // SAFETY: no other task has this head of this sequence.
            unsafe {
                out.y.write(level, at, &sums.row(row)[..size]);
                write(&out.sa, at, &sums.row(CHUNK + row)[..size]);
            }
        }
    }
    scores(level, x, task, all, out);
    matrix.write_square(size, cleared(end, 0.0));
}

vectorised! {
    /// q of all tokens.
    fn scores<V: Vector>(
        level: Level,
        x: &DeltaViews<'_>,
        task: &DeltaTask<'_>,
        all: &TaskKeys,
        out: &ForwardParts<'_>,
    ) {
        let mut r_scratch = vec![0.0; task.size];
        for t in task.rows.clone() {
            let r = x.r.part_inline(task.at(t), &mut r_scratch);
            let q = score::<V>(r, &all.k[task.own(t)], task.bonus);
            // SAFETY: no other task has this head of this sequence.
            unsafe { write(&out.q, task.number(t), &[q]) };
        }
    }
}
