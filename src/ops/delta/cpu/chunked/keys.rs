//! What a chunk's tokens bring: R, A, K and B, the decays between them, and rows of values.

use std::ops::Range;

use super::super::super::DeltaViews;
use super::super::keys::TaskKeys;
use super::super::task::DeltaTask;
use super::CHUNK;
use crate::ops::cpu::activations::Activations;
use crate::ops::cpu::level::{Level, vectorised};
use crate::ops::linear::blocks::Block;

/// A chunk's keys. Rows past its last token are zero, and decay nothing.
pub struct ChunkKeys {
    /// R, and below it A.
    pub readers: Block,
    /// K, and below it B.
    pub writers: Block,
    /// 1, then P_t, row by row: what stands before row t is P_{t-1}.
    pub products: Block,
}

impl ChunkKeys {
    /// For heads of `wide` channels, filled up with zeros.
    pub fn new(wide: usize) -> Self {
        let mut products = Block::zero(2 * CHUNK, wide);
        products.row_mut(0).fill(1.0);
        Self {
            readers: Block::zero(2 * CHUNK, wide),
            writers: Block::zero(2 * CHUNK, wide),
            products,
        }
    }

    /// P.
    pub fn whole(&self) -> &[f32] {
        self.products.row(CHUNK)
    }
}

vectorised! {
    /// The keys of some tokens, no more than a chunk has.
    pub fn load<V: Vector>(
        level: Level,
        x: &DeltaViews<'_>,
        task: &DeltaTask<'_>,
        all: &TaskKeys,
        tokens: Range<usize>,
        keys: &mut ChunkKeys,
    ) {
        let size = task.size;
        let [mut inverses, mut r_scratch] = [(); 2].map(|()| vec![0.0; size]);
        for (row, t) in tokens.clone().enumerate() {
            let own = task.own(t);
            let (before, product) = keys.products.row_and_row_mut(row, row + 1);
            for ((product, before), w) in product.iter_mut().zip(before).zip(&all.w[own.clone()]) {
                *product = before * w;
            }
            let r = x.r.part_inline(task.at(t), &mut r_scratch);
            for ((out, r), p) in keys.readers.row_mut(row).iter_mut().zip(r).zip(&*product) {
                *out = r * p;
            }
            let kk = &all.kk[own.clone()];
            let reader = keys.readers.row_mut(CHUNK + row);
            for ((out, kk), before) in reader.iter_mut().zip(kk).zip(before) {
                *out = -kk * before;
            }
            let k = &all.k[own.clone()];
            for (inverse, p) in inverses.iter_mut().zip(&*product) {
                *inverse = 1.0 / p;
            }
            for ((out, k), inverse) in keys.writers.row_mut(row).iter_mut().zip(k).zip(&inverses) {
                *out = k * inverse;
            }
            let writer = keys.writers.row_mut(CHUNK + row);
            let inputs = kk.iter().zip(&all.alpha[own]).zip(&inverses);
            for (out, ((kk, alpha), inverse)) in writer.iter_mut().zip(inputs) {
                *out = kk * alpha * inverse;
            }
        }
        for row in tokens.len()..CHUNK {
            let (before, product) = keys.products.row_and_row_mut(row, row + 1);
            product.copy_from_slice(before);
            for block in [&mut keys.readers, &mut keys.writers] {
                block.row_mut(row).fill(0.0);
                block.row_mut(CHUNK + row).fill(0.0);
            }
        }
    }
}

/// Rows of a chunk's tokens into a block, from row `first` on; zeros past its last token.
pub fn load_rows(
    level: Level,
    task: &DeltaTask,
    tokens: &Range<usize>,
    from: Activations,
    (block, first): (&mut Block, usize),
) {
    for row in 0..CHUNK {
        let to = &mut block.row_mut(first + row)[..task.size];
        match row < tokens.len() {
            true => from.copy(level, task.at(tokens.start + row), to),
            false => to.fill(0.0),
        }
    }
}
