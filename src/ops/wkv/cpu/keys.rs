//! What is summed over values: dr and dk, both backward.

use super::matrix::{Decay, HeadMatrix, Step};
use super::rows::{BLOCK, HeadRows, PAIR, Powers, lanes, lower};
use super::task::{Sweep, TOKENS};
use crate::ops::cpu::activations::Activations;
use crate::ops::cpu::level::vectorised;
use crate::ops::cpu::vector::{LANES, Vector};

vectorised! {
    /// dr from dy, v and k, with `matrix` S at the start transposed; or, backwards, dk from v, dy
    /// and r.
    pub fn keys<V: Vector>(
        level: Level,
        sweep: Sweep<'_>,
        inputs: [Activations<'_>; 3],
        matrix: &[f32],
    ) {
        let task = sweep.task;
        let powers = Powers::new(task);
        let mut s = HeadMatrix::<V>::new(matrix, task.size);
        let [mut d, mut v, mut k, mut k_decayed, mut made] = [(); 5].map(|()| HeadRows::new(task));
        for tokens in task.chunks() {
            let count = tokens.len();
            sweep.prefetch(tokens.clone());
            for (rows, x) in [&mut d, &mut v, &mut k].into_iter().zip(inputs) {
                rows.load(sweep, x, tokens.clone());
            }
            for t in 0..TOKENS {
                k_decayed.decay::<V>(&k, t, &powers, count.saturating_sub(1 + t));
            }
            let p = dots::<V>(&d, &v);
            for (pair, m) in s.pairs.chunks_exact_mut(task.size).enumerate() {
                let mut sums = [[V::zero(); PAIR]; TOKENS];
                let step = Step {
                    a: &d,
                    b: &v,
                    c: k_decayed.pair(pair),
                    decay: Decay::OfLane(powers.pair(count, pair)),
                };
                step.take(m, &mut sums);
                let keys = k.pair::<V>(pair);
                let (w, u) = (powers.pair::<V>(1, pair), powers.bonus_pair::<V>(pair));
                for t in 0..TOKENS {
                    let decay = powers.pair::<V>(t, pair);
                    for column in 0..PAIR {
                        let mut here = V::zero();
                        for j in 0..t {
                            let product = V::splat(p[t][j]);
                            here = here.mul(w[column]).add_product(product, keys[j][column]);
                        }
                        let bonus = V::splat(p[t][t]).mul(u[column]);
                        here = here.add_product(bonus, keys[t][column]);
                        sums[t][column] = here.add_product(sums[t][column], decay[column]);
                    }
                }
                made.set_pair(pair, &sums);
            }
            made.write(sweep, tokens);
        }
    }
}

/// P\[t, j\] for j <= t, else 0.
#[inline(always)]
fn dots<V: Vector>(d: &HeadRows, v: &HeadRows) -> [[f32; TOKENS]; TOKENS] {
    let mut sums = [[V::zero(); TOKENS]; TOKENS];
    for (d, v) in d.blocks.iter().zip(&v.blocks) {
        for at in 0..BLOCK / LANES {
            for t in 0..TOKENS {
                let d = lanes::<V>(&d[t], at);
                for j in 0..=t {
                    sums[t][j] = sums[t][j].add_product(d, lanes(&v[j], at));
                }
            }
        }
    }
    lower(&sums)
}
