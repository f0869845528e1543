//! The command line and the environment, turned into the plain options of a training or a test run.
//!
//! [`args`] is what may be typed; this file makes of it what the program needs, by exhaustive destructuring, so that a
//! forgotten flag does not compile. `environment` feeds variables in as if they stood first on the command line.

mod args;
mod environment;
mod tools;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ArgMatches, CommandFactory, FromArgMatches};

use self::args::Args;
use self::tools::{Convert, Tool};
use crate::data::Formats;
use crate::data::template::Template;
use crate::fetch::{Dataset, Remote};
use crate::generate::Settings;
use crate::ops::cpu::level::Level;
use crate::sample::Ask;
use crate::setting::{DATA_URL, MODEL_URL, Setting};
use crate::state_file::OtherModel;
use crate::train::{Adam, Evaluation, HeldOut, Keep, Schedule};
use crate::{convert, sample, setting, train};

/// What the program is asked to do.
#[derive(Debug)]
pub enum Command {
    Train {
        options: Box<train::Options>,
        machine: Machine,
    },
    /// Look at what a training run would use, and stop.
    DryRun {
        options: Box<train::Options>,
    },
    Sample {
        options: Box<sample::Options>,
        machine: Machine,
    },
    Convert {
        options: Box<convert::Options>,
    },
    Inspect {
        path: PathBuf,
    },
}

