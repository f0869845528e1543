//! How much of a batch is computed at once, and how much of it is remembered.

use serde::{Deserialize, Serialize};

use super::Recompute;
use crate::model::{Intermediates, Rwkv5};

/// How a step's batch is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    pub intermediates: Intermediates,
    /// Rows of one part of a batch.
    pub most_rows: usize,
}

impl Plan {
    /// A plan for batches of up to `rows` rows with `free` bytes of memory. One is made for a whole run, so that a run
    /// does not depend on what other programs do meanwhile.
    pub fn new(model: &Rwkv5, recompute: Recompute, rows: usize, free: u64) -> Self {
        let free = free.saturating_sub(model.bytes_aside() as u64);
        let per_row = |intermediates| model.bytes_per_row(intermediates) as u64;
        Self::with(per_row, recompute, rows, free)
    }

    fn with(
        bytes: impl Fn(Intermediates) -> u64,
        recompute: Recompute,
        rows: usize,
        free: u64,
    ) -> Self {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits_into_half_is_kept_and_what_does_not_is_cut() {
        let bytes = |intermediates| match intermediates {
            Intermediates::Keep => 1000,
            Intermediates::Recompute => 100,
        };
        let plan = |recompute, rows, free| {
            let plan = Plan::with(bytes, recompute, rows, free);
            (plan.intermediates, plan.most_rows)
        };
        let (keep, compute) = (Intermediates::Keep, Intermediates::Recompute);
        assert_eq!(plan(Recompute::Auto, 50, 100_000), (keep, 75));
        assert_eq!(plan(Recompute::Auto, 51, 100_000), (compute, 750));
        assert_eq!(plan(Recompute::Never, 51, 100_000), (keep, 75));
        assert_eq!(plan(Recompute::Always, 1, 100_000), (compute, 750));
        // Nothing free: one row at a time, and the system has to see.
        assert_eq!(plan(Recompute::Auto, 8, 0), (compute, 1));
    }
}
