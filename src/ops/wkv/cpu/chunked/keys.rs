//! What is summed over values, in chunks: dr and dk, both backward.

use super::super::task::Sweep;
use super::tokens::{chunks, load, part_keys, write};
use super::values::keep_earlier;
use super::{CHUNK, Chunks, HALF, MIDDLE, power};
use crate::ops::cpu::activations::Activations;
use crate::ops::cpu::level::vectorised;
use crate::ops::linear::blocks::{Block, BlockSum};

impl Chunks {
    /// dr from dy, v and k, with `matrix` S at the start transposed; or, backwards, dk from v, dy
    /// and r.
    pub fn keys(&mut self, sweep: Sweep, inputs: [Activations; 3], matrix: &[f32]) {
        let level = self.level;
        self.begin(sweep.task, matrix);
        scale_columns(level, &mut self.matrix, power(&self.powers, MIDDLE));
        for tokens in chunks(sweep.task.rows.len()) {
            for (rows, x) in self.inputs.iter_mut().zip(inputs) {
                load(level, sweep, x, &tokens, rows);
            }
            self.keys_of(tokens.len());
            write(level, sweep, &tokens, &self.made);
        }
    }

    /// The sums of a chunk of `count` tokens, and T after it.
    fn keys_of(&mut self, count: usize) {
        let Self {
            level,
            products,
            powers,
            inputs: [d, v, k],
            units: [d_units, k_units, turned, p_units, v_units, t_units],
            ..
        } = self;
        let (level, of_tokens, of_channels) = (*level, self.of_tokens, self.of_channels);
        part_keys(
            level,
            powers,
            k,
            count,
            &mut self.k_parted,
            &mut self.k_kept,
        );

        let (chunk, both) = ((0, CHUNK), (0, 2 * CHUNK));
        let gradients = d_units.across(d);
        let values = turned.turned(v_units.across(v));
        let square = (&mut self.square, BlockSum::New);
        products.multiply(gradients, chunk, of_channels, values, square);
        choose_p(level, &self.square, &mut self.halves);

        let (p, keys) = (p_units.across(&self.halves), k_units.down(&self.k_parted));
        let sums = (&mut self.both, BlockSum::New);
        products.multiply(p, both, of_tokens, keys, sums);
        let sums = (&mut self.both, BlockSum::Onto);
        products.multiply(
            gradients,
            chunk,
            of_channels,
            t_units.down(&self.matrix),
            sums,
        );
        let sums = [&self.both, &self.square];
        add_up(level, powers, sums, k, &self.bonus, &mut self.made);

        scale_columns(level, &mut self.matrix, power(powers, count as isize));
        let (values, keys) = (turned.turned(v_units.down(v)), k_units.down(&self.k_kept));
        let all = (0, self.matrix.rows());
        let matrix = (&mut self.matrix, BlockSum::Onto);
        products.multiply(values, all, of_tokens, keys, matrix);
    }
}

vectorised! {
    /// Both P_h of dY V', whose other halves are zero.
    fn choose_p<V: Vector>(level: Level, square: &Block, halves: &mut Block) {
        for t in 0..CHUNK {
            let (first, second) = square.row(t).split_at(HALF);
            let out = halves.row_mut(t);
            keep_earlier(first, t, out);
            out[HALF..].fill(0.0);
            let out = halves.row_mut(CHUNK + t);
            out[..HALF].fill(0.0);
            keep_earlier(second, t.saturating_sub(HALF), &mut out[HALF..]);
        }
    }
}

vectorised! {
    /// dr of both its parts and what a token has of itself.
    fn add_up<V: Vector>(
        level: Level,
        powers: &Block,
        sums: [&Block; 2],
        k: &Block,
        bonus: &[f32],
        made: &mut Block,
    ) {
        let [both, square] = sums;
        for t in 0..CHUNK {
            let exponent = t as isize - MIDDLE;
            let first = both.row(t).iter().zip(power(powers, exponent));
            let here = square.row(t)[t];
            let here_of = k.row(t).iter().zip(bonus);
            let row = made.row_mut(t).iter_mut();
            for (out, ((x, power), (k, u))) in row.zip(first.zip(here_of)) {
                *out = x * power + here * (u * k);
            }
            if t > HALF {
                let power = power(powers, exponent - HALF as isize);
                let second = both.row(CHUNK + t).iter().zip(power);
                for (out, (x, power)) in made.row_mut(t).iter_mut().zip(second) {
                    *out += x * power;
                }
            }
        }
    }
}

vectorised! {
    /// Columns of a block, each times a number.
    fn scale_columns<V: Vector>(level: Level, block: &mut Block, by: &[f32]) {
        for row in 0..block.rows() {
            for (x, by) in block.row_mut(row).iter_mut().zip(by) {
                *x *= by;
            }
        }
    }
}
