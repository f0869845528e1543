//! A few tokens of one head at a time, and the head's decay over so many.

use std::ops::Range;

use super::task::{AHEAD, Out, Sweep, TOKENS, Task};
use crate::ops::cpu::activations::Activations;
use crate::ops::cpu::vector::{LANES, Vector};

/// Vectors of a matrix's columns that are taken at once: with their sums and as many values they
/// fill the registers.
pub const PAIR: usize = 2;
/// Channels that lie side by side in [`HeadRows`].
pub const BLOCK: usize = 64;

/// Sixteen channels of a row.
#[inline(always)]
pub fn lanes<V: Vector>(row: &[f32; BLOCK], at: usize) -> V {
    V::load_whole(&row.as_chunks().0[at])
}

/// One head's channels of a few tokens: channel c of token t in block c / [`BLOCK`], so that the
/// rows of a block are at distances the compiler knows. Zero where tokens or channels end.
pub struct HeadRows {
    pub blocks: Vec<[[f32; BLOCK]; TOKENS]>,
}

impl HeadRows {
    /// Zeros.
    pub fn new(task: &Task) -> Self {
        Self {
            blocks: vec![[[0.0; BLOCK]; TOKENS]; task.size.div_ceil(BLOCK)],
        }
    }

    /// This head's channels of some tokens of x.
    #[inline(always)]
    pub fn load(&mut self, sweep: Sweep, x: Activations, tokens: Range<usize>) {
        let task = sweep.task;
        for (number, block) in self.blocks.iter_mut().enumerate() {
            let channel = task.first + number * BLOCK;
            let width = BLOCK.min(task.size - number * BLOCK);
            for (t, row) in block.iter_mut().enumerate() {
                if t < tokens.len() {
                    let ahead = (tokens.start + t + AHEAD).min(task.rows.len() - 1);
                    let ahead = sweep.row(ahead) * task.channels + channel;
                    x.prefetch(ahead..ahead + width);
                    let start = sweep.row(tokens.start + t) * task.channels + channel;
                    match width {
                        // A length that the compiler knows.
                        BLOCK => x.copy_inline(start..start + BLOCK, row),
                        _ => x.copy_inline(start..start + width, &mut row[..width]),
                    }
                } else {
                    row.fill(0.0);
                }
            }
        }
    }

    /// Writes them as those of some tokens.
    #[inline(always)]
    pub fn write(&self, sweep: Sweep, tokens: Range<usize>) {
        let task = sweep.task;
        for (number, block) in self.blocks.iter().enumerate() {
            let channel = task.first + number * BLOCK;
            let width = BLOCK.min(task.size - number * BLOCK);
            for (token, values) in tokens.clone().zip(block) {
                let (row, values) = (sweep.row(token), &values[..width]);
                // SAFETY: no other task has this head of this sequence.
                unsafe {
                    match sweep.out {
                        Out::Tensor(out) => out.write_inline(row * task.channels + channel, values),
                        Out::Packed(out) => out.write_inline(row, channel, values),
                    }
                }
            }
        }
    }

    /// Token t is that of x times w to the power `exponent`.
    #[inline(always)]
    pub fn decay<V: Vector>(&mut self, x: &Self, t: usize, powers: &Powers, exponent: usize) {
        let from = x.blocks.iter().zip(&powers.all[exponent]);
        for (to, (from, powers)) in self.blocks.iter_mut().zip(from) {
            let to = to[t].as_chunks_mut().0;
            for (at, to) in to.iter_mut().enumerate() {
                lanes::<V>(&from[t], at)
                    .mul(lanes(powers, at))
                    .store_whole(to);
            }
        }
    }

    /// Two vectors of channels of every token.
    #[inline(always)]
    pub fn pair<V: Vector>(&self, pair: usize) -> [[V; PAIR]; TOKENS] {
        let (block, first) = place(pair);
        let mut column = [[V::zero(); PAIR]; TOKENS];
        for (t, vectors) in column.iter_mut().enumerate() {
            for (at, vector) in vectors.iter_mut().enumerate() {
                *vector = lanes(&self.blocks[block][t], first + at);
            }
        }
        column
    }

    /// Sets two vectors of channels of every token.
    #[inline(always)]
    pub fn set_pair<V: Vector>(&mut self, pair: usize, column: &[[V; PAIR]; TOKENS]) {
        let (block, first) = place(pair);
        for (t, vectors) in column.iter().enumerate() {
            let row = self.blocks[block][t].as_chunks_mut().0;
            for (at, vector) in vectors.iter().enumerate() {
                vector.store_whole(&mut row[first + at]);
            }
        }
    }
}

/// The block of a pair of vectors, and the first vector's number in it.
#[inline(always)]
pub fn place(pair: usize) -> (usize, usize) {
    const PAIRS: usize = BLOCK / (PAIR * LANES);
    (pair / PAIRS, pair % PAIRS * PAIR)
}

/// The head's decay to every power that a few tokens need, and its bonus, in blocks of channels;
/// zero past the last.
pub struct Powers {
    pub all: [Vec<[f32; BLOCK]>; TOKENS + 1],
    pub bonus: Vec<[f32; BLOCK]>,
}

impl Powers {
    /// Those of a task's head.
    pub fn new(task: &Task) -> Self {
        let blocks = |x: &[f32]| -> Vec<[f32; BLOCK]> {
            let block = |x: &[f32]| std::array::from_fn(|i| x.get(i).copied().unwrap_or(0.0));
            x.chunks(BLOCK).map(block).collect()
        };
        let power = |exponent: usize| {
            let power = |decay: &f32| (0..exponent).fold(1.0, |power, _| power * decay);
            blocks(&task.decay.iter().map(power).collect::<Vec<_>>())
        };
        Self {
            all: std::array::from_fn(power),
            bonus: blocks(task.bonus),
        }
    }

    /// Two vectors of w to the power `exponent`.
    #[inline(always)]
    pub fn pair<V: Vector>(&self, exponent: usize, pair: usize) -> [V; PAIR] {
        let (block, first) = place(pair);
        let row = &self.all[exponent][block];
        [lanes(row, first), lanes(row, first + 1)]
    }

    /// Two vectors of u.
    #[inline(always)]
    pub fn bonus_pair<V: Vector>(&self, pair: usize) -> [V; PAIR] {
        let (block, first) = place(pair);
        [
            lanes(&self.bonus[block], first),
            lanes(&self.bonus[block], first + 1),
        ]
    }
}

/// The sums of lanes on and below the diagonal.
#[inline(always)]
pub fn lower<V: Vector>(sums: &[[V; TOKENS]; TOKENS]) -> [[f32; TOKENS]; TOKENS] {
    let mut lower = [[0.0; TOKENS]; TOKENS];
    for t in 0..TOKENS {
        for j in 0..=t {
            lower[t][j] = sums[t][j].sum();
        }
    }
    lower
}
