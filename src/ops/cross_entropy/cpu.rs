//! Cross-entropy on the CPU: logits are made a slice of the vocabulary at a time, and what they add to
//! the gradient is multiplied with the same slice of the head while they are in cache.
//!
//! With m the largest logit so far, a row keeps m, the sum of exp(z - m) over all tokens but the
//! target, and the same sum of exp(z - m) W, both of which shrink when m grows. The target comes
//! last: where the model is sure of it, softmax - 1 would lose its digits in a sum of bf16 products.
//! (Milakov and Gimelshein 2018, "Online normalizer calculation for softmax"; Dao et al. 2022,
//! "FlashAttention", for the sum of products.)

use candle_core::Result;
use rayon::prelude::*;

use crate::ops::cpu::level::{Level, vectorised};
use crate::ops::cpu::tensor::tensor;
use crate::ops::cpu::vector::{LANES, Vector, exp};
use crate::ops::linear::{Matrix, Packed, Side};

/// Tokens of a slice of the vocabulary.
pub const SLICE: usize = 2048;

/// What is known of a row once some slices have been seen.
#[derive(Clone, Copy)]
struct Seen {
    /// The largest logit, and the first token that has it.
    max: f32,
    choice: usize,
    /// The target's logit.
    target: f32,
    /// The sum of exp(z - max) over all tokens but the target.
    others: f64,
}

impl Seen {
    const NOTHING: Self = Self {
        max: f32::NEG_INFINITY,
        choice: usize::MAX,
        target: f32::NEG_INFINITY,
        others: 0.0,
    };

    /// The sum of exp(z - max) over all tokens.
    fn sum(&self) -> f64 {
        self.others + f64::from(self.target - self.max).exp()
    }

    fn loss(&self) -> f64 {
        self.sum().ln() - f64::from(self.target - self.max)
    }
}

/// (each row's loss, the gradient of x times `scale`).
pub fn loss_and_gradient(
    head: &Matrix,
    x: &Packed,
    targets: &[u32],
    scale: f32,
) -> Result<(Vec<f64>, Vec<f32>)> {
    let level = Level::current();
    let [rows, channels] = x.dims();
    let mut seen = vec![Seen::NOTHING; rows];
    let mut sums = vec![0.0; rows * channels];
    for first in (0..head.dims()[0]).step_by(SLICE) {
        let (slice, mut logits) = slice(head, x, first)?;
        let [width, _] = slice.dims();
        let shares = logits.par_chunks_mut(width).zip(&mut seen).zip(targets);
        shares
            .zip(sums.par_chunks_mut(channels))
            .for_each(|(((logits, seen), target), sum)| {
                let shrinks = see(level, logits, first, *target as usize, seen);
                if shrinks != 1.0 {
                    sum.iter_mut().for_each(|x| *x *= shrinks);
                }
            });
        let exponentials = Packed::of(head.product(), &tensor(logits, (rows, width))?)?;
        sums = slice.multiply_packed(&exponentials, Side::Backward, Some(&sums))?;
    }
    sums.par_chunks_mut(channels)
        .zip(&seen)
        .zip(targets)
        .for_each(|((sum, seen), target)| {
            let whole = seen.sum();
            let by = [1.0, -seen.others].map(|part| scale * (part / whole) as f32);
            add_target(level, head, *target as usize, by, sum);
        });
    Ok((seen.iter().map(Seen::loss).collect(), sums))
}

/// (the summed loss, how many targets are their row's first largest logit).
pub fn score(head: &Matrix, x: &Packed, targets: &[u32]) -> Result<(f64, usize)> {
    let level = Level::current();
    let mut seen = vec![Seen::NOTHING; targets.len()];
    for first in (0..head.dims()[0]).step_by(SLICE) {
        let (slice, mut logits) = slice(head, x, first)?;
        logits
            .par_chunks_mut(slice.dims()[0])
            .zip(&mut seen)
            .zip(targets)
            .for_each(|((logits, seen), target)| {
                see(level, logits, first, *target as usize, seen);
            });
    }
    let hits = seen.iter().zip(targets);
    let hits = hits.filter(|(seen, target)| seen.choice == **target as usize);
    Ok((seen.iter().map(Seen::loss).sum(), hits.count()))
}

/// (the head's rows for the tokens from `first` on, their logits).
fn slice(head: &Matrix, x: &Packed, first: usize) -> Result<(Matrix, Vec<f32>)> {
    let slice = head.some_rows(first..head.dims()[0].min(first + SLICE))?;
    let logits = slice.multiply_packed(x, Side::Forward, None)?;
    Ok((slice, logits))
}

vectorised! {
    /// Sees a row's logits of the tokens from `first` on, which become exp(z - m), and 0 at the target.
    /// Returns what earlier such numbers shrink by.
    fn see<V: Vector>(
        level: Level,
        logits: &mut [f32],
        first: usize,
        target: usize,
        seen: &mut Seen,
    ) -> f32 {
        let max = max(logits);
        let mut shrinks = 1.0;
        if max > seen.max {
            shrinks = exp::<V>(seen.max - max);
            seen.others *= f64::from(shrinks);
            seen.choice = first + logits.iter().position(|&logit| logit == max).unwrap_or(0);
            seen.max = max;
        }
        let target = target.checked_sub(first).filter(|&target| target < logits.len());
        if let Some(target) = target {
            seen.target = logits[target];
            // Its exponential is 0: the target is added last.
            logits[target] = f32::NEG_INFINITY;
        }
        // With no logit above -inf yet, all exponentials are 0.
        let from = if seen.max == f32::NEG_INFINITY { 0.0 } else { seen.max };
        seen.others += exponentials::<V>(logits, from);
        shrinks
    }
}

vectorised! {
    /// Makes a row's gradient of its sum of exp(z - m) W and the target's row of W, each times its
    /// number. That row is not rounded, whatever the product's type.
    fn add_target<V: Vector>(
        level: Level,
        head: &Matrix,
        target: usize,
        by: [f32; 2],
        sum: &mut [f32],
    ) {
        let mut of_target = vec![0.0; sum.len()];
        head.read_row::<V>(target, &mut of_target);
        for (x, w) in sum.iter_mut().zip(&of_target) {
            *x = *x * by[0] + w * by[1];
        }
    }
}

#[inline(always)]
fn max(values: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let pieces = values.chunks_exact(LANES);
    let rest = pieces.remainder();
    for piece in pieces {
        for (lane, &value) in lanes.iter_mut().zip(piece) {
            *lane = lane.max(value);
        }
    }
    lanes
        .iter()
        .chain(rest)
        .copied()
        .fold(f32::NEG_INFINITY, f32::max)
}

/// Makes exp(value - max) of each value. Returns their sum in f64: where the model is sure, the loss
/// is the small difference of this sum and 1.
#[inline(always)]
fn exponentials<V: Vector>(values: &mut [f32], max: f32) -> f64 {
    let mut sums = [0.0; LANES];
    let mut sum = 0.0;
    for values in values.chunks_mut(LANES) {
        for value in &mut *values {
            *value = exp::<V>(*value - max);
        }
        match values.as_array::<LANES>() {
            Some(values) => {
                for (sum, &e) in sums.iter_mut().zip(values) {
                    *sum += f64::from(e);
                }
            }
            None => sum += values.iter().map(|&e| f64::from(e)).sum::<f64>(),
        }
    }
    sums.iter().sum::<f64>() + sum
}
