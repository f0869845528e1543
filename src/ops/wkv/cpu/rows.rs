//! WKV on the CPU: every head of every sequence is a task of its own, and steps through its tokens with S in cache, a few
//! tokens at a time: S is read and written once for all of them, and takes two multiplications a token instead of three.
//!
//! With n tokens from S on, their numbers t and j from 0:
//!
//! ```text
//! y_t  = (w^t * r_t) S + sum over j <= t of A[t, j] v_j         A[t, j] = r_t . (w^(t-1-j) * k_j),  A[t, t] = r_t . (u * k_t)
//! dr_t = w^t * (dy_t S') + sum over j < t of P[t, j] w^(t-1-j) * k_j + P[t, t] u * k_t         P[t, j] = dy_t . v_j
//! S    = w^n * S + sum over j of (w^(n-1-j) * k_j)^T v_j
//! ```
//!
//! With time reversed, r and k in each other's place, and v and dy too, S is G, y is dv and dr is dk: two loops,
//! [`values`] and [`keys`], are all. No power of w is negative, so that nothing overflows however fast a head forgets.
//! What is summed over values takes S transposed, so that sums never run across lanes.

use std::ops::Range;

use candle_core::{DType, Result, Shape, Tensor};
use rayon::prelude::*;

use super::Inputs;
use crate::ops::cpu::level::{Level, vectorised};
use crate::ops::cpu::numbers::{self, Numbers, Output};
use crate::ops::cpu::vector::{LANES, Vector};
use crate::ops::linear::{Packed, PackedOutput, PackedParts, Product};

/// Tokens that are taken at once.
const TOKENS: usize = 4;
/// Vectors of a matrix's columns that are taken at once: with their sums and as many values they fill the registers.
const PAIR: usize = 2;
/// Tokens that are asked for before they are needed: a head's channels of the next row are far from those of this one, and
/// processors do not see them coming.
const AHEAD: usize = 16;
/// Channels that lie side by side in [`Rows`].
const BLOCK: usize = 64;

/// (y `[N, C]` as r's type, end states `[sequences, H, K, K]`).
pub fn forward(x: &Inputs) -> Result<(Tensor, Vec<f32>)> {
    let (size, level) = (x.head_size, Level::current());
    let dtype = match x.r {
        Numbers::F32(_) => DType::F32,
        Numbers::Bf16(_) => DType::BF16,
    };
    let mut y = Output::new(dtype, x.r.len())?;
    let mut end = vec![0.0; x.offsets.sequences() * x.state.len()];
    let out = Out::Tensor(y.parts());
    end.par_chunks_exact_mut(size * size)
        .zip(tasks(x))
        .for_each(|(end, task)| {
            end.copy_from_slice(task.state);
            values(level, &task, Order::Forwards, [x.r, x.k, x.v], &out, end);
        });
    let shape = Shape::from((x.offsets.rows(), x.n_head * size));
    // SAFETY: every head of every row belongs to a task, which writes it.
    Ok((unsafe { y.finish(&shape) }?, end))
}

/// dr, dk, dv `[N, C]` and the learned state's gradient `[H, K, K]`.
pub fn backward(dy: Numbers, x: &Inputs, product: Product) -> ([Packed; 3], Vec<f32>) {
    let (size, level) = (x.head_size, Level::current());
    let dims = [x.offsets.rows(), x.n_head * size];
    let mut outs = [(); 3].map(|()| PackedOutput::new(product, dims));
    let mut starts = vec![0.0; x.offsets.sequences() * x.state.len()];
    let [dr, dk, dv] = outs.each_mut().map(|out| Out::Rows(out.parts()));
    starts
        .par_chunks_exact_mut(size * size)
        .zip(tasks(x))
        .for_each(|(start, task)| {
            let turned: Vec<f32> = (0..size * size)
                .map(|i| task.state[i % size * size + i / size])
                .collect();
            keys(level, &task, Order::Forwards, [dy, x.v, x.k], &dr, &turned);
            keys(level, &task, Order::Backwards, [x.v, dy, x.r], &dk, start);
            values(level, &task, Order::Backwards, [x.k, x.r, dy], &dv, start);
        });
    // In order, so that the same batch gives the same sum.
    let mut dstate = vec![0.0; x.state.len()];
    for start in starts.chunks_exact(dstate.len()) {
        for (sum, g) in dstate.iter_mut().zip(start) {
            *sum += g;
        }
    }
    // SAFETY: as above.
    (outs.map(|out| unsafe { out.finish() }), dstate)
}

