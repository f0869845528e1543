//! `state-tune convert` and `state-tune inspect`. They take nothing from the environment: what is converted is said.

use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser};

use super::args::{
    DEFAULT_PROMPT, DEFAULT_RESPONSE, DEFAULT_SYSTEM, positive, share, template, text,
};
use crate::data::template::Template;
use crate::state_file::{FORMATS, Format};

/// The words that make a command line one of these.
pub const NAMES: [&str; 2] = ["convert", "inspect"];

/// Tools for states.
#[derive(Parser, Debug)]
#[command(name = "state-tune", rename_all = "snake_case")]
pub enum Tool {
    /// Turn a state into another format, folding, mixing or scaling it on the way.
    ///
    /// Formats: state (state.pth, as training writes it), original (a dictionary with wkvstate and both shifts),
    /// time_state (RWKV-PEFT, RWKV-Runner, ChatRWKV), web-rwkv (.st for web-rwkv and Ai00), rwkv-live (the rwkv package's
    /// running state), model (a copy of the model that starts from the state by itself in the rwkv package).
    Convert(Convert),
    /// Say what a state or a model is.
    Inspect {
        /// The file
        file: PathBuf,
    },
}

#[derive(Args, Debug)]
#[command(rename_all = "snake_case")]
pub struct Convert {
    /// The state; with --mix, two of them
    #[arg(required = true, num_args = 2..=3, value_names = ["IN", "OUT"])]
    pub files: Vec<PathBuf>,

    /// The format to write
    #[arg(long, value_parser = format(), value_name = "FORMAT")]
    pub to: Format,

    /// The format of the input, where the file does not show it
    #[arg(long, value_parser = format(), value_name = "FORMAT")]
    pub from: Option<Format>,

    /// The model that the state belongs to; needed for --fold and --to model
    #[arg(long, alias = "model_location", value_name = "FILE")]
    pub model: Option<PathBuf>,

    /// Run the soft prompt and keep the state after it instead
    #[arg(long)]
    pub fold: bool,

    /// Mix two states, `convert A B OUT --mix 0.3`: 0 is A, 1 is B
    #[arg(long, value_parser = share, allow_hyphen_values = true, value_name = "SHARE")]
    pub mix: Option<f64>,

    /// Multiply shifts and matrices by this
    #[arg(long, default_value = "1", value_parser = positive, allow_hyphen_values = true, value_name = "NUMBER")]
    pub state_scale: f64,

    /// Data by which to tell what a format loses; needs --model
    #[arg(long, value_name = "FILE", requires = "model")]
    pub data_path: Option<PathBuf>,

    /// As in training
    #[arg(long, default_value = DEFAULT_PROMPT, value_parser = template, allow_hyphen_values = true, value_name = "TEXT")]
    pub prompt_formatter: Template,

    /// As in training
    #[arg(long, default_value = DEFAULT_RESPONSE, value_parser = template, allow_hyphen_values = true, value_name = "TEXT")]
    pub response_formatter: Template,

    /// As in training
    #[arg(long, default_value = DEFAULT_SYSTEM, value_parser = template, allow_hyphen_values = true, value_name = "TEXT")]
    pub system_formatter: Template,

    /// As in training
    #[arg(long, default_value = "", value_parser = text, allow_hyphen_values = true, value_name = "TEXT")]
    pub response_end: String,

    /// Take a state that was tuned on another model of the same shape
    #[arg(long)]
    pub force: bool,
}

fn format() -> impl TypedValueParser<Value = Format> {
    PossibleValuesParser::new(FORMATS.map(Format::name))
        .try_map(|name| Format::named(&name).ok_or("no format"))
}
