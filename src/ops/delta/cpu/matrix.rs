//! The matrix that a task holds in cache, and what a token does to it: one pass that reads it once
//! and writes it once.
//!
//! There are loops here where other code would hand closures to the standard library's functions:
//! such closures are compiled without the level's instructions.

use std::ops::Range;

use crate::ops::cpu::vector::{LANES, Vector};

/// Some columns of a square matrix in groups of N vectors: all rows of the first group, then of the
/// next. Zero past the last column.
pub struct DeltaMatrix<V, const N: usize> {
    groups: Vec<[V; N]>,
    /// Its rows.
    size: usize,
    columns: Range<usize>,
}

/// Vectors of a group for so many columns: as many as registers hold, unless that is more than the
/// columns fill.
#[inline(always)]
pub fn vectors_at_once<V: Vector>(columns: usize) -> usize {
    match V::HAS_MANY {
        true if columns.is_multiple_of(4 * LANES) => 4,
        true => 2,
        false => 1,
    }
}

/// How the numbers that a matrix begins with lie.
#[derive(Clone, Copy)]
pub enum StoredOrder {
    RowMajor,
    ColumnMajor,
}

impl<V: Vector, const N: usize> DeltaMatrix<V, N> {
    /// Columns of a group.
    const WIDTH: usize = N * LANES;

    #[inline(always)]
    pub fn zero(size: usize, columns: Range<usize>) -> Self {
        let groups = columns.len().div_ceil(Self::WIDTH);
        Self {
            groups: vec![[V::zero(); N]; size * groups],
            size,
            columns,
        }
    }

    #[inline(always)]
    pub fn new(values: &[f32], size: usize, columns: Range<usize>, layout: StoredOrder) -> Self {
        let mut matrix = Self::zero(size, columns);
        for (columns, rows) in matrix.groups() {
            for (row, vectors) in rows.iter_mut().enumerate() {
                match layout {
                    StoredOrder::RowMajor => *vectors = load(&values[row * size..], &columns),
                    StoredOrder::ColumnMajor => {
                        let mut numbers = [[0.0; LANES]; N];
                        let part = numbers.as_flattened_mut().iter_mut();
                        for (number, column) in part.zip(columns.clone()) {
                            *number = values[column * size + row];
                        }
                        *vectors = numbers.each_ref().map(V::load_whole);
                    }
                }
            }
        }
        matrix
    }

    /// Calls `write` with where parts of rows lie in the whole matrix, and their numbers.
    #[inline(always)]
    pub fn write(&mut self, mut write: impl FnMut(Range<usize>, &[f32])) {
        let size = self.size;
        for (columns, rows) in self.groups() {
            for (row, vectors) in rows.iter().enumerate() {
                let mut numbers = [[0.0; LANES]; N];
                for (numbers, vector) in numbers.iter_mut().zip(vectors) {
                    vector.store_whole(numbers);
                }
                let at = row * size + columns.start..row * size + columns.end;
                write(at, &numbers.as_flattened()[..columns.len()]);
            }
        }
    }

    /// The columns and the rows of each group.
    #[inline(always)]
    fn groups(&mut self) -> impl Iterator<Item = (Range<usize>, &mut [[V; N]])> {
        let (start, end) = (self.columns.start, self.columns.end);
        let groups = self.groups.chunks_exact_mut(self.size).enumerate();
        groups.map(move |(number, rows)| {
            let first = start + number * Self::WIDTH;
            (first..end.min(first + Self::WIDTH), rows)
        })
    }
}

/// The vectors of some columns of a row, with zeros past the last.
#[inline(always)]
fn load<V: Vector, const N: usize>(row: &[f32], columns: &Range<usize>) -> [V; N] {
    let mut vectors = [V::zero(); N];
    let parts = row[columns.clone()].chunks(LANES);
    for (vector, part) in vectors.iter_mut().zip(parts) {
        *vector = V::load(part);
    }
    vectors
}

/// Writes some columns of a row.
#[inline(always)]
fn store<V: Vector, const N: usize>(vectors: [V; N], columns: &Range<usize>, row: &mut [f32]) {
    let parts = row[columns.clone()].chunks_mut(LANES);
    for (part, vector) in parts.zip(vectors) {
        vector.store(part);
    }
}

/// The same numbers with their signs turned.
#[inline(always)]
fn negated<V: Vector, const N: usize>(mut vectors: [V; N]) -> [V; N] {
    for vector in &mut vectors {
        *vector = vector.mul(V::splat(-1.0));
    }
    vectors
}

/// What a token brings to the rows of S in the forward pass. `kk` is that of the token after it.
pub struct ForwardKeys<'a> {
    pub w: &'a [f32],
    pub b: &'a [f32],
    pub k: &'a [f32],
    pub r: &'a [f32],
    pub kk: &'a [f32],
}

/// S becomes diag(w) S + b^T sa + k^T v; y is r S, and sa becomes that of the token after, -kk S.
#[inline(always)]
pub fn forward_step<V: Vector, const N: usize>(
    s: &mut DeltaMatrix<V, N>,
    keys: &ForwardKeys,
    v: &[f32],
    sa: &mut [f32],
    y: &mut [f32],
) {
    for (columns, m) in s.groups() {
        let values = load::<V, N>(v, &columns);
        let removed = load::<V, N>(sa, &columns);
        let (mut made, mut held) = ([V::zero(); N], [V::zero(); N]);
        let rows = m.iter_mut().zip(keys.w).zip(keys.b).zip(keys.k);
        for (((((m, w), b), k), r), kk) in rows.zip(keys.r).zip(keys.kk) {
            let (w, b, k) = (V::splat(*w), V::splat(*b), V::splat(*k));
            let (r, kk) = (V::splat(*r), V::splat(*kk));
            for i in 0..N {
                let s = m[i].mul(w).add_product(b, removed[i]);
                let s = s.add_product(k, values[i]);
                m[i] = s;
                made[i] = made[i].add_product(r, s);
                held[i] = held[i].add_product(kk, s);
            }
        }
        store(made, &columns, y);
        store(negated(held), &columns, sa);
    }
}

