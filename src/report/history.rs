//! What happened in a run, step by step: what its pictures are drawn from, and what a checkpoint remembers.

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

/// All steps and evaluations so far, in order.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct History {
    pub steps: Vec<Step>,
    pub evals: Vec<Eval>,
}
