//! The names by which messages call what a user can set, and the words of values that are choices.
//!
//! An error far below the command line may have to say "lower --learningrate", and how a user
//! writes that is the command line's business alone. So a message holds a [`Setting`], which shows
//! its bare name, `learningrate`, until a program says once how names are written ([`write_with`]).
//! A program that uses this crate as a library need not.

use std::fmt;
use std::sync::OnceLock;

/// Something that a user can set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setting(&'static str);

static PREFIX: OnceLock<&'static str> = OnceLock::new();

/// Puts `prefix` before every name from here on; of several calls the first counts.
pub fn write_with(prefix: &'static str) {
    PREFIX.get_or_init(|| prefix);
}

impl Setting {
    /// The setting of this name.
    pub const fn new(name: &'static str) -> Self {
        Self(name)
    }

    /// The name without a prefix.
    pub fn name(self) -> &'static str {
        self.0
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", PREFIX.get().unwrap_or(&""), self.0)
    }
}

/// The word of a value among all values of its kind.
pub fn word<T: PartialEq>(names: &[(&'static str, T)], value: &T) -> &'static str {
    let found = names.iter().find(|(_, named)| named == value);
    found.map_or("", |&(word, _)| word)
}

macro_rules! settings {
    ($($constant:ident = $name:literal,)*) => {
        $(
            #[doc = concat!("`", $name, "`, as the help describes it.")]
            pub const $constant: Setting = Setting::new($name);
        )*
        /// Every setting that a message names, for the test that the command line has it.
        pub const NAMED: &[Setting] = &[$($constant),*];
    };
}

settings! {
    LEARNING_RATE = "learningrate",
    EXIT_LOSS = "exit_loss",
    MAX_EPOCHS = "max_epochs",
    MAX_TIME = "max_time",
    TUNE = "tune",
    INIT = "init",
    SEED = "seed",
    LR_SCHEDULE = "lr_schedule",
    LR_FINAL = "lr_final",
    WARMUP_STEPS = "warmup_steps",
    DRY_RUN = "dry_run",
    EVAL_PATH = "eval_path",
    EVAL_SPLIT = "eval_split",
    PATIENCE = "patience",
    RESUME = "resume",
    DATA_FORMAT = "data_format",
    SKIP_BAD = "skip_bad",
    KEEP_CR = "keep_cr",
    PROMPT_FORMATTER = "prompt_formatter",
    RESPONSE_FORMATTER = "response_formatter",
    SYSTEM_FORMATTER = "system_formatter",
    RESPONSE_END = "response_end",
    PROMPT_CUTOFF = "prompt_cutoff",
    COMPLETION_CUTOFF = "completion_cutoff",
    MODEL_LOCATION = "model_location",
    MODEL_URL = "model_url",
    DATA_PATH = "data_path",
    DATA_URL = "data_url",
    HUGGINGFACE_DATASET = "huggingface_dataset",
    DATASET_SPLIT = "dataset_split",
    SAVE_FILENAME = "save_filename",
    LOG_FILE = "log_file",
    REPORT = "report",
    TENSORBOARD = "tensorboard",
    PROMPT = "prompt",
    PROMPTS = "prompts",
    INTERACTIVE = "interactive",
    MAX_TOKENS = "max_tokens",
    FORCE = "force",
    DEVICE = "device",
    WEIGHTS = "weights",
    CPU = "cpu",
    THREADS = "threads",
    // Of the tools alone.
    FROM = "from",
    TO = "to",
    MODEL = "model",
    FOLD = "fold",
    TRANSPOSE = "transpose",
    STATE_SCALE = "state_scale",
}
