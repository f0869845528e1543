//! The subcommands: `quickstart`, `convert`, `inspect`, and what a shell or `man` wants of the
//! command line.

use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Arg, ArgMatches, Args, Subcommand};
use clap_complete::Shell;

use super::args::data::Formatters;
use super::values::{one_of, other_model, positive, rows_file, share};
use super::{Command, Exit, command, usage};
use crate::model::Generation;
use crate::setting::Setting;
use crate::state_file::{FORMATS, Format};
use crate::{convert, inspect, quickstart};

const GENERATIONS: &[(&str, Generation)] = &[("5", Generation::Five), ("7", Generation::Seven)];

#[derive(Subcommand, Debug)]
#[command(rename_all = "snake_case")]
pub enum Tool {
    /// See it work: tune a state on a small model that is part of the program, and compare answers.
    ///
    /// Needs no network, and takes well under a minute. The model, its data and all that a training
    /// run writes go to a folder, where you can go on by hand.
    Quickstart {
        /// The folder to write to; it is made if it is not there
        #[arg(default_value = "quickstart", value_name = "DIR")]
        folder: PathBuf,

        /// The model's generation
        #[arg(long, default_value = "7", value_parser = one_of(GENERATIONS), value_name = "5|7")]
        generation: Generation,
    },
    /// Turn a state into another format, folding, mixing or scaling it on the way.
    ///
    /// Formats: state (state.pth, as training writes it), original (a dictionary with wkvstate and
    /// both shifts), time_state (RWKV-PEFT, RWKV-Runner, ChatRWKV), web-rwkv (.st for web-rwkv and
    /// Ai00), rwkv-live (the rwkv package's running state), model (a copy of the model that starts
    /// from the state by itself in the rwkv package, if it is of RWKV-5).
    Convert(Box<Convert>),
    /// Print the completions for a shell, for its start-up file: source <(state-tune completions
    /// bash).
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Print the manual page: state-tune man > state-tune.1.
    Man,
    /// Say what a state or a model is, and whether a state suits a model.
    ///
    /// With --model and --data_path it is told which way round a state's matrices stand, [key,
    /// value] or [value, key]: the one by which the examples' loss is lower.
    Inspect(Box<Inspect>),
}

#[derive(Args, Debug)]
#[command(rename_all = "snake_case")]
pub struct Inspect {
    /// The file
    file: PathBuf,

    /// The model that the state should belong to
    #[arg(long, alias = "model_location", value_name = "FILE")]
    model: Option<PathBuf>,

    /// Data by which to tell which way round its matrices stand; needs --model
    #[arg(long, value_name = "FILE", requires = "model", value_parser = rows_file())]
    data_path: Option<PathBuf>,

    #[command(flatten)]
    formatters: Formatters,

    /// Take a state that was tuned on another model of the same shape; needs --model
    #[arg(long, requires = "model")]
    force: bool,
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

    /// Turn the matrices round: for a state whose matrices stand the other way than its format has
    /// them
    #[arg(long, conflicts_with = "mix")]
    transpose: bool,

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
    /// What the program is asked to do. `matches` tells a default from a value that was given.
    pub fn understand(self, matches: &ArgMatches) -> Result<Command, Exit> {
        let typed = || {
            let own = matches.subcommand();
            own.map_or(Vec::new(), |(_, matches)| Formatters::typed(matches))
        };
        match self {
            Self::Quickstart { folder, generation } => Ok(Command::Quickstart {
                options: quickstart::Options { folder, generation },
            }),
            Self::Completions { shell } => Err(Exit::Shown(completions(shell))),
            Self::Man => Err(Exit::Shown(manual())),
            Self::Inspect(inspect) => Ok(Command::Inspect {
                options: Box::new(inspect.options(typed())),
            }),
            Self::Convert(convert) => convert.options(typed()).map(|options| Command::Convert {
                options: Box::new(options),
            }),
        }
    }
}

/// Has the texts around data refused where there are no data.
pub fn formatters_need_data(inspect: clap::Command) -> clap::Command {
    let formatters = Formatters::augment_args(clap::Command::new(""));
    let is_one = |arg: &Arg| {
        formatters
            .get_arguments()
            .any(|f| f.get_id() == arg.get_id())
    };
    inspect.mut_args(|arg| match is_one(&arg) {
        true => arg.requires("data_path"),
        false => arg,
    })
}

fn completions(shell: Shell) -> String {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut command(), "state-tune", &mut text);
    String::from_utf8_lossy(&text).into_owned()
}

fn manual() -> String {
    let mut text = Vec::new();
    clap_mangen::Man::new(command())
        .render(&mut text)
        .expect("memory takes all that is written");
    String::from_utf8_lossy(&text).into_owned()
}

impl Inspect {
    fn options(self, typed: Vec<Setting>) -> inspect::Options {
        let Self {
            file,
            model,
            data_path,
            formatters,
            force,
        } = self;
        inspect::Options {
            path: file,
            against: model.map(|model| inspect::Against {
                model,
                data: data_path,
                formats: formatters.formats(),
                typed,
                other_model: other_model(force),
            }),
        }
    }
}

impl Convert {
    fn options(self, typed: Vec<Setting>) -> Result<convert::Options, Exit> {
        let Self {
            files,
            to,
            from,
            model,
            transpose,
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
            transpose,
            fold,
            scale: state_scale,
            data: data_path,
            formats: formatters.formats(),
            typed,
            other_model: other_model(force),
        })
    }
}

fn format() -> impl TypedValueParser<Value = Format> {
    PossibleValuesParser::new(FORMATS.map(Format::name))
        .try_map(|name| Format::named(&name).ok_or("no format"))
}
