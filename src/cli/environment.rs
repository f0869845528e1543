//! Environment variables as arguments: `env -- '--learningrate=0.02' state-tune`, as the original
//! took them, and `STATE_TUNE_LEARNINGRATE` for shells that cannot spell that. Of the two, the
//! first wins.

use std::ffi::OsString;

use crate::distributed;

const PREFIX: &str = "STATE_TUNE_";

/// `--flag=value` for every variable that is meant for this program. They go before what was typed,
/// and of two of one name the later counts. An unknown name becomes an unknown flag, and so an
/// error: a job with a misspelt setting should not run for an hour without it.
pub fn as_arguments(variables: impl IntoIterator<Item = (OsString, OsString)>) -> Vec<OsString> {
    let (mut shouted, mut spelt) = (Vec::new(), Vec::new());
    for (name, value) in variables {
        let Some(name) = name.to_str() else { continue };
        if [distributed::LIBRARY, distributed::PATIENCE].contains(&name) {
            continue; // of whoever joins the ranks of a run, before there are options
        }
        if let Some(flag) = name.strip_prefix(PREFIX) {
            shouted.push(argument(&flag.to_lowercase(), value));
        } else if let Some(flag) = name.strip_prefix("--") {
            spelt.push(argument(flag, value));
        }
    }
    // The environment has no order; sorted, at least the message about a mistake is always the
    // same.
    shouted.sort();
    spelt.sort();
    [shouted, spelt].concat()
}

fn argument(flag: &str, value: OsString) -> OsString {
    let mut argument = OsString::from(format!("--{flag}="));
    argument.push(value);
    argument
}
