//! The end of a run: which state is saved, what is written, and what is said.

use std::path::{Path, PathBuf};

use anyhow::{Context, Error, Result, anyhow, bail};
use signal_hook::consts::SIGXFSZ;

use super::checkpoint::Checkpoints;
use super::context::RunContext;
use super::outputs::Outputs;
use super::run_state::RunState;
use super::settings::RunSettings;
use super::signals::Signals;
use super::{Keep, Stop, learnt};
use crate::console::Console;
use crate::model::State;
use crate::report::{Curve, Finished, Record, Records, Summary};
use crate::setting::RESUME;
use crate::state_file::{self, Format, Origin, Texts};
use crate::system;

/// A run that has ended.
pub struct Ended<'a> {
    pub context: &'a RunContext<'a>,
    pub run: &'a RunState,
    pub outputs: &'a Outputs,
    pub checkpoints: &'a Checkpoints<'a>,
    pub records: Records,
    pub signals: &'a Signals,
    /// Why it stopped, or what went wrong.
    pub result: Result<Stop>,
}

/// The files that were to be written.
struct Files {
    /// Where the state is, once it is written.
    state: Option<PathBuf>,
    /// What and where: `("state", "state.pth")`.
    written: Vec<(&'static str, String)>,
    failures: Vec<Error>,
}

impl Files {
    fn add(&mut self, what: &'static str, path: &Path, result: Result<()>) {
        let path = path.display();
        match result {
            Ok(()) => self.written.push((what, path.to_string())),
            Err(error) => {
                let failure = error.context(format!("cannot write the {what} {path}"));
                self.failures.push(failure);
            }
        }
    }

    fn add_state(&mut self, path: PathBuf) {
        self.written.push(("state", path.display().to_string()));
        self.state = Some(path);
    }

    fn add_record(&mut self, record: &mut dyn Record, run: &Finished) {
        match record.finish(run) {
            Ok(false) => {}
            result => self.add(record.name(), &record.path(), result.map(drop)),
        }
    }
}

impl<'a> Ended<'a> {
    /// Writes what the run came to and says it on `console`, whatever ended the run: one that went
    /// wrong still has its last good state. What cannot be written is an error after all else is
    /// written.
    pub fn finish(mut self, console: &Console) -> Result<Stop> {
        self.signals.begin_saving();
        if let Some(directory) = self.outputs.make_directory() {
            console.line(&format!(
                "note   the directory {} was gone, and is made again",
                directory.display()
            ));
        }
        let state = self.state_to_save()?;
        let mut summary = self.summary();
        let files = self.write(state.as_ref(), &summary.text());
        summary.files = files.written;
        console.line(&summary.text());
        if self.context.options.report.is_some() && self.signals.caught().is_some() {
            console
                .line("note   the report does not wait for all its answers, since a signal came");
        }
        self.verdict(state.is_some(), files.state.as_deref(), files.failures)
    }

    /// `None` when nothing was learnt.
    fn state_to_save(&self) -> Result<Option<State>> {
        let (run, evaluation) = (self.run, &self.context.options.evaluation);
        // Where nothing but the start was evaluated, the start is no best state to keep.
        let keeps_best = evaluation.keep == Keep::Best && run.history.evals.len() > 1;
        Ok(match (&self.result, &run.best, run.backup.state()) {
            _ if run.learner.steps() == 0 => None,
            (_, Some(best), _) if keeps_best => Some(best.state.clone()),
            // In main memory, whatever became of a GPU.
            (_, _, Some(state)) => Some(state.clone()),
            // A run that was at its end when it was resumed.
            (Ok(_), _, None) => Some(run.learner.snapshot()?),
            (Err(_), _, None) => None,
        })
    }

    /// The summary, without the files that are still to be written.
    fn summary(&self) -> Summary<'a> {
        let run = self.run;
        Summary {
            history: &run.history,
            best: run.best.as_ref().map(|best| (best.step, best.loss)),
            why: match &self.result {
                // The limit that ends runs earlier than was meant.
                Ok(stop @ Stop::ExitLoss { .. }) => format!("{stop}; {}", stop.way_on()),
                Ok(stop) => stop.to_string(),
                Err(error) => error.to_string(),
            },
            seconds: run.seconds(),
            peak_memory: system::peak(),
            // From the last step, since a GPU that failed cannot be asked.
            peak_gpu_memory: run.history.steps.last().and_then(|step| step.gpu_memory),
            files: Vec::new(),
        }
    }

