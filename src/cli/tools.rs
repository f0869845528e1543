//! `state-tune convert` and `state-tune inspect`.

use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand};

use super::args::Formatters;
use super::values::{other_model, positive, share};
use super::{Command, Exit, usage};
use crate::convert;
use crate::state_file::{FORMATS, Format};

#[derive(Subcommand, Debug)]
#[command(rename_all = "snake_case")]
pub enum Tool {
    /// Turn a state into another format, folding, mixing or scaling it on the way.
    ///
    /// Formats: state (state.pth, as training writes it), original (a dictionary with wkvstate and
    /// both shifts), time_state (RWKV-PEFT, RWKV-Runner, ChatRWKV), web-rwkv (.st for web-rwkv and
    /// Ai00), rwkv-live (the rwkv package's running state), model (a copy of the model that starts
    /// from the state by itself in the rwkv package).
    Convert(Box<Convert>),
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
    files: Vec<PathBuf>,

    /// The format to write
    #[arg(long, value_parser = format(), value_name = "FORMAT")]
    to: Format,

    /// The format of the input, where the file does not show it
    #[arg(long, value_parser = format(), value_name = "FORMAT")]
    from: Option<Format>,

    /// The model that the state belongs to; needed for --fold and --to model
    #[arg(long, alias = "model_location", value_name = "FILE")]
    model: Option<PathBuf>,

    /// Run the soft prompt and keep the state after it instead
    #[arg(long)]
    fold: bool,

    /// Mix two states, `convert A B OUT --mix 0.3`: 0 is A, 1 is B
    #[arg(long, value_parser = share, value_name = "SHARE")]
    mix: Option<f64>,

    /// Multiply shifts and matrices by this
    #[arg(long, default_value = "1", value_parser = positive, value_name = "NUMBER")]
    state_scale: f64,

    /// Data by which to tell what a format loses; needs --model
    #[arg(long, value_name = "FILE", requires = "model")]
    data_path: Option<PathBuf>,

    #[command(flatten)]
    formatters: Formatters,

    /// Take a state that was tuned on another model of the same shape
    #[arg(long)]
    force: bool,
}

impl Tool {
    /// What the program is asked to do.
    pub fn understand(self) -> Result<Command, Exit> {
        match self {
            Self::Inspect { file } => Ok(Command::Inspect { path: file }),
            Self::Convert(convert) => convert.options().map(|options| Command::Convert {
                options: Box::new(options),
            }),
        }
    }
}

impl Convert {
    fn options(self) -> Result<convert::Options, Exit> {
        let Self {
            files,
            to,
            from,
            model,
            fold,
            mix,
            state_scale,
            data_path,
            formatters,
            force,
        } = self;
        let (input, mix, output) = match (<[PathBuf; 2]>::try_from(files), mix) {
            (Ok([input, output]), None) => (input, None, output),
            (Err(files), Some(share)) if files.len() == 3 => {
                let mut files = files.into_iter();
                let mut next = || files.next().unwrap_or_default();
                let (input, other) = (next(), next());
                (input, Some((other, share)), next())
            }
            (_, Some(_)) => return Err(usage("--mix takes two states and the output: A B OUT")),
            (_, None) => {
                return Err(usage(
                    "give one state and the output, or --mix with two states",
                ));
            }
        };
        Ok(convert::Options {
            input,
            mix,
            output,
            to,
            from,
            model,
            fold,
            scale: state_scale,
            data: data_path,
            formats: formatters.formats(),
            other_model: other_model(force),
        })
    }
}

fn format() -> impl TypedValueParser<Value = Format> {
    PossibleValuesParser::new(FORMATS.map(Format::name))
        .try_map(|name| Format::named(&name).ok_or("no format"))
}
