//! What a training run is asked to do.

use std::path::PathBuf;

use crate::data::{Formats, Walk};
use crate::fetch::Remote;
use crate::ops::linear::Product;

/// A training run, with every default filled in.
#[derive(Clone, Debug)]
pub struct Options {
    /// The frozen model, and where it comes from if it is not there.
    pub model: PathBuf,
    pub model_remote: Option<Remote>,
    /// The JSONL file, and where it comes from if it is not there.
    pub data: PathBuf,
    pub data_remote: Option<Remote>,
    pub formats: Formats,
    /// Where the state goes. The loss curve goes beside it.
    pub save: PathBuf,
    pub log_file: Option<PathBuf>,
    pub learning_rate: f64,
    /// Examples in a step.
    pub batch_size: usize,
    pub walk: Walk,
    /// Seeds the walk and a random start.
    pub seed: u64,
    pub init: Init,
    pub tune: Tune,
    /// Stop after a step whose loss is below this.
    pub exit_loss: f64,
    /// Passes over the data; may be a fraction.
    pub max_epochs: f64,
    /// Stop after this many seconds.
    pub max_time: f64,
    pub product: Product,
    pub recompute: Recompute,
}

/// What the learnt numbers are before the first step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Init {
    /// All zeros: the untuned model, behind a soft prompt of zeros.
    Zeros,
    /// Shifts and WKV ones, the soft prompt zeros.
    Ones,
    /// Small seeded numbers everywhere.
    Random,
}

/// Which groups of numbers are learnt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tune {
    pub softprompt: bool,
    pub shift: bool,
    pub wkv: bool,
}

/// Whether a block's intermediate values are kept for the backward pass or computed again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recompute {
    /// Kept if they fit into half of the free memory.
    Auto,
    Always,
    Never,
}
