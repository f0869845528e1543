//! What the time-mix of RWKV-7 leaves of its forward pass to its backward pass.

use candle_core::Tensor;

use crate::model::bytes;

/// What the backward pass needs of a forward pass. `[N, C]` where nothing else is said. The keys
/// and the mixed value are not kept: they are quickly made again.
pub struct Kept {
    pub r: Tensor,
    /// The decay before its bias.
    pub w: LowRankOutput,
    /// What the product with the key's matrix gives.
    pub kappa: Tensor,
    /// The in-context learning rate before its bias.
    pub a: LowRankOutput,
    pub value: LayerValue,
    pub gate: LowRankOutput,
    /// Before its norm.
    pub y: Tensor,
    /// How much of the value is added to y's norm, `[N, H]`.
    pub q: Tensor,
    /// What the recurrence removes.
    pub sa: Tensor,
}

/// A layer's value.
pub enum LayerValue {
    /// The first layer's: what is carried from block to block.
    First(Tensor),
    /// A later layer's before it is mixed with the first's, and the gate that mixes them.
    Mixed { nu: Tensor, gate: LowRankOutput },
}

/// What a product of low rank gives, and what its backward pass needs.
pub struct LowRankOutput {
    pub y: Tensor,
    /// `[N, rank]`.
    pub inner: Tensor,
}

impl LowRankOutput {
    /// Bytes that it takes in memory.
    fn bytes(&self) -> usize {
        let Self { y, inner } = self;
        bytes(y) + bytes(inner)
    }
}

impl Kept {
    /// Bytes that it takes in memory, less the first layer's value: that one is counted as
    /// what is carried from block to block.
    pub fn bytes(&self) -> usize {
        let Self {
            r,
            w,
            kappa,
            a,
            value,
            gate,
            y,
            q,
            sa,
        } = self;
        let value = match value {
            LayerValue::First(_) => 0,
            LayerValue::Mixed { nu, gate } => bytes(nu) + gate.bytes(),
        };
        let low_rank = [w, a, gate].map(LowRankOutput::bytes);
        [r, kappa, y, q, sa].map(bytes).iter().sum::<usize>()
            + low_rank.iter().sum::<usize>()
            + value
    }
}
