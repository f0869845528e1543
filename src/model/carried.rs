//! What goes from block to block.

use candle_core::Tensor;

use super::{Config, bytes};

/// What one block hands on to the next; in the backward pass, the gradient of it. RWKV-5 hands on x
/// alone.
pub struct Carried {
    /// `[N, C]`, f32.
    pub x: Tensor,
}

impl Carried {
    /// Bytes that it takes in memory.
    pub fn bytes(&self) -> usize {
        let Self { x } = self;
        bytes(x)
    }

    /// What [`Self::bytes`] is for each row.
    pub fn bytes_per_row(config: &Config) -> usize {
        size_of::<f32>() * config.n_embd
    }
}
