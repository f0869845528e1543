//! What happened in a run, step by step: what its pictures are drawn from, and what a checkpoint remembers.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Step;

/// A look at examples that are not learnt from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Eval {
    /// Steps done before it; 0 is the start.
    pub step: usize,
    /// Mean loss of the held-out examples' completion tokens.
    pub loss: f64,
    /// The share of those tokens that the model finds likeliest, 0 to 1.
    pub accuracy: f64,
}

impl fmt::Display for Eval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            step,
            loss,
            accuracy,
        } = self;
        let percent = 100.0 * accuracy;
        write!(
            f,
            "eval   after step {step}: held-out loss {loss:.4}, {percent:.1} % of tokens right"
        )
    }
}

/// All steps and evaluations so far, in order.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct History {
    pub steps: Vec<Step>,
    pub evals: Vec<Eval>,
}
