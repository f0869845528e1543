//! What is summed over keys, in chunks: y forward, and dv backward.

use super::super::task::Sweep;
use super::tokens::{chunks, load, part_keys, part_readers, write};
use super::{CHUNK, Chunks, HALF, MIDDLE, power};
use crate::ops::cpu::activations::Activations;
use crate::ops::cpu::level::vectorised;
use crate::ops::cpu::vector::sum_of;
use crate::ops::linear::blocks::{Block, BlockSum, scale_rows};

impl Chunks {
    /// y from r, k and v, with `matrix` S first at the start, then at the end; or, backwards, dv
    /// from k, r and dy.
    pub fn values(&mut self, sweep: Sweep, inputs: [Activations; 3], matrix: &mut [f32]) {
        let level = self.level;
        self.begin(sweep.task, matrix);
        scale_rows(level, &mut self.matrix, power(&self.powers, MIDDLE));
        for tokens in chunks(sweep.task.rows.len()) {
            for (rows, x) in self.inputs.iter_mut().zip(inputs) {
                load(level, sweep, x, &tokens, rows);
            }
            self.values_of(tokens.len());
            write(level, sweep, &tokens, &self.made);
        }
        scale_rows(level, &mut self.matrix, power(&self.powers, -MIDDLE));
        self.matrix.write_square(sweep.task.size, matrix);
    }

    /// The sums of a chunk of `count` tokens, and T after it.
    fn values_of(&mut self, count: usize) {
        let Self {
            level,
            products,
            powers,
            inputs: [r, k, v],
            units: [r_units, k_units, turned, score_units, v_units, t_units],
            ..
        } = self;
        let (level, of_tokens, of_channels) = (*level, self.of_tokens, self.of_channels);
        part_readers(level, powers, r, &mut self.both);
        part_keys(
            level,
            powers,
            k,
            count,
            &mut self.k_parted,
            &mut self.k_kept,
        );

        let (chunk, both) = ((0, CHUNK), (0, 2 * CHUNK));
        let readers = r_units.across(&self.both);
        let keys = turned.turned(k_units.across(&self.k_parted));
        let halves = (&mut self.halves, BlockSum::New);
        products.multiply(readers, both, of_channels, keys, halves);
        choose_scores(level, r, k, &self.bonus, &self.halves, &mut self.square);

        let (scores, values) = (score_units.across(&self.square), v_units.down(v));
        let made = (&mut self.made, BlockSum::New);
        products.multiply(scores, chunk, of_tokens, values, made);
        let made = (&mut self.made, BlockSum::Onto);
        products.multiply(
            readers,
            chunk,
            of_channels,
            t_units.down(&self.matrix),
            made,
        );

        scale_rows(level, &mut self.matrix, power(powers, count as isize));
        let keys = turned.turned(k_units.down(&self.k_kept));
        let all = (0, self.matrix.rows());
        let matrix = (&mut self.matrix, BlockSum::Onto);
        products.multiply(keys, all, of_tokens, values, matrix);
    }
}

vectorised! {
    /// A of both R_h K'.
    fn choose_scores<V: Vector>(
        level: Level,
        r: &Block,
        k: &Block,
        bonus: &[f32],
        halves: &Block,
        scores: &mut Block,
    ) {
        for t in 0..CHUNK {
            let row = scores.row_mut(t);
            let (first, second) = row.split_at_mut(HALF);
            keep_earlier(halves.row(t), t, first);
            keep_earlier(&halves.row(CHUNK + t)[HALF..], t.saturating_sub(HALF), second);
            row[t] = sum_of::<V, 3>([r.row(t), k.row(t), bonus], |[r, k, u]| r.mul(k).mul(u));
        }
    }
}

/// The first `count` numbers of half a row; zeros for the others.
#[inline(always)]
pub fn keep_earlier(row: &[f32], count: usize, out: &mut [f32]) {
    for (j, (out, x)) in (0..HALF as u32).zip(out.iter_mut().zip(row)) {
        *out = if j < count as u32 { *x } else { 0.0 };
    }
}
