//! What a run leaves behind: its history, the log file, TensorBoard's files, the loss curve, the page, and the summary of
//! its end.

mod curve;
mod history;
mod log;
mod page;
mod records;
mod summary;
mod tensorboard;
mod thin;

pub use curve::write as write_curve;
pub use history::{Eval, History};
pub use page::{Answer, LayerNorms, Page, write as write_page};
pub use records::Records;
pub use summary::Summary;
pub use tensorboard::TensorBoard;

use serde::{Deserialize, Serialize};

use crate::console::duration;
use crate::model::PerGroup;

/// What is told of one training step, and how one line of `--log_file` reads.
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
    /// `tokens_seen` by the time the step took.
    pub tokens_per_s: f64,
    /// Wall time since training began.
    pub seconds: f64,
    #[serde(rename = "lr")]
    pub learning_rate: f64,
    /// Gradient norms; `null` for a group that is not learnt.
    #[serde(flatten, with = "GradNorms")]
    pub grad_norms: PerGroup<Option<f64>>,
    /// The most bytes of the GPU's memory that the run has held so far; not there without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu_memory: Option<u64>,
}

/// Under which keys a step has its gradient norms.
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
    /// A step in a few words, and how many seconds the run may still take.
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
