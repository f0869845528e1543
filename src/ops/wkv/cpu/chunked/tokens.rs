//! Rows of a chunk's tokens.

use std::ops::Range;

use super::super::task::{Out, Sweep, Task};
use super::CHUNK;
use super::powers::Powers;
use crate::ops::cpu::activations::Activations;
use crate::ops::cpu::level::vectorised;
use crate::ops::linear::blocks::Block;

/// The numbers of a task's tokens in the order of a sweep, a chunk at a time.
pub fn chunks(task: &Task) -> impl Iterator<Item = Range<usize>> + use<> {
    let count = task.rows.len();
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
        let at = |token: usize| {
            let start = sweep.row(token) * task.channels + task.first;
            start..start + task.size
        };
        for row in 0..CHUNK {
            let to = &mut rows.row_mut(row)[..task.size];
            if row < tokens.len() {
                let ahead = (tokens.start + row + CHUNK).min(task.rows.len() - 1);
                x.prefetch(at(ahead));
                x.copy_inline(at(tokens.start + row), to);
            } else {
                to.fill(0.0);
            }
        }
    }
}

/// w to a power for the first of some rows, and to the next or the one before for each that follows.
#[derive(Clone, Copy)]
pub enum Decays<'a> {
    Rising(&'a Powers, isize),
    Falling(&'a Powers, isize),
}

vectorised! {
    /// Some rows, each times its power of w, into rows from `first` on.
    pub fn decay<V: Vector>(
        level: Level,
        from: &Block,
        rows: Range<usize>,
        by: Decays<'_>,
        out: &mut Block,
        first: usize,
    ) {
        for (number, row) in rows.enumerate() {
            let power = match by {
                Decays::Rising(powers, power) => powers.of(power + number as isize),
                Decays::Falling(powers, power) => powers.of(power - number as isize),
            };
            let (from, to) = (from.row(row), out.row_mut(first + number));
            for (out, (x, power)) in to.iter_mut().zip(from.iter().zip(power)) {
                *out = x * power;
            }
        }
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
