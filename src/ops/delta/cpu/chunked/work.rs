//! The products that a chunk is.

use super::keys::ChunkKeys;
use super::{CHUNK, Walk};
use crate::ops::cpu::level::{Level, vectorised};
use crate::ops::cpu::vector::LANES;
use crate::ops::linear::blocks::{Block, BlockProducts, BlockSum, BlockUnits};
use crate::ops::linear::cpu::unit::Unit;

/// A task's memory for products, and the thread's way to compute them.
pub struct Work {
    level: Level,
    products: BlockProducts,
    /// Tokens with tokens: two rows of squares, each of [`CHUNK`] by [`CHUNK`].
    squares: Block,
    squares_left: BlockUnits,
    squares_turned: BlockUnits,
    across: BlockUnits,
    turned: BlockUnits,
    down: BlockUnits,
    keys_left: BlockUnits,
    values_left: BlockUnits,
    matrix_right: BlockUnits,
}

/// What a sweep by values does in a chunk.
pub struct ByValues<'a> {
    /// V or dY, and below it what is solved for: SA or D.
    pub values: &'a mut Block,
    /// S or M, then what becomes of it before it is scaled.
    pub matrix: &'a mut Block,
    /// Y or dV in the upper half.
    pub sums: &'a mut Block,
}

/// What gradients by keys are made of.
pub struct ByKeys<'a> {
    /// dY, and below it D.
    pub gradients: &'a Block,
    /// V, and below it SA.
    pub values: &'a Block,
    /// S before the chunk.
    pub state: &'a Block,
    /// (S dY) / P_t, and below it (S D) / P_{t-1}.
    pub of_state: &'a mut Block,
    /// (G V) P_s, and below it (G SA) P_s.
    pub of_gradient: &'a mut Block,
}

impl Work {
    pub fn new(level: Level, unit: Unit) -> Self {
        let units = || BlockUnits::new(level, unit);
        Self {
            level,
            products: BlockProducts::new(level, unit),
            squares: Block::zero(2 * CHUNK, 2 * CHUNK),
            squares_left: units(),
            squares_turned: units(),
            across: units(),
            turned: units(),
            down: units(),
            keys_left: units(),
            values_left: units(),
            matrix_right: units(),
        }
    }

    /// A chunk's sweep by values. Backwards R and A change places with K and B, and tokens with those
    /// after them.
    pub fn by_values(&mut self, walk: Walk, keys: &ChunkKeys, x: ByValues) {
        let (readers, writers) = match walk {
            Walk::Forwards => (&keys.readers, &keys.writers),
            Walk::Backwards => (&keys.writers, &keys.readers),
        };
        let (both, wide) = (
            self.products.units(2 * CHUNK),
            self.products.units(x.matrix.rows()),
        );
        let (upper, lower, all) = ((0, CHUNK), (CHUNK, CHUNK), (0, 2 * CHUNK));

        let left = self.keys_left.across(readers);
        let right = self.turned.turned(self.across.across(writers));
        let squares = (&mut self.squares, BlockSum::New);
        self.products.multiply(left, all, wide, right, squares);
        keep_triangles(walk, &mut self.squares);
        let matrix = self.down.down(x.matrix);
        let sums = (&mut *x.sums, BlockSum::New);
        self.products.multiply(left, all, wide, matrix, sums);

        // The lower halves of sums and values have what is solved for.
        let squares = self.squares_left.across(&self.squares);
        let values = self.down.down_rows(x.values, 0..CHUNK);
        let sums = (&mut *x.sums, BlockSum::Onto);
        self.products
            .multiply(squares, lower, both / 2, values, sums);
        solve(self.level, walk, &self.squares, x.sums);
        for row in CHUNK..2 * CHUNK {
            x.values.row_mut(row).copy_from_slice(x.sums.row(row));
        }
        let values = self.down.down_rows(x.values, CHUNK..2 * CHUNK);
        let sums = (&mut *x.sums, BlockSum::Onto);
        self.products.multiply(squares, upper, both, values, sums);
        self.add_to_matrix(writers, x.matrix);
    }

    /// Adds K'V + B'SA to S, where SA is known.
    pub fn renew(&mut self, keys: &ChunkKeys, values: &Block, matrix: &mut Block) {
        self.down.down(values);
        self.add_to_matrix(&keys.writers, matrix);
    }

