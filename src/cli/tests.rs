//! What is typed and what stands in the environment, against the options it comes to.

mod environment;
mod files;
mod flags;
mod testing;
mod tools;
mod training;
mod values;

use std::collections::BTreeSet;

use super::*;
use crate::data::template::Template;

/// Parses a command line and an environment.
fn parsed(typed: &[&str], variables: &[(&str, &str)]) -> Result<Command, Exit> {
    let name = ["state-tune"];
    parse(
        name.iter().chain(typed).map(OsString::from),
        variables
            .iter()
            .map(|(name, value)| (name.into(), value.into())),
    )
}

fn train_with(typed: &[&str], variables: &[(&str, &str)]) -> train::Options {
    match parsed(typed, variables) {
        Ok(Command::Train { options, .. }) => *options,
        other => panic!("{typed:?} {variables:?} should train, but gave {other:?}"),
    }
}

fn train(typed: &[&str]) -> train::Options {
    train_with(typed, &[])
}

fn sample(typed: &[&str]) -> sample::Options {
    match parsed(typed, &[]) {
        Ok(Command::Sample { options, .. }) => *options,
        other => panic!("{typed:?} should answer a prompt, but gave {other:?}"),
    }
}

/// The message of what must be refused as wrong usage, in one line.
fn misuse(typed: &[&str], variables: &[(&str, &str)]) -> String {
    match parsed(typed, variables) {
        Err(Exit::Usage(message)) => {
            assert_eq!(message.lines().count(), 1, "{message}");
            message
        }
        other => panic!("{typed:?} {variables:?} is wrong usage, but gave {other:?}"),
    }
}

fn template(text: &str) -> Template {
    Template::parse(text).unwrap()
}

#[test]
fn every_setting_that_a_message_names_is_a_flag() {
    let mut known: BTreeSet<String> = BTreeSet::new();
    let command = command();
    let tools = command.get_subcommands();
    let arguments = tools.flat_map(clap::Command::get_arguments);
    let arguments = command.get_arguments().chain(arguments);
    known.extend(arguments.map(|argument| argument.get_id().to_string()));
    for setting in setting::NAMED {
        assert!(known.contains(setting.name()), "{}", setting.name());
    }
}

#[test]
fn help_and_version_are_shown() {
    for (flag, part) in [
        ("--help", "--learningrate"),
        ("--version", env!("CARGO_PKG_VERSION")),
    ] {
        match parsed(&[flag], &[]) {
            Err(Exit::Shown(text)) => assert!(text.contains(part), "{text}"),
            other => panic!("{flag}: {other:?}"),
        }
    }
}
