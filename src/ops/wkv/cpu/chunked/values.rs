//! What is summed over keys, in chunks: y forward, and dv backward.

use super::super::task::Sweep;
use super::powers::Powers;
use super::tokens::{Decays, chunks, decay, load, write};
use super::{CHUNK, HALF, MIDDLE};
use crate::ops::cpu::activations::Activations;
use crate::ops::cpu::level::{Level, vectorised};
use crate::ops::cpu::vector::sum_of;
use crate::ops::linear::blocks::{Block, BlockProducts, BlockSum, BlockUnits, SIDE, scale_rows};
use crate::ops::linear::cpu::unit::Unit;

/// y from r, k and v, with `matrix` S first at the start, then at the end; or, backwards, dv from
/// k, r and dy.
pub fn values(
    level: Level,
    unit: Unit,
    sweep: Sweep,
    inputs: [Activations; 3],
    matrix: &mut [f32],
) {
    let (task, size) = (sweep.task, sweep.task.size);
    let wide = size.next_multiple_of(SIDE);
    let products = BlockProducts::new(level, unit);
    let (of_chunk, of_head) = (products.units(CHUNK), products.units(wide));
    let powers = Powers::new(level, task, wide);
    let mut bonus = vec![0.0; wide];
    bonus[..size].copy_from_slice(task.bonus);
    let mut t = Block::of_square(matrix, size);
    scale_rows(level, &mut t, powers.of(MIDDLE as isize));

    let [mut r, mut k, mut v, mut k_parted, mut k_kept, mut made] =
        [(); 6].map(|()| Block::zero(CHUNK, wide));
    // R_0, and below it R_1, which has no rows in the first half.
    let mut r_parted = Block::zero(2 * CHUNK, wide);
    let (mut squares, mut scores) = (Block::zero(2 * CHUNK, CHUNK), Block::zero(CHUNK, CHUNK));
    let [
        mut r_units,
        mut k_units,
        mut k_turned,
        mut score_units,
        mut v_units,
        mut t_units,
    ] = [(); 6].map(|()| BlockUnits::new(level, unit));
    for tokens in chunks(task) {
        for (rows, x) in [&mut r, &mut k, &mut v].into_iter().zip(inputs) {
            load(level, sweep, x, &tokens, rows);
        }
        let (low, high) = (-(MIDDLE as isize), MIDDLE as isize - 1);
        decay(
            level,
            &r,
            0..CHUNK,
            Decays::Rising(&powers, low),
            &mut r_parted,
            0,
        );
        decay(
            level,
            &r,
            HALF..CHUNK,
            Decays::Rising(&powers, low),
            &mut r_parted,
            CHUNK + HALF,
        );
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

        let r_units = r_units.across(&r_parted);
        let k_parted = k_turned.turned(k_units.across(&k_parted));
        let all = (0, 2 * CHUNK);
        products.multiply(
            r_units,
            all,
            of_head,
            k_parted,
            (&mut squares, BlockSum::New),
        );
        choose_scores(level, [&r, &k], &bonus, &squares, &mut scores);

        let (upper, v_units) = ((0, CHUNK), v_units.down(&v));
        let score_units = score_units.across(&scores);
        products.multiply(
            score_units,
            upper,
            of_chunk,
            v_units,
            (&mut made, BlockSum::New),
        );
        let t_units = t_units.down(&t);
        products.multiply(
            r_units,
            upper,
            of_head,
            t_units,
            (&mut made, BlockSum::Onto),
        );
        write(level, sweep, &tokens, &made);

        scale_rows(level, &mut t, powers.of(count));
        let k_kept = k_turned.turned(k_units.down(&k_kept));
        products.multiply(
            k_kept,
            (0, wide),
            of_chunk,
            v_units,
            (&mut t, BlockSum::Onto),
        );
    }
    scale_rows(level, &mut t, powers.of(-(MIDDLE as isize)));
    matrix.copy_from_slice(&t.square(size));
}

vectorised! {
    /// A of R_0 K' and, below it, R_1 K'.
    fn choose_scores<V: Vector>(
        level: Level,
        rk: [&Block; 2],
        bonus: &[f32],
        squares: &Block,
        scores: &mut Block,
    ) {
        for t in 0..CHUNK {
            let row = scores.row_mut(t);
            let first = t.min(HALF);
            row[..first].copy_from_slice(&squares.row(t)[..first]);
            row[first..t].copy_from_slice(&squares.row(CHUNK + t)[first..t]);
            let [r, k] = rk.map(|x| x.row(t));
            row[t] = sum_of::<V, 3>([r, k, bonus], |[r, k, u]| r.mul(k).mul(u));
            row[t + 1..].fill(0.0);
        }
    }
}
