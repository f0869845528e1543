//! What is summed over values, in chunks: dr and dk, both backward.

use super::super::task::Sweep;
use super::powers::Powers;
use super::tokens::{Decays, chunks, decay, load, write};
use super::{CHUNK, HALF, MIDDLE};
use crate::ops::cpu::activations::Activations;
use crate::ops::cpu::level::{Level, vectorised};
use crate::ops::linear::blocks::{Block, BlockProducts, BlockSum, BlockUnits, SIDE};
use crate::ops::linear::cpu::unit::Unit;

/// dr from dy, v and k, with `matrix` S at the start transposed; or, backwards, dk from v, dy and r.
pub fn keys(level: Level, unit: Unit, sweep: Sweep, inputs: [Activations; 3], matrix: &[f32]) {
    let (task, size) = (sweep.task, sweep.task.size);
    let wide = size.next_multiple_of(SIDE);
    let products = BlockProducts::new(level, unit);
    let (of_chunk, of_head) = (products.units(CHUNK), products.units(wide));
    let powers = Powers::new(level, task, wide);
    let mut bonus = vec![0.0; wide];
    bonus[..size].copy_from_slice(task.bonus);
    let mut t = Block::of_square(matrix, size);
    scale_columns(level, &mut t, powers.of(MIDDLE as isize));

    let [mut d, mut v, mut k, mut k_parted, mut k_kept] =
        [(); 5].map(|()| Block::zero(CHUNK, wide));
    // Of each half of the chunk.
    let (mut p, mut halves) = (Block::zero(CHUNK, CHUNK), Block::zero(2 * CHUNK, CHUNK));
    // w^-(t-8) dr, but for its last part; and, below it, what of that has w^-(t-24).
    let mut sums = Block::zero(2 * CHUNK, wide);
    let mut made = Block::zero(CHUNK, wide);
    let [
        mut d_units,
        mut v_units,
        mut v_turned,
        mut half_units,
        mut k_units,
        mut t_units,
    ] = [(); 6].map(|()| BlockUnits::new(level, unit));
    for tokens in chunks(task) {
        for (rows, x) in [&mut d, &mut v, &mut k].into_iter().zip(inputs) {
            load(level, sweep, x, &tokens, rows);
        }
        let high = MIDDLE as isize - 1;
        for half in [0, HALF] {
            decay(
                level,
                &k,
                half..half + HALF,
                Decays::Falling(&powers, high),
                &mut k_parted,
                half,
            );
        }
        let count = tokens.len() as isize;
        decay(
            level,
            &k,
            0..tokens.len(),
            Decays::Falling(&powers, count + high),
            &mut k_kept,
            0,
        );
        for row in tokens.len()..CHUNK {
            k_kept.row_mut(row).fill(0.0);
        }

        let (upper, all) = ((0, CHUNK), (0, 2 * CHUNK));
        let d_units = d_units.across(&d);
        let v_across = v_turned.turned(v_units.across(&v));
        products.multiply(d_units, upper, of_head, v_across, (&mut p, BlockSum::New));
        part(&p, &mut halves);
        let (half_units, k_parted) = (half_units.across(&halves), k_units.down(&k_parted));
        products.multiply(
            half_units,
            all,
            of_chunk,
            k_parted,
            (&mut sums, BlockSum::New),
        );
        let t_units = t_units.down(&t);
        products.multiply(
            d_units,
            upper,
            of_head,
            t_units,
            (&mut sums, BlockSum::Onto),
        );
        add_up(level, &powers, &sums, &p, &k, &bonus, &mut made);
        write(level, sweep, &tokens, &made);

        scale_columns(level, &mut t, powers.of(count));
        let (v_down, k_kept) = (v_turned.turned(v_units.down(&v)), k_units.down(&k_kept));
        products.multiply(
            v_down,
            (0, wide),
            of_chunk,
            k_kept,
            (&mut t, BlockSum::Onto),
        );
    }
}

/// What P has of earlier tokens in the first half of the chunk and, below it, in the second.
fn part(p: &Block, halves: &mut Block) {
    for t in 0..CHUNK {
        let (row, first) = (p.row(t), t.min(HALF));
        halves.row_mut(t)[..first].copy_from_slice(&row[..first]);
        halves.row_mut(CHUNK + t)[first..t].copy_from_slice(&row[first..t]);
    }
}

vectorised! {
    /// dr of its parts.
    fn add_up<V: Vector>(
        level: Level,
        powers: &Powers,
        sums: &Block,
        p: &Block,
        k: &Block,
        bonus: &[f32],
        made: &mut Block,
    ) {
        for t in 0..CHUNK {
            let exponent = t as isize - MIDDLE as isize;
            let first = sums.row(t).iter().zip(powers.of(exponent));
            let here = p.row(t)[t];
            let here_of = k.row(t).iter().zip(bonus);
            let row = made.row_mut(t).iter_mut();
            for (out, ((x, power), (k, u))) in row.zip(first.zip(here_of)) {
                *out = x * power + here * (u * k);
            }
            if t > HALF {
                let power = powers.of(exponent - HALF as isize);
                let second = sums.row(CHUNK + t).iter().zip(power);
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
