//! How much of a batch is computed at once, and how much of it is remembered.

use super::Recompute;
use crate::model::{Intermediates, Rwkv5};

/// How a step's batch is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    pub intermediates: Intermediates,
    /// Rows of one part of a batch.
    pub most_rows: usize,
}

impl Plan {
    /// A plan for batches of up to `rows` rows with `free` bytes of memory. One is made for a whole run, so that a run
    /// does not depend on what other programs do meanwhile.
    pub fn new(model: &Rwkv5, recompute: Recompute, rows: usize, free: u64) -> Self {
        let bytes = |intermediates| model.bytes_per_row(intermediates) as u64;
        let intermediates = match recompute {
            Recompute::Always => Intermediates::Recompute,
            Recompute::Never => Intermediates::Keep,
            Recompute::Auto
                if bytes(Intermediates::Keep).saturating_mul(rows as u64) <= free / 2 =>
            {
                Intermediates::Keep
            }
            Recompute::Auto => Intermediates::Recompute,
        };
        let most_rows = (free / 4 * 3 / bytes(intermediates)).max(1) as usize;
        Self {
            intermediates,
            most_rows,
        }
    }
}
