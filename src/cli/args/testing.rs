//! The flags under "Testing": what is asked, and how it is answered.

use std::path::PathBuf;

use clap::Args;

use crate::cli::values::{count, other_model, prompt, rows_file, temperature, top_p};
use crate::cli::{Exit, usage};
use crate::generate::Settings;
use crate::sample::{self, Ask};
use crate::setting::Setting;
use crate::state_file::OtherModel;
use crate::train;

#[derive(Args, Debug)]
#[command(rename_all = "snake_case", next_help_heading = "Testing")]
pub struct TestingArgs {
    /// Answer this instead of training
    #[arg(long, value_parser = prompt, allow_hyphen_values = true, value_name = "TEXT")]
    prompt: Option<String>,

    /// Answer each line of this file instead, an object as in the data or a string, and write JSON
    /// lines
    #[arg(long, value_parser = rows_file(), value_name = "FILE")]
    prompts: Option<PathBuf>,

    /// Talk with the tuned state instead, a line a turn; what is typed stands under the only key of
    /// --prompt_formatter
    #[arg(
        long,
        num_args = 0..=1, default_missing_value = "true", default_value = "false",
        value_parser = clap::builder::BoolishValueParser::new(),
        value_name = "BOOL"
    )]
    interactive: bool,

    /// Longest answer, in tokens
    #[arg(long, default_value = "50", value_parser = count, value_name = "N")]
    max_tokens: usize,

    /// How freely tokens are drawn; 0 always takes the likeliest
    #[arg(long, default_value = "0", value_parser = temperature, value_name = "NUMBER")]
    temperature: f64,

    /// Draw only among the likeliest tokens, as few as have this much of the probability together;
    /// 1 is all
    #[arg(long, default_value = "1", value_parser = top_p, value_name = "SHARE")]
    top_p: f64,

    /// Take a state that was tuned on another model of the same shape, to answer from it or as
    /// --init
    #[arg(
        long,
        num_args = 0..=1, default_missing_value = "true", default_value = "false",
        value_parser = clap::builder::BoolishValueParser::new(),
        value_name = "BOOL"
    )]
    force: bool,
}

impl TestingArgs {
    /// Whether a state may have been tuned on another model.
    pub fn other_model(&self) -> OtherModel {
        other_model(self.force)
    }

    /// A test run with what it has in common with training, and the settings of the texts that were
    /// typed, and what was for `--init`; `None` if nothing is asked.
    pub fn options(
        self,
        run: &train::Options,
        typed: Vec<Setting>,
        init: Option<String>,
    ) -> Result<Option<sample::Options>, Exit> {
        let Self {
            prompt,
            prompts,
            interactive,
            max_tokens,
            temperature,
            top_p,
            force: _,
        } = self;
        let ask = match (prompt, prompts, interactive) {
            (None, None, false) => return Ok(None),
            (Some(prompt), None, false) => Ask::Prompt(prompt),
            (None, Some(path), false) => Ask::Prompts(path),
            (None, None, true) => {
                sample::typed_key(&run.formats.prompt)
                    .map_err(|error| usage(&error.to_string()))?;
                Ask::Interactive
            }
            _ => return Err(usage("give only one of --prompt, --prompts, --interactive")),
        };
        Ok(Some(sample::Options {
            model: run.model.clone(),
            model_remote: run.model_remote.clone(),
            state: run.save.clone(),
            init,
            ask,
            formats: run.formats.clone(),
            typed,
            unused: Vec::new(),
            settings: Settings {
                max_tokens,
                temperature,
                top_p,
                seed: run.seed,
                stop: None,
            },
            other_model: run.other_model,
            device: run.device,
            product: run.product,
            weights: run.weights,
            processor: run.processor,
        }))
    }
}
