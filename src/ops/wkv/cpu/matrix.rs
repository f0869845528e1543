//! The matrix that a head carries, S or G: read by the rows of a few tokens, and made anew by them.

use super::rows::{BLOCK, HeadRows, PAIR};
use super::task::TOKENS;
use crate::ops::cpu::vector::{LANES, Vector};

/// A square matrix in pairs of vectors of columns: all rows of the first pair, then of the next;
/// zero past the last column.
pub struct HeadMatrix<V> {
    pub pairs: Vec<[V; PAIR]>,
    size: usize,
}

impl<V: Vector> HeadMatrix<V> {
    /// From numbers row by row.
    #[inline(always)]
    pub fn new(values: &[f32], size: usize) -> Self {
        let mut pairs = Vec::with_capacity(size * size.div_ceil(PAIR * LANES));
        for start in (0..size).step_by(PAIR * LANES) {
            for row in values.chunks_exact(size) {
                let mut numbers = [0.0; PAIR * LANES];
                let part = &row[start..(start + PAIR * LANES).min(size)];
                numbers[..part.len()].copy_from_slice(part);
                pairs.push([V::load(&numbers), V::load(&numbers[LANES..])]);
            }
        }
        Self { pairs, size }
    }

    /// Into numbers row by row.
    #[inline(always)]
    pub fn write(&self, out: &mut [f32]) {
        let size = self.size;
        for (pair, rows) in self.pairs.chunks_exact(size).enumerate() {
            let start = pair * PAIR * LANES;
            for (row, vectors) in out.chunks_exact_mut(size).zip(rows) {
                let mut numbers = [0.0; PAIR * LANES];
                for (numbers, vector) in numbers.as_chunks_mut().0.iter_mut().zip(vectors) {
                    vector.store_whole(numbers);
                }
                let part = &mut row[start..(start + PAIR * LANES).min(size)];
                part.copy_from_slice(&numbers[..part.len()]);
            }
        }
    }
}

/// How a matrix decays over some tokens.
#[derive(Clone, Copy)]
pub enum Decay<'a, V> {
    OfRow(&'a [[f32; BLOCK]]),
    OfLane([V; PAIR]),
}

/// To the sum of each token t, a_t M is added. M is some columns of a matrix, whose rows lie along
/// the channels of a.
#[inline(always)]
pub fn gather<V: Vector>(m: &[[V; PAIR]], a: &HeadRows, sums: &mut [[V; PAIR]; TOKENS]) {
    if V::HAS_MANY {
        gather_columns::<V, PAIR>(m, 0, a, sums);
    } else {
        for column in 0..PAIR {
            gather_columns::<V, 1>(m, column, a, sums);
        }
    }
}

#[inline(always)]
fn gather_columns<V: Vector, const N: usize>(
    m: &[[V; PAIR]],
    first: usize,
    a: &HeadRows,
    sums: &mut [[V; PAIR]; TOKENS],
) {
    let mut all = [[V::zero(); N]; TOKENS];
    for (m, a) in m.chunks(BLOCK).zip(&a.blocks) {
        for (i, m) in m.iter().enumerate().take(BLOCK) {
            for t in 0..TOKENS {
                let factor = V::splat(a[t][i]);
                for column in 0..N {
                    all[t][column] = all[t][column].add_product(factor, m[first + column]);
                }
            }
        }
    }
    for t in 0..TOKENS {
        for column in 0..N {
            sums[t][first + column] = sums[t][first + column].add(all[t][column]);
        }
    }
}

/// M becomes decay * M + sum over t of b_t^T c_t.
#[inline(always)]
pub fn renew<V: Vector>(
    m: &mut [[V; PAIR]],
    b: &HeadRows,
    c: &[[V; PAIR]; TOKENS],
    decay: Decay<V>,
) {
    if V::HAS_MANY {
        renew_columns::<V, PAIR>(m, 0, b, c, decay);
    } else {
        for column in 0..PAIR {
            renew_columns::<V, 1>(m, column, b, c, decay);
        }
    }
}

#[inline(always)]
fn renew_columns<V: Vector, const N: usize>(
    m: &mut [[V; PAIR]],
    first: usize,
    b: &HeadRows,
    c: &[[V; PAIR]; TOKENS],
    decay: Decay<V>,
) {
    for (number, (m, b)) in m.chunks_mut(BLOCK).zip(&b.blocks).enumerate() {
        match decay {
            Decay::OfRow(decay) => {
                let decay = &decay[number];
                for (i, m) in m.iter_mut().enumerate().take(BLOCK) {
                    renew_row::<V, N>(m, first, b, i, c, [V::splat(decay[i]); PAIR]);
                }
            }
            Decay::OfLane(decay) => {
                for (i, m) in m.iter_mut().enumerate().take(BLOCK) {
                    renew_row::<V, N>(m, first, b, i, c, decay);
                }
            }
        }
    }
}

#[inline(always)]
fn renew_row<V: Vector, const N: usize>(
    m: &mut [V; PAIR],
    first: usize,
    b: &[[f32; BLOCK]; TOKENS],
    i: usize,
    c: &[[V; PAIR]; TOKENS],
    decay: [V; PAIR],
) {
    let mut after = [V::zero(); N];
    for column in 0..N {
        after[column] = m[first + column].mul(decay[first + column]);
    }
    for t in 0..TOKENS {
        let factor = V::splat(b[t][i]);
        for column in 0..N {
            after[column] = after[column].add_product(factor, c[t][first + column]);
        }
    }
    m[first..first + N].copy_from_slice(&after);
}
