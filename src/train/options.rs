//! What a training run is asked to do.

use std::fmt;
use std::path::PathBuf;

use super::schedule::{Schedule, Shape};
use crate::data::{Formats, Walk};
use crate::fetch::Remote;
use crate::model::{FirstRow, PerGroup, Rwkv};
use crate::ops::adam::Adam;
use crate::ops::cpu::Processor;
use crate::ops::device::DeviceChoice;
use crate::ops::linear::{ProductType, Weights};
use crate::setting;
use crate::state_file::OtherModel;

/// The most examples that a step may draw.
pub const MOST_EXAMPLES: usize = 1_000_000;

/// A training run, with every default filled in.
#[derive(Clone, Debug)]
pub struct Options {
    /// The frozen model.
    pub model: PathBuf,
    /// Where the model is downloaded from if it is not on disk.
    pub model_remote: Option<Remote>,
    /// The file of examples, of any kind that [`crate::container`] knows.
    pub data: PathBuf,
    /// Where the data is downloaded from if it is not on disk.
    pub data_remote: Option<Remote>,
    /// How a line of the data becomes tokens.
    pub formats: Formats,
    /// Where the state goes. The loss curve goes beside it.
    pub save: PathBuf,
    /// The file that gets a line of JSON for each step and each evaluation.
    pub log_file: Option<PathBuf>,
    /// Where the run is shown as a web page.
    pub report: Option<PathBuf>,
    /// The directory where TensorBoard looks.
    pub tensorboard: Option<PathBuf>,
    /// Go on from the checkpoint beside the state, if there is one.
    pub resume: bool,
    /// Seconds between two checkpoints; 0 is after every step.
    pub save_every: f64,
    /// Which examples are held out, and what their loss decides.
    pub evaluation: Evaluation,
    /// The learning rate of each step.
    pub schedule: Schedule,
    /// What Adam remembers, and its weight decay.
    pub adam: Adam,
    /// Clip each group's gradient to this norm; 0 does not clip.
    pub grad_clip: f64,
    /// Examples in a step.
    pub batch_size: usize,
    /// In which order the examples are taken.
    pub walk: Walk,
    /// Seeds the walk and a random start.
    pub seed: u64,
    /// The state before the first step; `None` is the one that is merged into the model, or ones
    /// for a model without.
    pub init: Option<Init>,
    /// Whether a state that is started from may have been tuned on another model of the same shape.
    pub other_model: OtherModel,
    /// The groups that are learnt; of the others, the soft prompt is left out, and shifts and WKV
    /// stay as `init` has them.
    pub tune: Tune,
    /// Stop after a step whose loss is below this.
    pub exit_loss: f64,
    /// Passes over the data; may be a fraction.
    pub max_epochs: f64,
    /// Stop after this many seconds.
    pub max_time: f64,
    /// The processor, or a GPU.
    pub device: DeviceChoice,
    /// `None` is what is fastest on the device.
    pub product: Option<ProductType>,
    /// What the frozen matrices are held as.
    pub weights: Weights,
    /// Memory or time, in the backward pass.
    pub recompute: Recompute,
    /// Most rows computed at once; `None` is as many as memory holds.
    pub micro_batch: Option<usize>,
    /// What the processor does for the run, which [`Processor::run`] sets up around it.
    pub processor: Processor,
}

/// What the command line does when nothing is typed, but for the dataset that it fetches then.
impl Default for Options {
    fn default() -> Self {
        Self {
            model: "model.pth".into(),
            model_remote: None,
            data: "data.jsonl".into(),
            data_remote: None,
            formats: Formats::default(),
            save: "state.pth".into(),
            log_file: None,
            report: None,
            tensorboard: None,
            resume: false,
            save_every: 300.0,
            evaluation: Evaluation {
                examples: HeldOut::None,
                every: 50,
                keep: Keep::Last,
                patience: 0,
            },
            schedule: Schedule {
                shape: Shape::Constant,
                learning_rate: 0.01,
                last: None,
                warmup: 0,
            },
            adam: Adam {
                beta1: 0.9,
                beta2: 0.999,
                weight_decay: 0.0,
            },
            grad_clip: 0.0,
            batch_size: 8,
            walk: Walk::Shuffled,
            seed: 1,
            init: None,
            other_model: OtherModel::Refuse,
            tune: Tune {
                soft_prompt: true,
                shift: true,
                wkv: true,
            },
            exit_loss: 0.5,
            max_epochs: 10.0,
            max_time: 3600.0,
            device: DeviceChoice::Auto,
            product: None,
            weights: Weights::File,
            recompute: Recompute::Auto,
            micro_batch: None,
            processor: Processor::default(),
        }
    }
}

