//! The end of a run: what is written, and what is said.

use std::path::Path;

use anyhow::{Result, anyhow, bail};

use super::checkpoint::Checkpoints;
use super::standing::Standing;
use super::step::Work;
use super::target::Target;
use super::{Keep, Stop, page};
use crate::report::{self, Summary, say};
use crate::state_file::{self, Format};
use crate::{files, memory};

/// Writes what a run came to, whatever ended it: one that went wrong still has its last good state. What cannot be
/// written is an error after all else is.
pub fn save(
    work: &Work,
    standing: &Standing,
    target: &Target,
    checkpoints: &Checkpoints,
    ended: Result<Stop>,
) -> Result<Stop> {
    let &Work { options, model, .. } = work;
    // Where nothing but the start was evaluated, the start is no best state to keep.
    let best = standing.best.as_ref();
    let best =
        best.filter(|_| options.evaluation.keep == Keep::Best && standing.history.evals.len() > 1);
    let learnt = match (&ended, best) {
        _ if standing.learner.steps() == 0 => None,
        (_, Some(best)) => Some(best.state.clone()),
        (Ok(_), None) => Some(standing.learner.snapshot()?),
        (Err(_), None) => standing
            .updated
            .as_ref()
            .or(standing.last_good.as_ref())
            .cloned(),
    };
    let mut written = Vec::new();
    let mut failures = Vec::new();
    let mut tried = |what, path: &Path, result: Result<()>| match result {
        Ok(()) => written.push((what, path.display().to_string())),
        Err(error) => {
            failures.push(error.context(format!("cannot write the {what} {}", path.display())))
        }
    };
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
        // The last step's, since a GPU that failed answers nothing.
        peak_gpu_memory: standing
            .history
            .steps
            .last()
            .and_then(|step| step.gpu_memory),
        files: Vec::new(),
    };
    if let Some(state) = &learnt {
        let (element, model) = (model.element(), Some(model.fingerprint()));
        let result = state_file::write(&target.path, state, element, Format::State, model);
        tried("state", &options.save, result.map_err(anyhow::Error::from));
        let result = report::write_curve(&target.curve, &standing.history);
        tried(
            "loss curve",
            &target.curve,
            result.map_err(anyhow::Error::from),
        );
        // After the state, since it may say that the run is done.
        if ended.is_ok() {
            tried(
                "checkpoint",
                &target.checkpoint,
                checkpoints.write(standing),
            );
        }
        if let Some(path) = &options.report {
            let text = summary.text();
            let page = page::page(work, state, &standing.history, &text);
            let result =
                page.and_then(|page| Ok(report::write_page(&files::settled(path), &page)?));
            tried("report", path, result);
        }
    }
    let records = [
        ("log", &options.log_file),
        ("tensorboard", &options.tensorboard),
    ];
    for (what, path) in records {
        if let Some(path) = path {
            written.push((what, path.display().to_string()));
        }
    }
    summary.files = written;
    say(&summary.text());

    let stop = match ended {
        Ok(stop) => Some(stop),
        Err(error) => {
            let state = options.save.display();
            failures.insert(0, match learnt {
                Some(_) => anyhow!("{error:#}; the last good state is in {state}"),
                None if standing.before > 0.0 => anyhow!(
                    "{error:#}; the checkpoint {} leads there by itself: start without --resume",
                    target.checkpoint.display()
                ),
                None => anyhow!("{error:#}; nothing was learnt before that, so no state was written"),
            });
            None
        }
    };
    match (stop, failures.is_empty()) {
        (Some(stop), true) => Ok(stop),
        _ => {
            let failures: Vec<String> = failures.iter().map(|error| format!("{error:#}")).collect();
            bail!("{}", failures.join("; "))
        }
    }
}