/// What a token brings to the rows of G in the first sweep of the backward pass. `w` and `kk` are
/// those of the token after it.
pub struct BackwardKeys<'a> {
    pub w: &'a [f32],
    pub kk: &'a [f32],
    pub r: &'a [f32],
    pub k: &'a [f32],
    pub b: &'a [f32],
}

/// What it brings to the columns.
pub struct BackwardValues<'a> {
    pub dy: &'a [f32],
    pub v: &'a [f32],
    pub sa: &'a [f32],
}

/// G becomes diag(w) G + a^T dsa + r^T dy, with w, a and dsa of the token after; `dv` is k G;
/// `minus_dsa` holds -dsa of the token after, then -b G. `sums` becomes the rows of G v and G sa, not
/// yet summed over lanes.
#[inline(always)]
pub fn backward_step<V: Vector, const N: usize>(
    g: &mut DeltaMatrix<V, N>,
    keys: &BackwardKeys,
    values: &BackwardValues,
    minus_dsa: &mut [f32],
    dv: &mut [f32],
    sums: &mut [[V; 2]],
) {
    for (number, (columns, m)) in g.groups().enumerate() {
        let dy = load::<V, N>(values.dy, &columns);
        let minus = load::<V, N>(minus_dsa, &columns);
        let v = load::<V, N>(values.v, &columns);
        let sa = load::<V, N>(values.sa, &columns);
        let (mut d_values, mut d_removed) = ([V::zero(); N], [V::zero(); N]);
        let rows = m.iter_mut().zip(&mut *sums).zip(keys.w).zip(keys.kk);
        for ((((((m, sums), w), kk), r), k), b) in rows.zip(keys.r).zip(keys.k).zip(keys.b) {
            let (w, kk, r) = (V::splat(*w), V::splat(*kk), V::splat(*r));
            let (k, b) = (V::splat(*k), V::splat(*b));
            let [mut g_v, mut g_sa] = match number {
                0 => [V::zero(); 2],
                _ => *sums,
            };
            for i in 0..N {
                let g = m[i].mul(w).add_product(kk, minus[i]);
                let g = g.add_product(r, dy[i]);
                m[i] = g;
                d_values[i] = d_values[i].add_product(k, g);
                d_removed[i] = d_removed[i].add_product(b, g);
                g_v = g_v.add_product(g, v[i]);
                g_sa = g_sa.add_product(g, sa[i]);
            }
            *sums = [g_v, g_sa];
        }
        store(d_values, &columns, dv);
        store(negated(d_removed), &columns, minus_dsa);
    }
}

/// The sums of the lanes of what [`backward_step`] made: G v, or G sa.
#[inline(always)]
pub fn sum_lanes<V: Vector>(sums: &[[V; 2]], which: usize, out: &mut [f32]) {
    for (sums, out) in sums
        .as_chunks::<LANES>()
        .0
        .iter()
        .zip(out.chunks_mut(LANES))
    {
        let mut vectors = [V::zero(); LANES];
        for (vector, sums) in vectors.iter_mut().zip(sums) {
            *vector = sums[which];
        }
        V::sums(&vectors).store(out);
    }
}

/// What a token brings to the rows of S transposed in the second sweep of the backward pass.
pub struct ForwardAgainValues<'a> {
    pub minus_dsa: &'a [f32],
    pub sa: &'a [f32],
    pub v: &'a [f32],
    pub dy: &'a [f32],
}

/// What it brings to the columns.
pub struct ForwardAgainKeys<'a> {
    pub w: &'a [f32],
    pub b: &'a [f32],
    pub k: &'a [f32],
}

/// `minus_da` is -S dsa; S becomes diag(w) S + b^T sa + k^T v; `dr` is S dy.
#[inline(always)]
pub fn forward_again_step<V: Vector, const N: usize>(
    s: &mut DeltaMatrix<V, N>,
    values: &ForwardAgainValues,
    keys: &ForwardAgainKeys,
    minus_da: &mut [f32],
    dr: &mut [f32],
) {
    for (columns, m) in s.groups() {
        let w = load::<V, N>(keys.w, &columns);
        let b = load::<V, N>(keys.b, &columns);
        let k = load::<V, N>(keys.k, &columns);
        let (mut before, mut after) = ([V::zero(); N], [V::zero(); N]);
        let rows = m.iter_mut().zip(values.minus_dsa).zip(values.sa);
        for ((((m, minus_dsa), sa), v), dy) in rows.zip(values.v).zip(values.dy) {
            let (minus_dsa, dy) = (V::splat(*minus_dsa), V::splat(*dy));
            let (sa, v) = (V::splat(*sa), V::splat(*v));
            for i in 0..N {
                before[i] = before[i].add_product(minus_dsa, m[i]);
                let s = m[i].mul(w[i]).add_product(sa, b[i]);
                let s = s.add_product(v, k[i]);
                m[i] = s;
                after[i] = after[i].add_product(dy, s);
            }
        }
        store(before, &columns, minus_da);
        store(after, &columns, dr);
    }
}