    /// Writes every file, also when another could not be written.
    fn write(&mut self, state: Option<&State>, summary: &str) -> Files {
        let context = self.context;
        let &RunContext { options, model, .. } = context;
        let start = &self.run.start;
        // The state is saved by then. Whoever sends a signal does not want to wait for answers, and
        // a model that is another by now has none.
        let interrupted = || self.signals.caught().is_some() || model.check_files().is_err();
        let gather = state.map(|state| move || learnt::learnt(context, start, state, interrupted));
        let name = options.save.file_name().and_then(|name| name.to_str());
        let run = Finished {
            title: name.unwrap_or("a state"),
            history: &self.run.history,
            summary,
            options: &RunSettings::of(options).shown(),
            machine: &learnt::machine(model),
            learnt: gather.as_ref().map(|gather| gather as _),
        };
        let mut files = Files {
            state: None,
            written: Vec::new(),
            failures: Vec::new(),
        };
        let mut is_in_place = false;
        if let Some(state) = state {
            let (element, texts) = (
                model.element(),
                Texts::of(&options.formats, context.data.text_rows),
            );
            let origin = Origin {
                model: Some(model.fingerprint()),
                texts: Some(&texts),
            };
            let write = |path: &Path| {
                state_file::write_with_origin(path, state, element, Format::STATE, origin)
            };
            let there = self.outputs.state.path();
            let way = self.outputs.make_way();
            is_in_place = way.is_ok();
            let placed = way.and_then(|()| {
                write(&there).with_context(|| format!("cannot write the state {}", there.display()))
            });
            match placed {
                Ok(()) => files.add_state(there),
                Err(error) => {
                    let mut others = self.outputs.other_places().into_iter();
                    let other = others.find(|other| write(other).is_ok());
                    files.failures.push(match &other {
                        None => error,
                        Some(other) => anyhow!(
                            "{error:#}; so {} is not replaced, and what was learnt is in {}",
                            there.display(),
                            other.display()
                        ),
                    });
                    other.into_iter().for_each(|other| files.add_state(other));
                }
            }
        }
        files.add_record(&mut Curve::new(&self.outputs.curve.path()), &run);
        // After the state, since it may say that the run is done.
        if is_in_place && self.result.is_ok() {
            let result = self.checkpoints.write(self.run);
            files.add("checkpoint", &self.outputs.checkpoint.path(), result);
        }
        for record in self.records.iter_mut() {
            files.add_record(record, &run);
        }
        files
    }

    /// Why the run stopped, or all that went wrong, in one error.
    fn verdict(
        self,
        is_learnt: bool,
        state: Option<&Path>,
        mut failures: Vec<Error>,
    ) -> Result<Stop> {
        let stop = match self.result {
            Ok(stop) if failures.is_empty() => {
                let stop = self.signals.caught().unwrap_or(stop);
                match self.records.failure() {
                    None => return Ok(stop),
                    // The limit that stopped a record stopped the run, and that was told.
                    Some(_) if stop == Stop::Signal(SIGXFSZ) => return Ok(stop),
                    Some(error) => Some(match state {
                        Some(state) => anyhow!(
                            "{error:#}; the run went on without it, and {} is written",
                            state.display()
                        ),
                        None => error,
                    }),
                }
            }
            Ok(_) => None,
            Err(error) => Some(match state {
                Some(state) => anyhow!("{error:#}; the last good state is in {}", state.display()),
                // Why it could not be written follows.
                None if is_learnt => error,
                None if self.run.before > 0.0 => anyhow!(
                    "{error:#}; the checkpoint {} leads there by itself: start without {RESUME}",
                    self.outputs.checkpoint.path().display()
                ),
                None => {
                    anyhow!("{error:#}; nothing was learnt before that, so no state was written")
                }
            }),
        };
        failures.splice(0..0, stop);
        let failures: Vec<String> = failures.iter().map(|error| format!("{error:#}")).collect();
        bail!("{}", failures.join("; "))
    }
}