/// What tasks write.
enum Out<'a> {
    Tensor(numbers::Parts<'a>),
    /// The left side of a product.
    Rows(PackedParts<'a>),
}

/// One head of one sequence.
struct Task<'a> {
    rows: Range<usize>,
    state: &'a [f32],
    decay: &'a [f32],
    bonus: &'a [f32],
    /// Where this head's channels begin in a row, how many they are, and how long a row is.
    first: usize,
    size: usize,
    channels: usize,
}

/// Which way a task goes through its tokens.
#[derive(Clone, Copy)]
enum Order {
    Forwards,
    Backwards,
}

vectorised! {
    /// y from r, k and v, with `matrix` S first at the start, then at the end; or, backwards, dv from k, r and dy.
    fn values(
        task: &Task<'_>,
        order: Order,
        inputs: [Numbers<'_>; 3],
        out: &Out<'_>,
        matrix: &mut [f32],
    ) {
        let powers = Powers::new(task);
        let mut s = Matrix::<V>::new(matrix, task.size);
        let [mut r, mut k, mut v, mut r_decayed, mut k_decayed, mut made] = [(); 6].map(|()| Rows::new(task));
        for tokens in task.chunks() {
            let count = tokens.len();
            task.prefetch(order, out, tokens.clone());
            for (rows, x) in [&mut r, &mut k, &mut v].into_iter().zip(inputs) {
                rows.load(task, order, x, tokens.clone());
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
                gather(m, &r_decayed, &mut sums);
                renew(m, &k_decayed, &values, Decay::OfRow(&powers.all[count]));
                made.set_pair(pair, &sums);
            }
            task.write(order, out, tokens, &made);
        }
        s.write(matrix);
    }
}

vectorised! {
    /// dr from dy, v and k, with `matrix` S at the start transposed; or, backwards, dk from v, dy and r.
    fn keys(
        task: &Task<'_>,
        order: Order,
        inputs: [Numbers<'_>; 3],
        out: &Out<'_>,
        matrix: &[f32],
    ) {
        let powers = Powers::new(task);
        let mut s = Matrix::<V>::new(matrix, task.size);
        let [mut d, mut v, mut k, mut k_decayed, mut made] = [(); 5].map(|()| Rows::new(task));
        for tokens in task.chunks() {
            let count = tokens.len();
            task.prefetch(order, out, tokens.clone());
            for (rows, x) in [&mut d, &mut v, &mut k].into_iter().zip(inputs) {
                rows.load(task, order, x, tokens.clone());
            }
            for t in 0..TOKENS {
                k_decayed.decay::<V>(&k, t, &powers, count.saturating_sub(1 + t));
            }
            let p = dots::<V>(&d, &v);
            for (pair, m) in s.pairs.chunks_exact_mut(task.size).enumerate() {
                let mut sums = [[V::zero(); PAIR]; TOKENS];
                gather(m, &d, &mut sums);
                renew(m, &v, &k_decayed.pair(pair), Decay::OfLane(powers.pair(count, pair)));
                let (keys, w, u) = (k.pair::<V>(pair), powers.pair::<V>(1, pair), powers.bonus_pair::<V>(pair));
                for t in 0..TOKENS {
                    let decay = powers.pair::<V>(t, pair);
                    for column in 0..PAIR {
                        let mut here = V::zero();
                        for j in 0..t {
                            here = here.mul(w[column]).add_product(V::splat(p[t][j]), keys[j][column]);
                        }
                        let bonus = V::splat(p[t][t]).mul(u[column]);
                        here = here.add_product(bonus, keys[t][column]);
                        sums[t][column] = here.add_product(sums[t][column], decay[column]);
                    }
                }
                made.set_pair(pair, &sums);
            }
            task.write(order, out, tokens, &made);
        }
    }
}

/// How a matrix decays over some tokens.
#[derive(Clone, Copy)]
enum Decay<'a, V> {
    OfRow(&'a [[f32; BLOCK]]),
    OfLane([V; PAIR]),
}

/// To the sum of each token t, a_t M is added. M is some columns of a matrix, whose rows lie along the channels of a.
#[inline(always)]
fn gather<V: Vector>(m: &[[V; PAIR]], a: &Rows, sums: &mut [[V; PAIR]; TOKENS]) {
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
    a: &Rows,
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
fn renew<V: Vector>(m: &mut [[V; PAIR]], b: &Rows, c: &[[V; PAIR]; TOKENS], decay: Decay<V>) {
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
    b: &Rows,
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

/// A\[t, j\] for j <= t, else 0.
#[inline(always)]
fn scores<V: Vector>(r: &Rows, k: &Rows, powers: &Powers) -> [[f32; TOKENS]; TOKENS] {
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

/// P\[t, j\] for j <= t, else 0.
#[inline(always)]
fn dots<V: Vector>(d: &Rows, v: &Rows) -> [[f32; TOKENS]; TOKENS] {
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

/// The sums of lanes on and below the diagonal.
#[inline(always)]
fn lower<V: Vector>(sums: &[[V; TOKENS]; TOKENS]) -> [[f32; TOKENS]; TOKENS] {
    let mut lower = [[0.0; TOKENS]; TOKENS];
    for t in 0..TOKENS {
        for j in 0..=t {
            lower[t][j] = sums[t][j].sum();
        }
    }
    lower
}

impl Out<'_> {
    /// Has the cache fetch where some channels of a row will be written.
    #[inline(always)]
    fn prefetch(&self, task: &Task, row: usize) {
        match self {
            Self::Tensor(out) => out.prefetch(row * task.channels + task.first, task.size),
            Self::Rows(out) => out.prefetch(row, task.first, task.size),
        }
    }
}

impl Task<'_> {
    /// The numbers of its tokens from the beginning of an order, a few at a time.
    #[inline(always)]
    fn chunks(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        let count = self.rows.len();
        (0..count)
            .step_by(TOKENS)
            .map(move |first| first..(first + TOKENS).min(count))
    }

    /// The row of a token.
    #[inline(always)]
    fn row(&self, order: Order, token: usize) -> usize {
        match order {
            Order::Forwards => self.rows.start + token,
            Order::Backwards => self.rows.end - 1 - token,
        }
    }

    /// Has the cache fetch where the tokens that come some time after these will be written.
    #[inline(always)]
    fn prefetch(&self, order: Order, out: &Out, tokens: Range<usize>) {
        for token in tokens {
            let ahead = (token + AHEAD).min(self.rows.len() - 1);
            out.prefetch(self, self.row(order, ahead));
        }
    }

    /// Writes channels of some tokens.
    #[inline(always)]
    fn write(&self, order: Order, out: &Out, tokens: Range<usize>, rows: &Rows) {
        for (number, block) in rows.blocks.iter().enumerate() {
            let channel = self.first + number * BLOCK;
            let width = BLOCK.min(self.size - number * BLOCK);
            for (token, values) in tokens.clone().zip(block) {
                let (row, values) = (self.row(order, token), &values[..width]);
                // SAFETY: no other task has this head of this sequence.
                unsafe {
                    match out {
                        Out::Tensor(out) => out.write_inline(row * self.channels + channel, values),
                        Out::Rows(out) => out.write_inline(row, channel, values),
                    }
                }
            }
        }
    }
}

/// Sixteen channels of a row.
#[inline(always)]
fn lanes<V: Vector>(row: &[f32; BLOCK], at: usize) -> V {
    V::load_whole(&row.as_chunks().0[at])
}

/// One head's channels of a few tokens: channel c of token t in block c / [`BLOCK`], so that the rows of a block are at
/// distances the compiler knows. Zero where tokens or channels end.
struct Rows {
    blocks: Vec<[[f32; BLOCK]; TOKENS]>,
}

impl Rows {
    fn new(task: &Task) -> Self {
        Self {
            blocks: vec![[[0.0; BLOCK]; TOKENS]; task.size.div_ceil(BLOCK)],
        }
    }

    /// This head's channels of some tokens of x.
    #[inline(always)]
    fn load(&mut self, task: &Task, order: Order, x: Numbers, tokens: Range<usize>) {
        for (number, block) in self.blocks.iter_mut().enumerate() {
            let channel = task.first + number * BLOCK;
            let width = BLOCK.min(task.size - number * BLOCK);
            for (t, row) in block.iter_mut().enumerate() {
                if t < tokens.len() {
                    let ahead = (tokens.start + t + AHEAD).min(task.rows.len() - 1);
                    let ahead = task.row(order, ahead) * task.channels + channel;
                    x.prefetch(ahead..ahead + width);
                    let start = task.row(order, tokens.start + t) * task.channels + channel;
                    match width {
                        // A length that the compiler knows.
                        BLOCK => x.copy_inline(start..start + BLOCK, row),
                        _ => x.copy_inline(start..start + width, &mut row[..width]),
                    }
                } else {
                    row.fill(0.0);
                }
            }
        }
    }

    /// Token t is that of x times w to the power `exponent`.
    #[inline(always)]
    fn decay<V: Vector>(&mut self, x: &Self, t: usize, powers: &Powers, exponent: usize) {
        let from = x.blocks.iter().zip(&powers.all[exponent]);
        for (to, (from, powers)) in self.blocks.iter_mut().zip(from) {
            let to = to[t].as_chunks_mut().0;
            for (at, to) in to.iter_mut().enumerate() {
                lanes::<V>(&from[t], at)
                    .mul(lanes(powers, at))
                    .store_whole(to);
            }
        }
    }

    /// Two vectors of channels of every token.
    #[inline(always)]
    fn pair<V: Vector>(&self, pair: usize) -> [[V; PAIR]; TOKENS] {
        let (block, first) = place(pair);
        let mut column = [[V::zero(); PAIR]; TOKENS];
        for (t, vectors) in column.iter_mut().enumerate() {
            for (at, vector) in vectors.iter_mut().enumerate() {
                *vector = lanes(&self.blocks[block][t], first + at);
            }
        }
        column
    }

    #[inline(always)]
    fn set_pair<V: Vector>(&mut self, pair: usize, column: &[[V; PAIR]; TOKENS]) {
        let (block, first) = place(pair);
        for (t, vectors) in column.iter().enumerate() {
            let row = self.blocks[block][t].as_chunks_mut().0;
            for (at, vector) in vectors.iter().enumerate() {
                vector.store_whole(&mut row[first + at]);
            }
        }
    }
}

/// The block of a pair of vectors, and the first vector's number in it.
#[inline(always)]
fn place(pair: usize) -> (usize, usize) {
    const PAIRS: usize = BLOCK / (PAIR * LANES);
    (pair / PAIRS, pair % PAIRS * PAIR)
}

/// The head's decay to every power that a few tokens need, and its bonus, in blocks of channels; zero past the last.
struct Powers {
    all: [Vec<[f32; BLOCK]>; TOKENS + 1],
    bonus: Vec<[f32; BLOCK]>,
}

impl Powers {
    fn new(task: &Task) -> Self {
        let blocks = |x: &[f32]| -> Vec<[f32; BLOCK]> {
            let block = |x: &[f32]| std::array::from_fn(|i| x.get(i).copied().unwrap_or(0.0));
            x.chunks(BLOCK).map(block).collect()
        };
        let power = |exponent: usize| {
            let power = |decay: &f32| (0..exponent).fold(1.0, |power, _| power * decay);
            blocks(&task.decay.iter().map(power).collect::<Vec<_>>())
        };
        Self {
            all: std::array::from_fn(power),
            bonus: blocks(task.bonus),
        }
    }

    /// Two vectors of w to the power `exponent`.
    #[inline(always)]
    fn pair<V: Vector>(&self, exponent: usize, pair: usize) -> [V; PAIR] {
        let (block, first) = place(pair);
        let row = &self.all[exponent][block];
        [lanes(row, first), lanes(row, first + 1)]
    }

    #[inline(always)]
    fn bonus_pair<V: Vector>(&self, pair: usize) -> [V; PAIR] {
        let (block, first) = place(pair);
        [
            lanes(&self.bonus[block], first),
            lanes(&self.bonus[block], first + 1),
        ]
    }
}

/// A square matrix in pairs of vectors of columns: all rows of the first pair, then of the next; zero past the last column.
struct Matrix<V> {
    pairs: Vec<[V; PAIR]>,
    size: usize,
}

impl<V: Vector> Matrix<V> {
    /// From numbers row by row.
    #[inline(always)]
    fn new(values: &[f32], size: usize) -> Self {
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

    #[inline(always)]
    fn write(&self, out: &mut [f32]) {
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

/// All tasks, sequence by sequence, head by head.
fn tasks<'a>(x: &'a Inputs) -> impl IndexedParallelIterator<Item = Task<'a>> {
    let size = x.head_size;
    let sequences: Vec<Range<usize>> = x.offsets.ranges().collect();
    (0..sequences.len() * x.n_head)
        .into_par_iter()
        .map(move |task| {
            let head = task % x.n_head;
            Task {
                rows: sequences[task / x.n_head].clone(),
                state: &x.state[head * size * size..][..size * size],
                decay: &x.decay[head * size..][..size],
                bonus: &x.bonus[head * size..][..size],
                first: head * size,
                size,
                channels: x.n_head * size,
            }
        })
}
