//! WKV in chunks of 32 tokens as products of small matrices, for processors whose matrix tiles do
//! those many times faster than vectors.
//!
//! What a chunk takes is in `wkv/cpu/mod.rs`, with n of 32 and fewer. Its sums over earlier tokens
//! become products when w^(t-1-j) is parted into a factor of t and one of j. For
//! each j in the half h of the chunk, which begins at token b = 16 h,
//!
//! ```text
//! w^(t-1-j) = w^(t-b-8) w^(b+7-j)
//!
//! R_h = w^(t-b-8) * r_t     K = w^(b+7-j) * k_j     T = w^8 * S     (a row a token)
//!
//! A   = R_h K' where j < t is in h, and r_t . (u * k_t) where j = t         y  = A V + R_0 T
//! d_h = P K    of those P[t, j] where j < t is in h                         dr = w^(t-8) * (dY T' + d_0) + w^(t-24) * d_1 + P[t, t] u * k_t
//!                                                                           T  = w^n * T + (w^(n+7-j) * k_j)' V
//! ```
//!
//! so that no power that counts is below w^-8: a head that forgets faster than [`LEAST_DECAY`] goes
//! token by token.
//!
//! What is carried and all sums are f32; what enters products is rounded to bf16, so that results are off
//! by 2e-3 to 4e-3 of their norm. That is what activations lose that are stored as bf16, and no
//! more is asked of chunks.

mod keys;
mod powers;
mod tokens;
mod values;

pub use self::keys::keys;
pub use self::values::values;
use super::task::Task;
use crate::ops::linear::blocks::SIDE;

/// Tokens of a chunk. Shorter sequences go token by token.
const CHUNK: usize = SIDE;
/// Tokens of half a chunk.
const HALF: usize = CHUNK / 2;
/// Half of those: powers of w are counted from the middle of a half.
const MIDDLE: usize = HALF / 2;
/// To the power of -8 it is 3e26, which leaves room for the largest activations.
const LEAST_DECAY: f32 = 5e-4;

/// Whether a task can go in chunks.
pub fn takes(task: &Task) -> bool {
    task.rows.len() >= CHUNK && task.decay.iter().all(|&decay| decay >= LEAST_DECAY)
}
