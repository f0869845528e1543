//! Every flag, one struct a heading of `--help`, and what they come to together. The comments on
//! fields are what `--help` shows and what the README's table is held to.

pub mod data;
mod evaluation;
mod files;
mod machine;
mod testing;
mod training;

use std::sync::LazyLock;

use clap::parser::ValueSource;
use clap::{ArgMatches, Parser};

use self::data::{DataArgs, Formatters};
use self::evaluation::{CheckpointArgs, EvaluationArgs};
use self::files::{DatasetRole, FileArgs};
use self::machine::MachineArgs;
use self::testing::TestingArgs;
use self::training::{OptimiserArgs, TrainingArgs};
use super::tools::Tool;
use super::{Command, Exit, command, usage};
use crate::sample::Ask;
use crate::train;

/// The defaults of training are those of its options.
static DEFAULTS: LazyLock<train::Options> = LazyLock::new(train::Options::default);

/// Teach a frozen RWKV-5 or RWKV-7 model a new manner by learning only the state it starts from.
///
/// Without --prompt it trains: reads --model_location and --data_path, writes --save_filename. With
/// --prompt it shows what the model answers, first without and then with that state; --prompts does
/// so for a file of prompts, and --interactive is a talk.
#[derive(Parser, Debug)]
#[command(
    name = "state-tune",
    version,
    rename_all = "snake_case",
    args_override_self = true,
    args_conflicts_with_subcommands = true,
    disable_help_subcommand = true,
    after_help = "Every flag is also read from the environment, as a variable named like the flag\n\
                  (env -- '--learningrate=0.02' state-tune) or as STATE_TUNE_LEARNINGRATE. The \
                  command line wins.\n\
                  Dashes may stand for underscores. In texts, \\n is a newline.\n\n\
                  `state-tune quickstart` shows all of it on a small model, `state-tune convert` \
                  turns a state into\n\
                  another format, `state-tune inspect` says what a file is; each explains itself \
                  with --help."
)]
pub struct Args {
    #[command(flatten)]
    training: TrainingArgs,
    #[command(flatten)]
    optimiser: OptimiserArgs,

    /// Stop before training: look at the flags and the data, and say what they come to
    #[arg(
        long,
        num_args = 0..=1, default_missing_value = "true", default_value = "false",
        value_parser = clap::builder::BoolishValueParser::new(),
        value_name = "BOOL",
        help_heading = "Training"
    )]
    dry_run: bool,

    #[command(flatten)]
    evaluation: EvaluationArgs,
    #[command(flatten)]
    checkpoints: CheckpointArgs,
    #[command(flatten)]
    data: DataArgs,
    #[command(flatten)]
    files: FileArgs,
    #[command(flatten)]
    testing: TestingArgs,
    #[command(flatten)]
    machine: MachineArgs,
    #[command(subcommand)]
    tool: Option<Tool>,
}

impl Args {
    /// What the program is asked to do. `matches` tells a default from a value that was given, `typed`
    /// what was typed from what the environment says.
    pub fn understand(
        self,
        matches: &ArgMatches,
        typed: Option<&ArgMatches>,
    ) -> Result<Command, Exit> {
        let Self {
            training,
            optimiser,
            dry_run,
            evaluation,
            checkpoints,
            data,
            files,
            testing,
            machine,
            tool,
        } = self;
        if let Some(tool) = tool {
            return tool.understand(matches);
        }
        let mut options = train::Options::default();
        training.put_into(&mut options);
        optimiser.put_into(&mut options);
        checkpoints.put_into(&mut options);
        data.put_into(&mut options);
        machine.put_into(&mut options);
        options.other_model = testing.other_model();
        let source = files.put_into(&mut options)?;
        let is_typed = |flag| matches.value_source(flag) != Some(ValueSource::DefaultValue);
        let typed_init = options.init.as_ref().map(ToString::to_string);
        let texts = Formatters::typed(matches);
        if let Some(mut options) = testing.options(&options, texts, typed_init)? {
            if dry_run {
                return Err(usage(
                    "--dry_run looks at a training run; leave out --prompt, --prompts and \
                     --interactive",
                ));
            }
            // A job's environment may be for training, too.
            options.unused = typed.map_or(Vec::new(), |typed| unused(typed, &options.ask));
            let options = Box::new(options);
            return Ok(Command::Sample { options });
        }
        // What only training reads is looked at only for training.
        let role = match (is_typed("huggingface_dataset"), is_typed("data_path")) {
            (true, _) => DatasetRole::Named,
            (false, false) => DatasetRole::Fallback,
            // A name that is typed wrong must not become a file of a stranger's data.
            (false, true) => DatasetRole::Unused,
        };
        options.data_remote = source.remote(role)?;
        evaluation.put_into(&mut options)?;
        let options = Box::new(options);
        Ok(match dry_run {
            true => Command::DryRun { options },
            false => Command::Train { options },
        })
    }
}

/// The flags that have an effect on answers, beside those of the texts round what is asked.
const OF_ANSWERS: [&str; 19] = [
    "dry_run",
    "model_location",
    "model_url",
    "save_filename",
    "init",
    "seed",
    "keep_cr",
    "prompt",
    "prompts",
    "interactive",
    "max_tokens",
    "temperature",
    "top_p",
    "force",
    "device",
    "dtype",
    "weights",
    "cpu",
    "threads",
];

/// And those that have one only on what rows of a file become.
const OF_ROWS: [&str; 4] = [
    "data_format",
    "skip_bad",
    "prompt_cutoff",
    "completion_cutoff",
];

/// The flags that were typed and have no effect on answers.
fn unused(typed: &ArgMatches, ask: &Ask) -> Vec<String> {
    let of_rows = match ask {
        Ask::Prompts(_) => &OF_ROWS[..],
        Ask::Prompt(_) | Ask::Interactive => &[],
    };
    let texts = ask.used().iter().map(|setting| setting.name());
    let used: Vec<&str> = OF_ANSWERS
        .iter()
        .chain(of_rows)
        .copied()
        .chain(texts)
        .collect();
    let command = command();
    let flags = command.get_arguments().map(|flag| flag.get_id().as_str());
    flags
        .filter(|name| !used.contains(name))
        .filter(|name| typed.value_source(name) == Some(ValueSource::CommandLine))
        .map(|name| format!("--{name}"))
        .collect()
}