impl Options {
    /// These options, with what a run on this model starts from.
    pub fn starting_as(&self, model: &Rwkv) -> Self {
        Self {
            init: Some(self.init.clone().unwrap_or_else(|| Init::of(model))),
            ..self.clone()
        }
    }

    /// What the first row of each sequence is.
    pub fn first_row(&self) -> FirstRow {
        match self.tune.soft_prompt {
            true => FirstRow::SoftPrompt,
            false => FirstRow::Token,
        }
    }
}

/// How a run is evaluated on examples that it does not learn from.
#[derive(Clone, Debug)]
pub struct Evaluation {
    /// The examples to evaluate on.
    pub examples: HeldOut,
    /// Steps between two evaluations; 0 evaluates at the start and at the end only.
    pub every: usize,
    /// Which state of the run the file gets.
    pub keep: Keep,
    /// Stop after so many evaluations in a row without a better loss; 0 never does.
    pub patience: usize,
}

/// Where the held-out examples come from.
#[derive(Clone, Debug, PartialEq)]
pub enum HeldOut {
    /// All of the data is learnt from, and nothing is evaluated.
    None,
    /// All of this file.
    File(PathBuf),
    /// This share of the data.
    Share(f64),
}

/// Which state is saved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// The one at the end.
    Last,
    /// The one with the lowest loss on held-out examples.
    Best,
}

impl Keep {
    /// Each with its word.
    pub const NAMES: [(&'static str, Self); 2] = [("last", Self::Last), ("best", Self::Best)];
}

impl fmt::Display for Keep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(setting::word(&Self::NAMES, self))
    }
}

/// What the learnt numbers are before the first step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Init {
    /// All zeros: the untuned model, behind a soft prompt of zeros.
    Zeros,
    /// Shifts and WKV ones, the soft prompt zeros.
    Ones,
    /// Small seeded numbers everywhere.
    Random,
    /// The state that is merged into the model.
    Model,
    /// The state in this file, of any format that is known; zeros for what it lacks.
    File(PathBuf),
}

impl Init {
    /// Each that is a word, with it.
    pub const NAMES: [(&'static str, Self); 4] = [
        ("zeros", Self::Zeros),
        ("ones", Self::Ones),
        ("random", Self::Random),
        ("model", Self::Model),
    ];
}

impl fmt::Display for Init {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            word => f.write_str(setting::word(&Self::NAMES, word)),
        }
    }
}

/// Which groups of numbers are learnt.
pub type Tune = PerGroup<bool>;

impl fmt::Display for Tune {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let learnt = self.iter().filter(|(_, is_learnt)| **is_learnt);
        let names: Vec<&str> = learnt.map(|(group, _)| group.name()).collect();
        f.write_str(&names.join(","))
    }
}

/// Whether a block's intermediate values are kept for the backward pass or computed again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recompute {
    /// Kept if they fit into half of the free main memory, or three quarters of a GPU's.
    Auto,
    /// Computed again: the least memory, for a second forward pass through each block.
    Always,
    /// Kept, until a GPU's memory cannot hold those of one example.
    Never,
}

impl Recompute {
    /// Each with its word.
    pub const NAMES: [(&'static str, Self); 3] = [
        ("auto", Self::Auto),
        ("always", Self::Always),
        ("never", Self::Never),
    ];
}

impl fmt::Display for Recompute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(setting::word(&Self::NAMES, self))
    }
}
