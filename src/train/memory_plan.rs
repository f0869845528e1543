//! How much of a batch is computed at once, and how much of it is remembered.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Recompute;
use crate::model::{self, Intermediates, Rwkv};

/// How a step's batch is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Whether blocks' intermediate values are kept from forward to backward.
    pub intermediates: Intermediates,
    /// The most rows of one part of a batch; a longer example is a part by itself.
    pub most_rows: usize,
}

impl Plan {
    /// A plan for batches of up to `rows` rows with `free` bytes of memory. One is made for a whole
    /// run, so that a run does not depend on what other programs do meanwhile.
    pub fn new(model: &Rwkv, recompute: Recompute, rows: usize, free: u64) -> Self {
        let free = free.saturating_sub(model.bytes_aside() as u64);
        let per_row = |intermediates| model.bytes_per_row(intermediates) as u64;
        let for_kept = for_kept(free, model.compute().device.is_cpu());
        Self::with(per_row, recompute, rows, free, for_kept)
    }

    /// `for_kept` as [`for_kept`] gives it.
    fn with(
        bytes: impl Fn(Intermediates) -> u64,
        recompute: Recompute,
        rows: usize,
        free: u64,
        for_kept: u64,
    ) -> Self {
        let intermediates = match recompute {
            Recompute::Always => Intermediates::Recompute,
            Recompute::Never => Intermediates::Keep,
            Recompute::Auto
                if bytes(Intermediates::Keep).saturating_mul(rows as u64) <= for_kept =>
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

    /// A plan that needs less memory for a batch whose examples have these rows: parts of half the
    /// size, or, once no part has more than one example, activations recomputed. `None` if this is
    /// as little as can be.
    pub fn smaller(&self, rows: &[usize]) -> Option<Self> {
        let largest = model::split(rows, self.most_rows)
            .into_iter()
            .map(|part| (part.len(), rows[part].iter().sum::<usize>()))
            .max_by_key(|&(_, rows)| rows);
        match (largest, self.intermediates) {
            (Some((2.., rows)), _) => Some(Self {
                most_rows: rows / 2,
                ..*self
            }),
            (_, Intermediates::Keep) => Some(Self {
                intermediates: Intermediates::Recompute,
                ..*self
            }),
            (_, Intermediates::Recompute) => None,
        }
    }

    /// The plan in numbers that ranks can tell each other.
    pub fn told(&self) -> [f64; 2] {
        let recomputes = self.intermediates == Intermediates::Recompute;
        [self.most_rows as f64, f64::from(u8::from(recomputes))]
    }

    /// Takes no more memory than any of the plans that were told; zeros are none.
    pub fn restrict(&mut self, told: impl Iterator<Item = [f64; 2]>) {
        for [most_rows, recomputes] in told {
            if most_rows > 0.0 {
                self.most_rows = self.most_rows.min(most_rows as usize);
            }
            if recomputes > 0.0 {
                self.intermediates = Intermediates::Recompute;
            }
        }
    }
}

/// Bytes of the free ones that activations may take for `auto` to keep them. Main memory is for other
/// programs, too, and running out of it ends the process without an error.
fn for_kept(free: u64, is_cpu: bool) -> u64 {
    match is_cpu {
        true => free / 2,
        false => free / 4 * 3,
    }
}

/// As in "the step is computed again, at most 64 rows at once".
impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            intermediates,
            most_rows,
        } = self;
        write!(f, "at most {most_rows} rows at once")?;
        match intermediates {
            Intermediates::Keep => Ok(()),
            Intermediates::Recompute => f.write_str(", activations recomputed"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits_is_kept_and_what_does_not_is_cut() {
        let bytes = |intermediates| match intermediates {
            Intermediates::Keep => 1000,
            Intermediates::Recompute => 100,
        };
        let plan = |recompute, rows, free| {
            let plan = Plan::with(bytes, recompute, rows, free, for_kept(free, true));
            (plan.intermediates, plan.most_rows)
        };
        let (keep, compute) = (Intermediates::Keep, Intermediates::Recompute);
        assert_eq!(plan(Recompute::Auto, 50, 100_000), (keep, 75));
        assert_eq!(plan(Recompute::Auto, 51, 100_000), (compute, 750));
        assert_eq!(plan(Recompute::Never, 51, 100_000), (keep, 75));
        assert_eq!(plan(Recompute::Always, 1, 100_000), (compute, 750));
        let smaller = |intermediates, most_rows, rows: &[usize]| {
            let plan = Plan {
                intermediates,
                most_rows,
            };
            plan.smaller(rows)
                .map(|plan| (plan.intermediates, plan.most_rows))
        };
        assert_eq!(smaller(keep, 100, &[9, 9, 9, 9]), Some((keep, 18)));
        assert_eq!(smaller(keep, 18, &[9, 9, 9, 9]), Some((keep, 9)));
        assert_eq!(smaller(keep, 9, &[9, 9, 9, 9]), Some((compute, 9)));
        assert_eq!(smaller(compute, 9, &[9, 9, 9, 9]), None);
        let mut own = Plan {
            intermediates: keep,
            most_rows: 30,
        };
        let with = |intermediates, most_rows| Plan {
            intermediates,
            most_rows,
        };
        own.restrict([[0.0; 2], with(keep, 40).told()].into_iter());
        assert_eq!(own, with(keep, 30));
        own.restrict(
            [own, with(compute, 20), with(keep, 25)]
                .iter()
                .map(Plan::told),
        );
        assert_eq!(own, with(compute, 20));
        assert_eq!(for_kept(100_000, false), 75_000);
        // Nothing free: one row at a time is the least there is.
        assert_eq!(plan(Recompute::Auto, 8, 0), (compute, 1));
    }
}