/// What to compute with; `None` is all there is.
#[derive(Clone, Copy, Debug)]
pub struct Machine {
    pub threads: Option<usize>,
    pub level: Option<Level>,
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
    let is_tool = |first: &OsString| tools::NAMES.iter().any(|name| first == name);
    if typed.first().is_some_and(is_tool) {
        let tools = Tool::command().mut_subcommand("convert", |convert| convert.mut_args(dashes));
        let tool = tools.try_get_matches_from([&name].into_iter().chain(&typed));
        let tool = tool.and_then(|matches| Tool::from_arg_matches(&matches));
        return understand_tool(tool.map_err(|error| exit(&error, ""))?);
    }
    let variables = environment::as_arguments(variables);
    let all = [&name].into_iter().chain(&variables).chain(&typed);
    let matches = command().try_get_matches_from(all).map_err(|error| {
        // If the same fails without what was typed, the environment is at fault, and should be named.
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
    understand(args, &matches)
}

/// From here on, messages write settings as flags.
pub fn write_settings_as_flags() {
    setting::write_with("--");
}

/// clap's description of the command line, for this module and for the test that holds the README to it.
pub fn command() -> clap::Command {
    Args::command().mut_args(dashes)
}

/// Lets dashes stand for underscores.
fn dashes(arg: clap::Arg) -> clap::Arg {
    let name = arg.get_id().as_str().to_string();
    if name.contains('_') && !arg.is_positional() {
        arg.alias(name.replace('_', "-"))
    } else {
        arg
    }
}

fn understand(args: Args, matches: &ArgMatches) -> Result<Command, Exit> {
    let Args {
        learningrate,
        batchsize,
        exit_loss,
        max_epochs,
        max_time,
        dataset_walk,
        tune,
        init,
        seed,
        lr_schedule,
        lr_final,
        warmup_steps,
        grad_clip,
        adam_beta1,
        adam_beta2,
        weight_decay,
        dry_run,
        eval_path,
        eval_split,
        eval_every,
        keep,
        patience,
        resume,
        save_every,
        prompt_formatter,
        response_formatter,
        system_formatter,
        response_end,
        prompt_cutoff,
        completion_cutoff,
        model_location,
        model_url,
        data_path,
        data_url,
        huggingface_dataset,
        dataset_split,
        save_filename,
        log_file,
        report,
        tensorboard,
        prompt,
        prompts,
        interactive,
        max_tokens,
        temperature,
        top_p,
        force,
        device,
        dtype,
        weights,
        cpu,
        recompute,
        micro_batch,
        threads,
    } = args;
    let machine = Machine {
        threads,
        level: cpu,
    };
    let not_empty = |text: String| if text.is_empty() { None } else { Some(text) };
    let url = |setting: Setting, text: String| match not_empty(text) {
        // The text is not quoted, since it may hold a password.
        Some(text) => match text.parse() {
            Ok(address) => Ok(Some(Remote::Url { setting, address })),
            Err(error) => Err(usage(&format!("--{}: {error}", setting.name()))),
        },
        None => Ok(None),
    };
    let model_remote = url(MODEL_URL, model_url)?;

    let formats = Formats {
        system: system_formatter,
        prompt: prompt_formatter,
        response: response_formatter,
        end: response_end,
        prompt_cutoff,
        completion_cutoff,
    };
    let ask = match (prompt, prompts, interactive) {
        (None, None, false) => None,
        (Some(prompt), None, false) => Some(Ask::Prompt(prompt)),
        (None, Some(path), false) => Some(Ask::Prompts {
            path,
            formats: formats.clone(),
        }),
        (None, None, true) => Some(Ask::Interactive {
            formatter: typed_into(&formats.prompt)?,
        }),
        _ => return Err(usage("give only one of --prompt, --prompts, --interactive")),
    };
    if let Some(ask) = ask {
        if dry_run {
            return Err(usage(
                "--dry_run looks at a training run; leave out --prompt, --prompts and --interactive",
            ));
        }
        let options = sample::Options {
            model: model_location,
            model_remote,
            state: save_filename,
            ask,
            settings: Settings {
                max_tokens,
                temperature,
                top_p,
                seed,
                stop: not_empty(formats.end),
            },
            other_model: other_model(force),
            device,
            product: dtype,
            weights,
        };
        let options = Box::new(options);
        return Ok(Command::Sample { options, machine });
    }

    // An explicit dataset beats an address, and an explicit address beats the default dataset.
    let explicit = matches.value_source("huggingface_dataset") != Some(ValueSource::DefaultValue);
    let data_url = url(DATA_URL, data_url)?;
    let dataset = match not_empty(huggingface_dataset) {
        Some(name) => {
            let dataset: Dataset = name.parse().map_err(|error| {
                // An address may hold a password.
                let name = if name.contains("://") {
                    "an address"
                } else {
                    &name
                };
                usage(&format!("--huggingface_dataset takes no {name:?}: {error}"))
            })?;
            if dataset_split.is_empty() {
                return Err(usage(
                    "--dataset_split is empty; name a split, such as train",
                ));
            }
            Some(Remote::Dataset {
                dataset,
                split: dataset_split,
            })
        }
        None => None,
    };
    let data_remote = if explicit {
        dataset.or(data_url)
    } else {
        data_url.or(dataset)
    };
    let held_out = match (eval_path, eval_split) {
        (Some(path), _) => HeldOut::File(path),
        (None, Some(share)) => HeldOut::Share(share),
        (None, None) => HeldOut::None,
    };
    if held_out == HeldOut::None && (keep == Keep::Best || patience > 0) {
        return Err(usage(
            "--keep best and --patience go by held-out examples; name some with --eval_path or --eval_split",
        ));
    }
    let options = train::Options {
        model: model_location,
        model_remote,
        data: data_path,
        data_remote,
        formats,
        save: save_filename,
        log_file,
        report,
        tensorboard,
        resume,
        save_every,
        evaluation: Evaluation {
            examples: held_out,
            every: eval_every,
            keep,
            patience,
        },
        schedule: Schedule {
            shape: lr_schedule,
            learning_rate: learningrate,
            last: lr_final.unwrap_or(learningrate / 100.0),
            warmup: warmup_steps,
        },
        adam: Adam {
            beta1: adam_beta1,
            beta2: adam_beta2,
            weight_decay,
        },
        grad_clip,
        batch_size: batchsize,
        walk: dataset_walk,
        seed,
        init,
        tune,
        exit_loss,
        max_epochs,
        max_time,
        device,
        product: dtype,
        weights,
        recompute,
        micro_batch,
        flags: flags(matches),
    };
    let options = Box::new(options);
    Ok(if dry_run {
        Command::DryRun { options }
    } else {
        Command::Train { options, machine }
    })
}

/// Every training flag with its value, for checkpoints and reports: as it was given, or its default. Addresses are left
/// out, since they may hold a password.
fn flags(matches: &ArgMatches) -> Vec<(String, String)> {
    let mut flags = Vec::new();
    for arg in command().get_arguments() {
        let name = arg.get_id().as_str();
        let heading = arg.get_help_heading().unwrap_or_default();
        if ["resume", "dry_run"].contains(&name) || name.ends_with("_url") || heading == "Testing" {
            continue;
        }
        let values = matches.get_raw(name).into_iter().flatten();
        let values: Vec<_> = values.map(|value| value.to_string_lossy()).collect();
        flags.push((format!("--{name}"), values.join(" ")));
    }
    flags
}

/// The formatter, if what is typed is all that it needs.
fn typed_into(formatter: &Template) -> Result<Template, Exit> {
    let mut keys: Vec<&str> = formatter.keys().collect();
    keys.dedup();
    if keys == [sample::KEY] {
        return Ok(formatter.clone());
    }
    keys.retain(|&key| key != sample::KEY);
    let has = match keys.first() {
        Some(key) => format!("uses {{{key}}}"),
        None => "has no key".to_string(),
    };
    Err(usage(&format!(
        "--interactive puts each line typed into --prompt_formatter as {{{}}}, but the formatter {has}; \
         give another --prompt_formatter",
        sample::KEY
    )))
}

fn understand_tool(tool: Tool) -> Result<Command, Exit> {
    let Convert {
        files,
        to,
        from,
        model,
        fold,
        mix,
        state_scale,
        data_path,
        prompt_formatter,
        response_formatter,
        system_formatter,
        response_end,
        force,
    } = match tool {
        Tool::Inspect { file } => return Ok(Command::Inspect { path: file }),
        Tool::Convert(convert) => convert,
    };
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
    Ok(Command::Convert {
        options: Box::new(convert::Options {
            input,
            mix,
            output,
            to,
            from,
            model,
            fold,
            scale: state_scale,
            data: data_path,
            formats: Formats {
                system: system_formatter,
                prompt: prompt_formatter,
                response: response_formatter,
                end: response_end,
                prompt_cutoff: None,
                completion_cutoff: None,
            },
            other_model: other_model(force),
        }),
    })
}

/// What `--force` says.
fn other_model(force: bool) -> OtherModel {
    if force {
        OtherModel::Accept
    } else {
        OtherModel::Refuse
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
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let lines: Vec<&str> = lines
        .filter(|line| !line.starts_with("For more") && !line.starts_with("Usage:"))
        .collect();
    let message = lines.join(" ").trim_start_matches("error: ").to_string();
    usage(&format!("{source}{message}"))
}

fn usage(message: &str) -> Exit {
    Exit::Usage(format!("{message} (see --help)"))
}

#[cfg(test)]
mod tests;
