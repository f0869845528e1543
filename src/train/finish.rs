//! The end of a run: what is written, and what is said.

use std::path::Path;

use anyhow::{Result, anyhow, bail};

use super::checkpoint::Checkpoints;
use super::outputs::Outputs;
use super::run_state::RunState;
use super::step::Work;
use super::{Keep, Stop, page};
use crate::console::Console;
use crate::report::{self, Summary};
use crate::setting::RESUME;
use crate::state_file::{self, Format};
use crate::{files, system};

/// Writes what a run came to, whatever ended it: one that went wrong still has its last good state. What cannot be
/// written is an error after all else is.
pub fn finish(
    work: &Work,
    run: &RunState,
    outputs: &Outputs,
    checkpoints: &Checkpoints,
    ended: Result<Stop>,
    console: &Console,
) -> Result<Stop> {
    let &Work { options, model, .. } = work;
    // Where nothing but the start was evaluated, the start is no best state to keep.
    let best = run.best.as_ref();
    let best =
        best.filter(|_| options.evaluation.keep == Keep::Best && run.history.evals.len() > 1);
    let learnt = match (&ended, best) {
        _ if run.learner.steps() == 0 => None,
        (_, Some(best)) => Some(best.state.clone()),
        (Ok(_), None) => Some(run.learner.snapshot()?),
        (Err(_), None) => run.backup.state().cloned(),
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
        history: &run.history,
        best: run.best.as_ref().map(|best| (best.step, best.loss)),
        why,
        seconds: run.seconds(),
        peak_memory: system::peak(),
        // The last step's, since a GPU that failed answers nothing.
        peak_gpu_memory: run.history.steps.last().and_then(|step| step.gpu_memory),
        files: Vec::new(),
    };
    if let Some(state) = &learnt {
        let (element, model) = (model.element(), Some(model.fingerprint()));
        let result = state_file::write(&outputs.path, state, element, Format::STATE, model);
        tried("state", &options.save, result.map_err(anyhow::Error::from));
        let result = report::write_curve(&outputs.curve, &run.history);
        tried(
            "loss curve",
            &outputs.curve,
            result.map_err(anyhow::Error::from),
        );
        // After the state, since it may say that the run is done.
        if ended.is_ok() {
            tried("checkpoint", &outputs.checkpoint, checkpoints.write(run));
        }
        if let Some(path) = &options.report {
            let text = summary.text();
            let page = page::page(work, state, &run.history, &text);
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
    console.line(&summary.text());

    let stop = match ended {
        Ok(stop) => Some(stop),
        Err(error) => {
            let state = options.save.display();
            failures.insert(0, match learnt {
                Some(_) => anyhow!("{error:#}; the last good state is in {state}"),
                None if run.before > 0.0 => anyhow!(
                    "{error:#}; the checkpoint {} leads there by itself: start without {RESUME}",
                    outputs.checkpoint.display()
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
