//! One head of one sequence: where its tokens lie, and where what is computed of them goes.

use std::ops::Range;

use crate::ops::cpu::activations::ActivationsParts;
use crate::ops::linear::PackedParts;

/// Tokens that are taken at once.
pub const TOKENS: usize = 4;
/// Tokens that are asked for before they are needed: a head's channels of the next row are far from
/// those of this one, and processors do not see them coming.
pub const AHEAD: usize = 16;

/// What tasks write.
pub enum Out<'a> {
    Tensor(ActivationsParts<'a>),
    /// The left side of a product.
    Packed(PackedParts<'a>),
}

/// One head of one sequence.
pub struct Task<'a> {
    pub rows: Range<usize>,
    pub state: &'a [f32],
    pub decay: &'a [f32],
    pub bonus: &'a [f32],
    /// Where this head's channels begin in a row, how many they are, and how long a row is.
    pub first: usize,
    pub size: usize,
    pub channels: usize,
}

/// Which way a task goes through its tokens.
#[derive(Clone, Copy)]
pub enum Order {
    Forwards,
    Backwards,
}

impl Out<'_> {
    /// Has the cache fetch where some channels of a row will be written.
    #[inline(always)]
    pub fn prefetch(&self, task: &Task, row: usize) {
        match self {
            Self::Tensor(out) => out.prefetch(row * task.channels + task.first, task.size),
            Self::Packed(out) => out.prefetch(row, task.first, task.size),
        }
    }
}

impl Task<'_> {
    /// A way through its tokens, whose results go to `out`.
    pub fn sweep<'a>(&'a self, order: Order, out: &'a Out<'a>) -> Sweep<'a> {
        Sweep {
            task: self,
            order,
            out,
        }
    }

    /// The numbers of its tokens from the beginning of an order, a few at a time.
    #[inline(always)]
    pub fn chunks(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        let count = self.rows.len();
        (0..count)
            .step_by(TOKENS)
            .map(move |first| first..(first + TOKENS).min(count))
    }
}

/// One way through a task's tokens.
#[derive(Clone, Copy)]
pub struct Sweep<'a> {
    pub task: &'a Task<'a>,
    pub order: Order,
    /// Where what is computed of each token goes.
    pub out: &'a Out<'a>,
}

impl Sweep<'_> {
    /// The row of a token.
    #[inline(always)]
    pub fn row(&self, token: usize) -> usize {
        match self.order {
            Order::Forwards => self.task.rows.start + token,
            Order::Backwards => self.task.rows.end - 1 - token,
        }
    }

    /// Has the cache fetch where the tokens that come some time after these will be written.
    #[inline(always)]
    pub fn prefetch(&self, tokens: Range<usize>) {
        for token in tokens {
            let ahead = (token + AHEAD).min(self.task.rows.len() - 1);
            self.out.prefetch(self.task, self.row(ahead));
        }
    }
}
