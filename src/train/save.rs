//! The end of a run: what is written, and what is said.

use anyhow::{Context, Result, bail};

use super::checkpoint::Checkpoints;
use super::standing::Standing;
use super::step::Work;
use super::target::Target;
use super::{Keep, Options, Stop, page};
use crate::memory;
use crate::report::{self, Summary, say};
use crate::state_file::{self, Format};

/// Writes what a run came to, whatever ended it: one that went wrong still has its last good state.
pub fn save(
    work: &Work,
    standing: &Standing,
    target: &Target,
    checkpoints: &Checkpoints,
    ended: Result<Stop>,
) -> Result<Stop> {
    let &Work { options, model, .. } = work;
    let learnt = match (&ended, standing.best.as_ref(), options.evaluation.keep) {
        _ if standing.learner.steps() == 0 => None,
        (_, Some(best), Keep::Best) => Some(best.state.clone()),
        (Ok(_), ..) => Some(standing.learner.state()),
        (Err(_), ..) => standing.last_good.clone(),
    };
    let mut written = Vec::new();
    if let Some(state) = &learnt {
        let (element, fingerprint) = (model.element(), Some(model.fingerprint()));
        state_file::write(&target.path, state, element, Format::State, fingerprint)
            .with_context(|| cannot_write(target, options))?;
        written.push(("state", options.save.display().to_string()));
        let curve = target.curve.display();
        report::write_curve(&target.curve, &standing.history)
            .with_context(|| format!("cannot write {curve}"))?;
        written.push(("loss curve", curve.to_string()));
    }
    for (what, path) in [
        ("log", &options.log_file),
        ("tensorboard", &options.tensorboard),
    ] {
        if let Some(path) = path {
            written.push((what, path.display().to_string()));
        }
    }
    let why = match &ended {
        Ok(stop) => stop.to_string(),
        Err(error) => error.to_string(),
    };
    let mut summary = Summary {
        history: &standing.history,
        best: standing.best.as_ref().map(|best| (best.step, best.loss)),
        why,
        seconds: standing.seconds(),
        peak_memory: memory::peak(),
        files: Vec::new(),
    };
    if let (Some(path), Some(state)) = (&options.report, &learnt) {
        let text = summary.text();
        let page = page::page(work, state, &standing.history, &text)?;
        report::write_page(path, &page)
            .with_context(|| format!("cannot write --report {}", path.display()))?;
        written.push(("report", path.display().to_string()));
    }
    // Last, since it says that all else is done.
    if ended.is_ok() && learnt.is_some() {
        checkpoints.write(standing)?;
        written.push(("checkpoint", target.checkpoint.display().to_string()));
    }
    summary.files = written;
    say(&summary.text());
    match (ended, learnt) {
        (Ok(stop), _) => Ok(stop),
        (Err(error), Some(_)) => bail!(
            "{error:#}; the last good state is in {}",
            options.save.display()
        ),
        (Err(error), None) => {
            bail!("{error:#}; nothing was learnt before that, so no state was written")
        }
    }
}

/// What to do about a state that could not be written, too, if there is something.
fn cannot_write(target: &Target, options: &Options) -> String {
    let state = options.save.display();
    match target.checkpoint.exists() {
        true => format!(
            "cannot write --save_filename {state} (once it can be, --resume goes on from {})",
            target.checkpoint.display()
        ),
        false => format!("cannot write --save_filename {state}"),
    }
}
