//! The command line and the environment, turned into the plain options of what the program is asked
//! to do.
//!
//! `args` is what may be typed, one struct a heading, each of which puts what was typed into the
//! options by exhaustive destructuring, so that a forgotten flag does not compile; `values` reads
//! the values, `tools` has the subcommands, and `environment` feeds variables in as if they stood
//! first on the command line.

mod args;
mod environment;
mod tools;
mod values;

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, FromArgMatches};

use self::args::Args;
use crate::{convert, inspect, quickstart, sample, setting, train};

/// What the program is asked to do.
#[derive(Debug)]
pub enum Command {
    /// Learn a state and save it.
    Train {
        /// The run, validated as far as it can be without looking at files.
        options: Box<train::Options>,
    },
    /// Look at what a training run would use, and stop.
    DryRun {
        /// The run that is looked at.
        options: Box<train::Options>,
    },
    /// Answer prompts, without a state and with it.
    Sample {
        /// The prompts, the model and the state.
        options: Box<sample::Options>,
    },
    /// Write a state in another format.
    Convert {
        /// The states that go in, and what comes out.
        options: Box<convert::Options>,
    },
    /// Show the whole tool on a small model.
    Quickstart {
        /// Which model, and where to.
        options: quickstart::Options,
    },
    /// Say what a file is.
    Inspect {
        /// The file, of any format that is known, and what it is held against.
        options: Box<inspect::Options>,
    },
}

/// Why there is nothing to run.
#[derive(Debug)]
pub enum Exit {
    /// Help or the version was asked for.
    Shown(String),
    /// Wrong usage: one line.
    Usage(String),
}

/// Reads the command line (the program's name first) and the environment. The command line wins.
pub fn parse(
    arguments: impl IntoIterator<Item = OsString>,
    variables: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Command, Exit> {
    let mut typed = arguments.into_iter();
    let name = typed.next().unwrap_or_else(|| "state-tune".into());
    let typed: Vec<OsString> = typed.collect();
    let is_tool = |first: &OsString| command().find_subcommand(first).is_some();
    let is_of_tool = typed.first().is_some_and(is_tool);
    let variables = match is_of_tool {
        // A tool takes nothing from the environment: what is converted is said.
        true => Vec::new(),
        false => environment::as_arguments(variables),
    };
    let all = [&name].into_iter().chain(&variables).chain(&typed);
    let matches = command().try_get_matches_from(all).map_err(|error| {
        if let Some(error) = misspelt_tool(&typed, &error) {
            return exit(&error, "");
        }
        if let Some(advice) = elsewhere(&error).filter(|_| !is_of_tool) {
            return usage(&advice);
        }
        // If the same fails without what was typed, the environment is at fault, and should be
        // named.
        let culprit = command()
            .try_get_matches_from([&name].into_iter().chain(&variables))
            .is_err();
        exit(
            &error,
            if culprit && !variables.is_empty() {
                "from the environment: "
            } else {
                ""
            },
        )
    })?;
    let args = Args::from_arg_matches(&matches).map_err(|error| exit(&error, ""))?;
    let own = command().try_get_matches_from([&name].into_iter().chain(&typed));
    args.understand(&matches, own.as_ref().ok())
}

/// What is wrong with a word that stands for a tool and is none: beside flags, clap takes it for one
/// that cannot be used with them.
fn misspelt_tool(typed: &[OsString], error: &clap::Error) -> Option<clap::Error> {
    let text = error.to_string();
    let is_named = |word: &&OsString| text.contains(&format!("subcommand '{}'", word.display()));
    let word = typed.iter().find(is_named)?;
    let alone = command().try_get_matches_from([&"state-tune".into(), word]);
    let is_none = |error: &clap::Error| error.kind() == ErrorKind::InvalidSubcommand;
    alone.err().filter(is_none)
}

/// From here on, messages write settings as flags.
pub fn write_settings_as_flags() {
    setting::write_with("--");
}

/// clap's description of the command line, for this module and for the test that holds the README
/// to it.
pub fn command() -> clap::Command {
    Args::command()
        .mut_args(loosened)
        .mut_subcommand("inspect", tools::formatters_need_data)
        .mut_subcommands(|tool| tool.mut_args(loosened))
}

/// Lets dashes stand for underscores, and a number be negative.
fn loosened(arg: clap::Arg) -> clap::Arg {
    let name = arg.get_id().as_str().to_string();
    let value = arg.get_value_names().and_then(|names| names.first());
    let is_number =
        value.is_some_and(|name| ["NUMBER", "N", "SECONDS", "SHARE"].contains(&name.as_str()));
    let arg = arg.allow_negative_numbers(is_number);
    if name.contains('_') && !arg.is_positional() {
        arg.alias(name.replace('_', "-"))
    } else {
        arg
    }
}

/// clap's message brought to one line.
fn exit(error: &clap::Error, source: &str) -> Exit {
    let text = error.render().to_string();
    if matches!(
        error.kind(),
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
    ) {
        return Exit::Shown(text);
    }
    let mut message = Vec::new();
    // The usage, which may take several lines, and where help is to be had come last.
    for line in text.lines().map(str::trim) {
        if line.starts_with("Usage:") || line.starts_with("For more") {
            break;
        }
        if !line.is_empty() {
            message.push(line);
        }
    }
    let message = message.join(" ");
    usage(&format!(
        "{source}{}",
        message.trim_start_matches("error: ")
    ))
}

/// What other programs' flags are called here.
const ELSEWHERE: [(&str, &str); 16] = [
    ("lr", "learningrate"),
    ("lr_init", "learningrate"),
    ("learning_rate", "learningrate"),
    ("batch_size", "batchsize"),
    ("micro_bsz", "batchsize"),
    ("epochs", "max_epochs"),
    ("epoch_count", "max_epochs"),
    ("model", "model_location"),
    ("load_model", "model_location"),
    ("data", "data_path"),
    ("data_file", "data_path"),
    ("dataset", "huggingface_dataset"),
    ("output", "save_filename"),
    ("state", "save_filename"),
    ("precision", "dtype"),
    ("quant", "weights"),
];

/// What to type instead of a flag of another program.
fn elsewhere(error: &clap::Error) -> Option<String> {
    let Some(ContextValue::String(typed)) = error.get(ContextKind::InvalidArg) else {
        return None;
    };
    let name = typed.trim_start_matches('-').replace('-', "_");
    let (_, own) = ELSEWHERE.iter().find(|(other, _)| *other == name)?;
    let is_unknown = error.kind() == ErrorKind::UnknownArgument;
    is_unknown.then(|| format!("unexpected argument '{typed}'; here it is --{own}"))
}

fn usage(message: &str) -> Exit {
    Exit::Usage(format!("{message} (see --help)"))
}

#[cfg(test)]
mod tests;
