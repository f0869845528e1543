//! What goes from block to block.

use candle_core::Tensor;

use super::{Config, bytes};

/// What one block hands on to the next; in the backward pass, the gradient of it.
pub struct Carried {
    /// `[N, C]`, f32.
    pub x: Tensor,
    /// The first layer's value, which every later layer of RWKV-7 takes a part of, `[N, C]`; `None`
    /// before the first layer, and always in RWKV-5. Its gradient is the sum over all later
    /// layers; `None` where no later layer has run backward yet.
    pub v_first: Option<Tensor>,
}

impl Carried {
    /// x alone, as the first block is given it, and as the head gives its gradient.
    pub fn of(x: Tensor) -> Self {
        Self { x, v_first: None }
    }

    /// The same with another x.
    pub fn with(&self, x: Tensor) -> Self {
        let v_first = self.v_first.clone();
        Self { x, v_first }
    }

    /// Bytes that x takes in memory. The first layer's value is one tensor for all layers, and
    /// counted once for a model.
    pub fn bytes(&self) -> usize {
        bytes(&self.x)
    }

    /// What [`Self::bytes`] is for each row.
    pub fn bytes_per_row(config: &Config) -> usize {
        size_of::<f32>() * config.n_embd
    }
}
