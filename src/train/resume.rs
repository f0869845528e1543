//! A run before its next step: at its start, or where its checkpoint is.

use anyhow::{Context, Result};

use super::checkpoint::Checkpoint;
use super::outputs::Outputs;
use super::prepare::TrainingData;
use super::run_record::Identity;
use super::run_state::RunState;
use super::settings::{Change, RunSettings};
use super::{Options, prepare, start};
use crate::console::Console;
use crate::distributed::Ranks;
use crate::model::Rwkv;
use crate::tensors::shown;

/// A run that is about to learn, and what it learns: from its checkpoint on, if that is asked for and
/// there is one, which is said on `console`.
pub fn begin(
    options: &Options,
    model: &Rwkv,
    data: &TrainingData,
    outputs: &Outputs,
    ranks: &Ranks,
    console: &Console,
) -> Result<(RunState, Identity)> {
    let plan = prepare::plan(options, model, data, ranks)?;
    let identity = Identity::new(model, data);
    let start = match outputs.resumes(options) {
        true => start::of_checkpoint(options, model)?,
        false => start::state(options, model, console)?,
    };
    let mut run = RunState::new(options, model, data.examples.len(), start, plan)?;
    run.ranks = ranks.count();
    resume(&mut run, &identity, outputs, options, console)?;
    Ok((run, identity))
}

/// Brings `run` to where its checkpoint is, if that is asked for and there is one, and says so on
/// `console`.
fn resume(
    run: &mut RunState,
    identity: &Identity,
    outputs: &Outputs,
    options: &Options,
    console: &Console,
) -> Result<()> {
    let path = outputs.checkpoint.named().display();
    if !options.resume {
        return Ok(());
    }
    if !outputs.has_checkpoint() {
        let old = outputs.old_checkpoint();
        let hint = match old.exists() {
            true => format!(
                " ({} is of an earlier run; to go on from it, give it that name)",
                old.display()
            ),
            false => String::new(),
        };
        let none = match outputs.checkpoint.named().exists() {
            true => format!("{path} is empty"),
            false => format!("there is no {path}"),
        };
        console.line(&format!("resume {none}{hint}; starting from the beginning"));
        return Ok(());
    }
    let checkpoint = Checkpoint::read(outputs.checkpoint.named())?;
    console.line(&format!("resume {path}, after step {}", checkpoint.steps()));
    let settings = RunSettings::of(options);
    for Change { setting, then, now } in checkpoint.changes(&settings) {
        let [now, then] = [now, then].map(|value| format!("{value:?}").replace("\\\\", "\\"));
        console.line(&format!("note   {setting} is {now} now; it was {then}"));
    }
    let (then, now) = (checkpoint.computed_by(), &run.computed_by);
    if !then.is_empty() && then != now {
        console.line(&format!(
            "note   the run is computed by {now} now; it was by {}: what follows is not the same to the last bit",
            shown(then)
        ));
    }
    let (then, now) = (checkpoint.ranks(), run.ranks);
    if then != now {
        console.line(&format!(
            "note   the number of ranks is {now} now; it was {then}: the last digits may differ"
        ));
    }
    let restored = checkpoint.restore(run, identity, &settings);
    restored.with_context(|| format!("cannot go on from {path}"))
}