    /// Adds to a matrix the products of keys, turned, with the values that `down` has.
    fn add_to_matrix(&mut self, keys: &Block, matrix: &mut Block) {
        let rows = (0, matrix.rows());
        let turned = self.turned.turned(self.across.down(keys));
        let both = self.products.units(2 * CHUNK);
        self.products
            .multiply(turned, rows, both, &self.down, (matrix, BlockSum::Onto));
    }

    /// Keeps M, by the values of which [`Self::by_keys`] sums.
    pub fn keep(&mut self, matrix: &Block) {
        self.matrix_right.turned(self.across.across(matrix));
    }

    /// The products of a chunk's gradients by keys, with the M that was kept.
    pub fn by_keys(&mut self, keys: &ChunkKeys, x: ByKeys) {
        let (both, wide) = (
            self.products.units(2 * CHUNK),
            self.products.units(x.state.rows()),
        );
        let all = (0, 2 * CHUNK);

        let gradients = self.keys_left.across(x.gradients);
        let values = self.values_left.across(x.values);
        let right = self.turned.turned(values);
        self.products.multiply(
            gradients,
            all,
            wide,
            right,
            (&mut self.squares, BlockSum::New),
        );
        keep_triangles(Walk::Forwards, &mut self.squares);

        let state = self.turned.turned(self.across.across(x.state));
        let of_state = (&mut *x.of_state, BlockSum::New);
        self.products
            .multiply(gradients, all, wide, state, of_state);
        let squares = self.squares_left.across(&self.squares);
        let writers = self.down.down(&keys.writers);
        self.products
            .multiply(squares, all, both, writers, (x.of_state, BlockSum::Onto));

        let of_gradient = (&mut *x.of_gradient, BlockSum::New);
        self.products
            .multiply(values, all, wide, &self.matrix_right, of_gradient);
        let squares = self.across.down(&self.squares);
        let squares = self.squares_turned.turned(squares);
        let readers = self.down.down(&keys.readers);
        self.products
            .multiply(squares, all, both, readers, (x.of_gradient, BlockSum::Onto));
    }
}

/// Clears what one token does not have of another: forwards what comes after it, and what a token
/// removes of itself; backwards, where squares are turned, what comes before.
fn keep_triangles(walk: Walk, squares: &mut Block) {
    for row in 0..2 * CHUNK {
        let (token, is_lower) = (row % CHUNK, row >= CHUNK);
        for (half, columns) in squares.row_mut(row).chunks_exact_mut(CHUNK).enumerate() {
            match walk {
                Walk::Forwards => columns[token + usize::from(!is_lower)..].fill(0.0),
                Walk::Backwards => columns[..token + half].fill(0.0),
            }
        }
    }
}

vectorised! {
    /// Solves for the lower half of `sums`, row by row: to each, what is known by then is added.
    fn solve<V: Vector>(level: Level, walk: Walk, squares: &Block, sums: &mut Block) {
        /// Vectors of a row that are summed at once.
        const STRIP: usize = 2;
        let columns = sums.columns();
        for number in 1..CHUNK {
            let (token, known) = match walk {
                Walk::Forwards => (number, 0..number),
                Walk::Backwards => (CHUNK - 1 - number, CHUNK - number..CHUNK),
            };
            let factors = &squares.row(CHUNK + token)[CHUNK..][known.clone()];
            let first = CHUNK + known.start;
            for start in (0..columns).step_by(STRIP * LANES) {
                let load = |row: usize| -> [V; STRIP] {
                    let part = &sums.row(row)[start..][..STRIP * LANES];
                    [V::load(&part[..LANES]), V::load(&part[LANES..])]
                };
                let (mut even, mut odd) = (load(CHUNK + token), [V::zero(); STRIP]);
                let pairs = factors.chunks_exact(2);
                if let [last] = pairs.remainder() {
                    let (factor, known) = (V::splat(*last), load(first + factors.len() - 1));
                    for i in 0..STRIP {
                        odd[i] = known[i].mul(factor);
                    }
                }
                for (number, pair) in pairs.enumerate() {
                    let known = [load(first + 2 * number), load(first + 2 * number + 1)];
                    for i in 0..STRIP {
                        even[i] = even[i].add_product(V::splat(pair[0]), known[0][i]);
                        odd[i] = odd[i].add_product(V::splat(pair[1]), known[1][i]);
                    }
                }
                let row = &mut sums.row_mut(CHUNK + token)[start..][..STRIP * LANES];
                for (row, (even, odd)) in row.chunks_mut(LANES).zip(even.into_iter().zip(odd)) {
                    even.add(odd).store(row);
                }
            }
        }
    }
}
