//! The recurrence in chunks of 32 tokens as products of small matrices, for processors whose matrix
//! tiles do those many times faster than vectors.
//!
//! P_t is the product of a chunk's decays up to row t and with it, and P that of all; a = -kk and
//! b = kk * alpha. With
//!
//! ```text
//! R = r P_t     A = a P_{t-1}     K = k / P_s     B = b / P_s        (a row a token)
//! ```
//!
//! and tri, which keeps s <= t, and tri-, which keeps s < t, a chunk takes S from its first row to
//! its last, and L, the gradient of S, from its last row to its first:
//!
//! ```text
//! (I - tri- AB') SA = A S + tri-(AK') V       Y = R S + tri(RK') V + tri(RB') SA       S becomes P (S + K'V + B'SA)
//!
//! M = P L
//! (I - tri- AB')' D = B M + tri(RB')' dY      dV = K M + tri(RK')' dY + tri-(AK')' D   L becomes M + R'dY + A'D
//!
//! S dY  = P_t     (dY S' + tri(dY V') K + tri(dY SA') B)       G V  = (V M'  + tri(dY V')' R  + tri-(D V')' A)  / P_s
//! S D   = P_{t-1} (D S'  + tri-(D V') K + tri-(D SA') B)       G SA = (SA M' + tri(dY SA')' R + tri-(D SA')' A) / P_s
//! ```
//!
//! D is dsa; what `delta/mod.rs` makes of the last four, a token at a time, begins anew with each chunk's own
//! E, so that rounding does not add up over the sequence. A decay is at least e^-0.61, so that no
//! 1 / P_s is above 3e8, and every quotient of two P that counts is at most 1.
//!
//! The triangular systems are solved row by row in f32: powers of the matrix would grow where keys
//! repeat. What is carried and all sums are f32; what enters products is rounded to bf16, so that
//! gradients are off by 2e-3 to 7e-3 of their norm, and by 2e-2 where one token repeats. That is what
//! activations lose that are stored as bf16, and no more is asked of chunks: elsewhere the recurrence
//! goes token by token in f32. (Yang et al. 2024, "Parallelizing Linear Transformers with the Delta Rule
//! over Sequence Length", for chunks.)

mod backward;
mod forward;
mod keys;
mod work;

pub use self::backward::backward;
pub use self::forward::forward;
use crate::ops::linear::blocks::SIDE;

/// Tokens of a chunk. Shorter sequences go token by token.
pub const CHUNK: usize = SIDE;

/// Which way a sweep goes through the chunks.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Walk {
    Forwards,
    Backwards,
}
