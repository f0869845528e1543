//! One head of one sequence: where its numbers are, what its tokens are prepared to, and how shares
//! of it are written.

use std::ops::Range;

use rayon::prelude::*;

use super::super::KeyVectors;
use crate::ops::cpu::activations::ActivationsParts;
use crate::ops::cpu::output::OutputParts;
use crate::ops::cpu::vector::{LANES, Vector, exp_of_small, sigmoid, sigmoid_and_rest};

/// Columns of a share.
const SHARE: usize = 32;
/// Rows of a piece.
const PIECE: usize = 32;

/// Rows that the cache fetches ahead: a head's channels of the next row are far from those of this
/// one, and processors do not see them coming.
const AHEAD: usize = 16;
/// e^-0.5: the strongest decay is e to minus this.
const STRONGEST: f32 = 0.606_530_66;

/// One head of one sequence.
pub struct DeltaTask<'a> {
    pub rows: Range<usize>,
    pub state: &'a [f32],
    pub decay: &'a [f32],
    pub bonus: &'a [f32],
    pub keys: KeyVectors<'a>,
    pub head: usize,
    pub n_head: usize,
    pub size: usize,
    /// How many tasks there are.
    pub count: usize,
}

impl DeltaTask<'_> {
    /// Does `work` on the columns of its matrix: all at once or, where threads would be idle, in
    /// shares.
    pub fn shares<R: Send>(&self, work: impl Fn(Range<usize>) -> R + Sync) -> Vec<R> {
        if self.count >= rayon::current_num_threads() {
            return vec![work(0..self.size)];
        }
        (0..self.size.div_ceil(SHARE))
            .into_par_iter()
            .map(|share| work(share * SHARE..self.size.min((share + 1) * SHARE)))
            .collect()
    }

    /// Does `work` on its rows: all at once or, where threads would be idle, in pieces.
    pub fn pieces(&self, work: impl Fn(Range<usize>) + Sync) {
        if self.count >= rayon::current_num_threads() {
            return work(self.rows.clone());
        }
        let (start, end) = (self.rows.start, self.rows.end);
        (0..self.rows.len().div_ceil(PIECE))
            .into_par_iter()
            .map(|piece| start + piece * PIECE)
            .for_each(|first| work(first..end.min(first + PIECE)));
    }
}

/// Which way a task goes through its tokens.
#[derive(Clone, Copy)]
pub enum Direction {
    Forwards,
    Backwards,
}

impl DeltaTask<'_> {
    /// Where its channels of a row are in a tensor `[N, C]`.
    #[inline(always)]
    pub fn at(&self, row: usize) -> Range<usize> {
        let start = self.number(row) * self.size;
        start..start + self.size
    }

    /// The row of a place in a tensor `[N, C]`.
    #[inline(always)]
    pub fn row(&self, at: usize) -> usize {
        at / (self.n_head * self.size)
    }

    /// The first of its channels in a row.
    #[inline(always)]
    pub fn first(&self) -> usize {
        self.head * self.size
    }

    /// Where its numbers of a row are in a tensor `[T, K]` of its own.
    #[inline(always)]
    pub fn own(&self, row: usize) -> Range<usize> {
        let start = (row - self.rows.start) * self.size;
        start..start + self.size
    }

    /// Where its number of a row is in a tensor `[N, H]`.
    #[inline(always)]
    pub fn number(&self, row: usize) -> usize {
        row * self.n_head + self.head
    }

    /// Where its channels are of the row that the cache should fetch while this one is computed.
    #[inline(always)]
    pub fn ahead(&self, order: Direction, row: usize) -> Range<usize> {
        self.at(match order {
            Direction::Forwards => (row + AHEAD).min(self.rows.end - 1),
            Direction::Backwards => row.saturating_sub(AHEAD).max(self.rows.start),
        })
    }
}

/// exp(logw) from w.
#[inline(always)]
pub fn decay<V: Vector>(w: &[f32], w0: &[f32], out: &mut [f32]) {
    for (out, (w, w0)) in out.iter_mut().zip(w.iter().zip(w0)) {
        *out = exp_of_small::<V>(-STRONGEST * sigmoid::<V>(w + w0));
    }
}

/// The same, and dlogw / dw.
#[inline(always)]
pub fn decay_and_slope<V: Vector>(w: &[f32], w0: &[f32], out: &mut [f32], slope: &mut [f32]) {
    for ((out, slope), (w, w0)) in out.iter_mut().zip(slope).zip(w.iter().zip(w0)) {
        let [s, rest] = sigmoid_and_rest::<V>(w + w0);
        *out = exp_of_small::<V>(-STRONGEST * s);
        *slope = -STRONGEST * s * rest;
    }
}

/// a * b.
#[inline(always)]
pub fn product(a: &[f32], b: &[f32], out: &mut [f32]) {
    for (out, (a, b)) in out.iter_mut().zip(a.iter().zip(b)) {
        *out = a * b;
    }
}

/// Writes numbers from number `start` on.
///
/// # Safety
///
/// Nobody else writes them meanwhile.
#[inline(always)]
pub unsafe fn write(out: &OutputParts, start: usize, values: &[f32]) {
    let (whole, rest) = values.as_chunks::<LANES>();
    // SAFETY: the caller says so.
    let parts = unsafe { out.part(start..start + values.len()) };
    for (out, values) in parts.as_chunks_mut::<LANES>().0.iter_mut().zip(whole) {
        out.write_copy_of_slice(values);
    }
    parts[values.len() - rest.len()..].write_copy_of_slice(rest);
}

/// The same of numbers of either type.
///
/// # Safety
///
/// As there.
#[inline(always)]
pub unsafe fn write_activations(out: &ActivationsParts, start: usize, values: &[f32]) {
    for (values, start) in values.chunks(LANES).zip((start..).step_by(LANES)) {
        // SAFETY: the caller says so.
        unsafe {
            match values.first_chunk::<LANES>() {
                Some(whole) => out.write_inline(start, whole),
                None => out.write_inline(start, values),
            }
        }
    }
}
