//! What happened in a run, step by step: what its pictures are drawn from, and what a checkpoint
//! keeps.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::console::duration;
use crate::model::PerGroup;

/// One training step, and how a line of the log file reads.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// From 1.
    pub step: usize,
    /// From 1: the pass over the data that this step's first example belongs to.
    pub epoch: usize,
    /// Mean loss of this batch's completion tokens, before the step's update.
    pub loss: f64,
    /// The loss smoothed over about twenty steps.
    pub loss_avg: f64,
    /// Completion tokens scored in this step.
    pub tokens: usize,
    /// All rows computed in this step, soft prompts' included.
    pub tokens_seen: usize,
    /// `tokens_seen` divided by the seconds that the step took.
    pub tokens_per_s: f64,
    /// Seconds since training began.
    pub seconds: f64,
    /// The learning rate of this step's update.
    #[serde(rename = "lr")]
    pub learning_rate: f64,
    /// Gradient norms; `null` for a group that is not learnt.
    #[serde(flatten, with = "GradNorms")]
    pub grad_norms: PerGroup<Option<f64>>,
    /// The most bytes of the GPU's memory that the run has used so far; absent without a GPU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu_memory: Option<u64>,
    /// How many ranks computed it; absent for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ranks: Option<usize>,
    /// The share of a step's time, from 0 to 1, in which a rank waited for the others, on the average,
    /// as of the step before; absent for one rank.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting: Option<f64>,
}

/// The keys of a step's gradient norms.
#[derive(Serialize, Deserialize)]
#[serde(remote = "PerGroup<Option<f64>>")]
struct GradNorms {
    #[serde(rename = "grad_norm_softprompt")]
    soft_prompt: Option<f64>,
    #[serde(rename = "grad_norm_shift")]
    shift: Option<f64>,
    #[serde(rename = "grad_norm_wkv")]
    wkv: Option<f64>,
}

impl Step {
    /// The step in a few words; `left` is how many seconds the run may still take.
    pub fn describe(&self, left: f64) -> String {
        format!(
            "epoch {}  loss {:.4}  avg {:.4}  {:.0} tokens/s  {} left",
            self.epoch,
            self.loss,
            self.loss_avg,
            self.tokens_per_s,
            duration(left)
        )
    }
}

/// An evaluation on examples that are not learnt from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Eval {
    /// Steps done before it; 0 is the start.
    pub step: usize,
    /// Mean loss of the held-out examples' completion tokens.
    pub loss: f64,
    /// The share of those tokens that the model finds most likely, from 0 to 1.
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
    /// One for each step, also those before a resume.
    pub steps: Vec<Step>,
    /// One for each evaluation that was finished.
    pub evals: Vec<Eval>,
}

impl History {
    /// The last step that it tells of; 0 at the start.
    pub fn last_step(&self) -> usize {
        let steps = self.steps.iter().map(|step| step.step);
        let evals = self.evals.iter().map(|eval| eval.step);
        steps.chain(evals).max().unwrap_or(0)
    }
}
