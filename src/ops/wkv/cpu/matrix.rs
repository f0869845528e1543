//! The matrix that a head carries, S or G: read by the rows of a few tokens, and made anew by them.

use super::rows::{BLOCK, HeadRows, PAIR};
use super::task::TOKENS;
use crate::ops::cpu::vector::{LANES, NORMAL, Vector};

/// A square matrix in pairs of vectors of columns: all rows of the first pair, then of the next.
/// Past the last column is nothing of use.
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

/// What a few tokens are to the rows and columns of a matrix M.
pub struct Step<'a, V> {
    /// What M is read by.
    pub a: &'a HeadRows,
    /// What is added to its rows.
    pub b: &'a HeadRows,
    /// What is added to its columns.
    pub c: [[V; PAIR]; TOKENS],
    pub decay: Decay<'a, V>,
}

impl<V: Vector> Step<'_, V> {
    /// To the sum of each token t, a_t M is added; then M becomes decay * M + sum over t of
    /// b_t^T c_t, and [`NORMAL`] more. M is some columns of a matrix, whose rows lie along the
    /// channels of a and b.
    #[inline(always)]
    pub fn take(&self, m: &mut [[V; PAIR]], sums: &mut [[V; PAIR]; TOKENS]) {
        if V::HAS_MANY {
            self.take_columns::<PAIR>(m, 0, sums);
        } else {
            for column in 0..PAIR {
                self.take_columns::<1>(m, column, sums);
            }
        }
    }

    #[inline(always)]
    fn take_columns<const N: usize>(
        &self,
        m: &mut [[V; PAIR]],
        first: usize,
        sums: &mut [[V; PAIR]; TOKENS],
    ) {
        let mut all = [[V::zero(); N]; TOKENS];
        for (number, m) in m.chunks_mut(BLOCK).enumerate() {
            match self.decay {
                Decay::OfRow(decay) => {
                    let decay = &decay[number];
                    for (i, m) in m.iter_mut().enumerate().take(BLOCK) {
                        let decay = [V::splat(decay[i]); PAIR];
                        self.take_row(m, first, (number, i), decay, &mut all);
                    }
                }
                Decay::OfLane(decay) => {
                    for (i, m) in m.iter_mut().enumerate().take(BLOCK) {
                        self.take_row(m, first, (number, i), decay, &mut all);
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

    #[inline(always)]
    fn take_row<const N: usize>(
        &self,
        m: &mut [V; PAIR],
        first: usize,
        (number, i): (usize, usize),
        decay: [V; PAIR],
        sums: &mut [[V; N]; TOKENS],
    ) {
        let (a, b) = (&self.a.blocks[number], &self.b.blocks[number]);
        let mut after = [V::splat(NORMAL); N];
        for column in 0..N {
            after[column] = after[column].add_product(m[first + column], decay[first + column]);
        }
        for t in 0..TOKENS {
            let (read, added) = (V::splat(a[t][i]), V::splat(b[t][i]));
            for column in 0..N {
                sums[t][column] = sums[t][column].add_product(read, m[first + column]);
                after[column] = after[column].add_product(added, self.c[t][first + column]);
            }
        }
        m[first..first + N].copy_from_slice(&after);
    }
}
