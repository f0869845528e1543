//! The flags under "Evaluation" and "Checkpoints": what a run is held against, and where it goes on
//! from.

use std::path::PathBuf;

use clap::Args;

use super::DEFAULTS;
use crate::cli::values::{not_negative, one_of, part, rows_file, steps};
use crate::cli::{Exit, usage};
use crate::train::{Evaluation, HeldOut, Keep, Options};

#[derive(Args, Debug)]
#[command(rename_all = "snake_case", next_help_heading = "Evaluation")]
pub struct EvaluationArgs {
    /// Examples that are not learnt from, to see how well they are predicted; a file as --data_path
    #[arg(
        long, value_parser = rows_file(), value_name = "FILE", conflicts_with = "eval_split"
    )]
    eval_path: Option<PathBuf>,

    /// Put this share of the data aside for that instead, such as 0.1
    #[arg(long, value_parser = part, value_name = "SHARE")]
    eval_split: Option<f64>,

    /// Steps between two evaluations; 0 evaluates at the start and at the end only
    #[arg(
        long, default_value_t = DEFAULTS.evaluation.every, value_parser = steps, value_name = "N"
    )]
    eval_every: usize,

    /// Which state is saved: the last one, or the one that predicts the held-out examples best
    #[arg(
        long, default_value_t = DEFAULTS.evaluation.keep, value_parser = one_of(&Keep::NAMES),
        value_name = "WHICH"
    )]
    keep: Keep,

    /// Stop after this many evaluations in a row without a better one; 0 never does
    #[arg(
        long, default_value_t = DEFAULTS.evaluation.patience, value_parser = steps,
        value_name = "N"
    )]
    patience: usize,
}

impl EvaluationArgs {
    pub fn put_into(self, options: &mut Options) -> Result<(), Exit> {
        let Self {
            eval_path,
            eval_split,
            eval_every,
            keep,
            patience,
        } = self;
        let examples = match (eval_path, eval_split) {
            (Some(path), _) => HeldOut::File(path),
            (None, Some(share)) => HeldOut::Share(share),
            (None, None) => HeldOut::None,
        };
        if examples == HeldOut::None && (keep == Keep::Best || patience > 0) {
            return Err(usage(
                "--keep best and --patience go by held-out examples; name some with --eval_path \
                 or --eval_split",
            ));
        }
        options.evaluation = Evaluation {
            examples,
            every: eval_every,
            keep,
            patience,
        };
        Ok(())
    }
}

#[derive(Args, Debug)]
#[command(rename_all = "snake_case", next_help_heading = "Checkpoints")]
pub struct CheckpointArgs {
    /// Go on from the checkpoint beside --save_filename, if there is one
    #[arg(
        long,
        num_args = 0..=1, default_missing_value = "true", default_value = "false",
        value_parser = clap::builder::BoolishValueParser::new(),
        value_name = "BOOL"
    )]
    resume: bool,

    /// Seconds between two checkpoints (--save_filename with .ckpt after it); 0 writes one after
    /// every step
    #[arg(
        long, default_value_t = DEFAULTS.save_every, value_parser = not_negative,
        value_name = "SECONDS"
    )]
    save_every: f64,
}

impl CheckpointArgs {
    pub fn put_into(self, options: &mut Options) {
        let Self { resume, save_every } = self;
        options.resume = resume;
        options.save_every = save_every;
    }
}
