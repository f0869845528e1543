//! WKV in chunks of 32 tokens as products of small matrices, for processors whose matrix tiles do
//! those many times faster than vectors.
//!
//! A chunk takes what `wkv/cpu/mod.rs` has for n tokens, with n of 32 or fewer. Its sums over earlier
//! tokens become products when w^(t-1-j) is parted into a factor of t and one of j, which is done
//! for each half h of the chunk by itself. For j in half h
//!
//! ```text
//! w^(t-1-j) = w^(t-16h-8) w^(16h+7-j)
//!
//! R_h = w^(t-16h-8) * r_t     K = w^(16h+7-j) * k_j     T = w^8 * S     (a row a token, or a key)
//!
//! A   = R_h K' where j < t is in half h; r_t . (u * k_t) where j = t; else 0
//! P_h = dY V' where j < t is in half h; else 0
//!
//! y   = A V + R_0 T
//! dr  = w^(t-8) * (dY T' + P_0 K) + w^(t-24) * P_1 K + (dy_t . v_t) u * k_t
//! T   = w^n * T + (w^(n+7-j) * k_j)' V
//! ```
//!
//! No power that counts is below w^-8. A head that forgets faster than [`LEAST_DECAY`] a token goes
//! token by token: w^-8 would overflow, or T vanish below the smallest f32.
//!
//! What is carried and all sums are f32; what enters products is rounded to bf16, so that results
//! are off by 2e-3 to 3.3e-3 of their norm. That is what activations lose that are stored as bf16,
//! and no more is asked of chunks.

mod keys;
mod tokens;
mod values;

use super::task::Task;
use crate::ops::cpu::level::{Level, vectorised};
use crate::ops::linear::blocks::{Block, BlockProducts, BlockUnits, SIDE};
use crate::ops::linear::cpu::unit::Unit;

/// Tokens of a chunk. Shorter sequences go token by token.
const CHUNK: usize = SIDE;
/// Tokens of half a chunk.
const HALF: usize = CHUNK / 2;
/// The power of w that is in T.
const MIDDLE: isize = HALF as isize / 2;
/// To the power of 8 it is 4e-19: gradients of 1e-11 times that are numbers still, and activations of
/// 1e12 divided by it.
const LEAST_DECAY: f32 = 5e-3;
/// Powers below this are 0: what they take part in is below f32's last bit, and arithmetic with numbers
/// that small is slow.
const LEAST_POWER: f32 = 1e-35;

/// Whether a task can go in chunks.
pub fn takes(task: &Task) -> bool {
    task.rows.len() >= CHUNK && task.decay.iter().all(|&decay| decay >= LEAST_DECAY)
}

/// A thread's memory for chunks of one head size, and its way to multiply them.
pub struct Chunks {
    level: Level,
    products: BlockProducts,
    /// Units of a sum over tokens, and of one over channels.
    of_tokens: usize,
    of_channels: usize,
    /// w to the powers from -8 to 39, a row each, and u.
    powers: Block,
    bonus: Vec<f32>,
    /// T, or T transposed.
    matrix: Block,
    /// Rows of what a sweep reads.
    inputs: [Block; 3],
    /// K, and what T is made anew by.
    k_parted: Block,
    k_kept: Block,
    /// Both R_h, or both parts of a gradient by keys.
    both: Block,
    made: Block,
    /// Tokens with tokens: of both halves, and of the chunk.
    halves: Block,
    square: Block,
    units: [BlockUnits; 6],
}

impl Chunks {
    pub fn new(level: Level, unit: Unit, head_size: usize) -> Self {
        let wide = head_size.next_multiple_of(SIDE);
        let rows = || Block::zero(CHUNK, wide);
        let products = BlockProducts::new(level, unit);
        Self {
            level,
            of_tokens: products.units(CHUNK),
            of_channels: products.units(wide),
            products,
            powers: Block::zero(2 * CHUNK, wide),
            bonus: vec![0.0; wide],
            matrix: Block::zero(wide, wide),
            inputs: [rows(), rows(), rows()],
            k_parted: rows(),
            k_kept: rows(),
            both: Block::zero(2 * CHUNK, wide),
            made: rows(),
            halves: Block::zero(2 * CHUNK, CHUNK),
            square: Block::zero(CHUNK, CHUNK),
            units: [(); 6].map(|()| BlockUnits::new(level, unit)),
        }
    }

    /// Begins a task with a matrix S.
    fn begin(&mut self, task: &Task, matrix: &[f32]) {
        fill_powers(self.level, task.decay, &mut self.powers);
        self.bonus[..task.size].copy_from_slice(task.bonus);
        self.matrix.set_square(matrix, task.size);
    }
}

/// w to a power.
#[inline(always)]
fn power(powers: &Block, exponent: isize) -> &[f32] {
    powers.row((MIDDLE + exponent) as usize)
}

vectorised! {
    fn fill_powers<V: Vector>(level: Level, decay: &[f32], powers: &mut Block) {
        let one = MIDDLE as usize;
        powers.row_mut(one).fill(1.0);
        for row in one + 1..2 * one + CHUNK {
            let (power, next) = powers.row_and_row_mut(row - 1, row);
            for ((next, power), decay) in next.iter_mut().zip(power).zip(decay) {
                let power = power * decay;
                *next = if power < LEAST_POWER { 0.0 } else { power };
            }
        }
        for exponent in 1..=one {
            let (power, inverse) = powers.row_and_row_mut(one + exponent, one - exponent);
            for (inverse, power) in inverse[..decay.len()].iter_mut().zip(power) {
                *inverse = 1.0 / power;
            }
        }
    }
}
