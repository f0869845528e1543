//! What is summed over keys: y forward, and dv backward.

use super::matrix::{Decay, HeadMatrix, Step};
use super::rows::{BLOCK, HeadRows, PAIR, Powers, lanes, lower};
use super::task::{Sweep, TOKENS};
use crate::ops::cpu::activations::Activations;
use crate::ops::cpu::level::vectorised;
use crate::ops::cpu::vector::{LANES, Vector};

vectorised! {
    /// y from r, k and v, with `matrix` S first at the start, then at the end; or, backwards, dv
    /// from k, r and dy.
    pub fn values<V: Vector>(
        level: Level,
        sweep: Sweep<'_>,
        inputs: [Activations<'_>; 3],
        matrix: &mut [f32],
    ) {
        let task = sweep.task;
        let powers = Powers::new(task);
        let mut s = HeadMatrix::<V>::new(matrix, task.size);
        let [mut r, mut k, mut v, mut r_decayed, mut k_decayed, mut made] =
            [(); 6].map(|()| HeadRows::new(task));
        for tokens in task.chunks() {
            let count = tokens.len();
            sweep.prefetch(tokens.clone());
            for (rows, x) in [&mut r, &mut k, &mut v].into_iter().zip(inputs) {
                rows.load(sweep, x, tokens.clone());
            }
            for t in 0..TOKENS {
                r_decayed.decay::<V>(&r, t, &powers, t);
                k_decayed.decay::<V>(&k, t, &powers, count.saturating_sub(1 + t));
            }
            let a = scores::<V>(&r, &k, &powers);
            for (pair, m) in s.pairs.chunks_exact_mut(task.size).enumerate() {
                let values = v.pair::<V>(pair);
                let mut sums = [[V::zero(); PAIR]; TOKENS];
                for t in 0..TOKENS {
                    for j in 0..=t {
                        let score = V::splat(a[t][j]);
                        for column in 0..PAIR {
                            sums[t][column] = sums[t][column].add_product(score, values[j][column]);
                        }
                    }
                }
                let step = Step {
                    a: &r_decayed,
                    b: &k_decayed,
                    c: values,
                    decay: Decay::OfRow(&powers.all[count]),
                };
                step.take(m, &mut sums);
                made.set_pair(pair, &sums);
            }
            made.write(sweep, tokens);
        }
        s.write(matrix);
    }
}

/// A\[t, j\] for j <= t, else 0.
#[inline(always)]
fn scores<V: Vector>(r: &HeadRows, k: &HeadRows, powers: &Powers) -> [[f32; TOKENS]; TOKENS] {
    let mut sums = [[V::zero(); TOKENS]; TOKENS];
    for (block, (r, k)) in r.blocks.iter().zip(&k.blocks).enumerate() {
        let (w, u) = (&powers.all[1][block], &powers.bonus[block]);
        for at in 0..BLOCK / LANES {
            let (w, u) = (lanes::<V>(w, at), lanes::<V>(u, at));
            for t in 0..TOKENS {
                let mut decayed = lanes::<V>(&r[t], at);
                sums[t][t] = sums[t][t].add_product(decayed.mul(u), lanes(&k[t], at));
                for j in (0..t).rev() {
                    sums[t][j] = sums[t][j].add_product(decayed, lanes(&k[j], at));
                    decayed = decayed.mul(w);
                }
            }
        }
    }
    lower(&sums)
}
