//! Rows of a chunk's tokens.

use std::ops::Range;

use super::super::task::{Out, Sweep};
use super::{CHUNK, HALF, MIDDLE, power};
use crate::ops::cpu::activations::Activations;
use crate::ops::cpu::level::vectorised;
use crate::ops::linear::blocks::Block;

/// The numbers of a task's tokens in the order of a sweep, a chunk at a time.
pub fn chunks(count: usize) -> impl Iterator<Item = Range<usize>> {
    let starts = (0..count).step_by(CHUNK);
    starts.map(move |first| first..count.min(first + CHUNK))
}

vectorised! {
    /// A head's channels of some tokens of x, and zeros after the last token.
    pub fn load<V: Vector>(
        level: Level,
        sweep: Sweep<'_>,
        x: Activations<'_>,
        tokens: &Range<usize>,
        rows: &mut Block,
    ) {
        let task = sweep.task;
        let start = |token: usize| sweep.row(token) * task.channels + task.first;
        for row in 0..CHUNK {
            let to = &mut rows.row_mut(row)[..task.size];
            if row >= tokens.len() {
                to.fill(0.0);
                continue;
            }
            let ahead = start((tokens.start + row + CHUNK).min(task.rows.len() - 1));
            x.prefetch(ahead..ahead + task.size);
            let here = start(tokens.start + row);
            x.copy_inline(here..here + task.size, to);
        }
    }
}

vectorised! {
    /// K, and what T is made anew by.
    pub fn part_keys<V: Vector>(
        level: Level,
        powers: &Block,
        k: &Block,
        count: usize,
        parted: &mut Block,
        kept: &mut Block,
    ) {
        for j in 0..CHUNK {
            let in_half = MIDDLE - 1 - (j % HALF) as isize;
            scale(k.row(j), power(powers, in_half), parted.row_mut(j));
            // Rows after the last token are zero whatever the power.
            let to_end = (count + HALF / 2).saturating_sub(1 + j);
            scale(k.row(j), power(powers, to_end as isize), kept.row_mut(j));
        }
    }
}

vectorised! {
    /// R_0 and, below it, R_1, whose rows in the first half are not read.
    pub fn part_readers<V: Vector>(level: Level, powers: &Block, r: &Block, parted: &mut Block) {
        for t in 0..CHUNK {
            scale(r.row(t), power(powers, t as isize - MIDDLE), parted.row_mut(t));
        }
        for t in HALF..CHUNK {
            let in_half = (t - HALF) as isize - MIDDLE;
            scale(r.row(t), power(powers, in_half), parted.row_mut(CHUNK + t));
        }
    }
}

/// x * by.
#[inline(always)]
fn scale(x: &[f32], by: &[f32], out: &mut [f32]) {
    for (out, (x, by)) in out.iter_mut().zip(x.iter().zip(by)) {
        *out = x * by;
    }
}

vectorised! {
    /// Writes the first rows of a block as those of some tokens.
    pub fn write<V: Vector>(
        level: Level,
        sweep: Sweep<'_>,
        tokens: &Range<usize>,
        rows: &Block,
    ) {
        let task = sweep.task;
        for (number, token) in tokens.clone().enumerate() {
            let (row, values) = (sweep.row(token), &rows.row(number)[..task.size]);
            // SAFETY: no other task has this head of this sequence.
            unsafe {
                match sweep.out {
                    Out::Tensor(out) => {
                        out.write_inline(row * task.channels + task.first, values);
                    }
                    Out::Packed(out) => out.write_inline(row, task.first, values),
                }
            }
        }
    }
}
