//! Training: learn the state that a frozen model starts from.
//!
//! [`run`] is the whole story, read from top to bottom. Its parts are small: [`prepare`] (device,
//! data), [`places`] and [`outputs`] (whether the result can be written), [`announce`] (what is
//! said before), [`memory_plan`] (how much is computed at once), [`run_state`]
//! (a run between two steps), [`checkpoint`] (that as a file, with its [`run_record`]) and
//! [`resume`], [`step`] (a batch forward and backward), [`gradient`] and [`share`] (its sum over
//! ranks), [`start`] and [`learner`] (parameters), [`schedule`] (learning rates), [`model_files`]
//! (whether they stay as they were), [`limits`] and [`signals`] (when it ends), [`finish`] and
//! [`learnt`] (the end). [`ranks`] is what makes a run one of several ranks' run; [`context`] what
//! its parts share.

mod announce;
mod checkpoint;
mod context;
mod finish;
mod gradient;
pub mod learner;
mod learnt;
pub mod limits;
pub mod memory_plan;
mod model_files;
mod options;
mod outputs;
mod places;
mod prepare;
mod ranks;
mod records;
mod resume;
mod run_record;
mod run_state;
pub mod schedule;
pub mod settings;
pub mod share;
mod signals;
mod start;
mod step;

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result};

pub use checkpoint::Checkpoint;
pub use learner::Learner;
pub use limits::Stop;
pub use options::{Evaluation, HeldOut, Init, Keep, MOST_EXAMPLES, Options, Recompute, Tune};
pub use schedule::Schedule;

use self::checkpoint::Checkpoints;
use self::context::{RunContext, Watch};
use self::finish::Ended;
use self::model_files::ModelFiles;
use self::signals::Signals;
use crate::console::{Console, Progress};
use crate::distributed::{Failure, Ranks, Role};
use crate::files::Lock;
use crate::model;
pub use crate::ops::adam::Adam;
use crate::setting::{DRY_RUN, MODEL_URL};

/// Trains and saves, and says how it goes on `console`. Returns why it stopped, which is a signal
/// also if that came while the result of a finished run was written; a run whose loss is no longer
/// a number is an error, after the last good state is saved.
pub fn run(options: &Options, console: &Console) -> Result<Stop> {
    run_on(&Ranks::one(), options, console)
}

/// The same as one of several ranks, each of which is to call it with the same options. The first one
/// says how it goes, and saves; an error of one is every rank's ([`Failure`]).
///
/// [`Failure`]: crate::distributed::Failure
pub fn run_on(ranks: &Ranks, options: &Options, console: &Console) -> Result<Stop> {
    ranks.agree(run_rank(ranks, options, console))
}

fn run_rank(ranks: &Ranks, all: &Options, console: &Console) -> Result<Stop> {
    let (console, own) = (&ranks.shared(console), &ranks.own(console));
    let (options, nowhere) = ranks::options_of(ranks, all)?;
    let options = &options;
    announce::ranks(ranks, console, own);

    // Load, and find now what could fail, not after an hour. The data first: it is smaller.
    let compute = prepare::device(options, own)?;
    prepare::place_of_data(options, console)?;
    ranks.fetch_once(|| prepare::obtain(options, own))?;
    let data = prepare::survey(options, console)?;
    let outputs = places::outputs(options)?;
    let lock = Arc::new(outputs.lock()?);
    ranks.fetch_once(|| model::obtain(&options.model, options.model_remote.as_ref(), own))?;
    // What was fetched just now may have brought files of other names.
    places::check_distinct(options, &outputs)?;
    let model = prepare::model(options, &compute)?;
    let data = prepare::checked(data, options, model.config(), console)?;
    let replaces = outputs.check(&model, options)?;
    let options = &options.starting_as(&model);

    // What is learnt, in which order, how long, and from where on.
    announce::model(options, &model, console)?;
    announce::save(options, &outputs, replaces, console);
    let (mut run, identity) = resume::begin(options, &model, &data, &outputs, ranks, console)?;
    let limits = run.limits(options, data.examples.len());
    announce::steps(options, limits.steps, console);
    ranks::begin(ranks, all, nowhere, &identity, &mut run)?;
    let context = RunContext {
        options,
        model: &model,
        data: &data,
        steps: limits.steps,
        ranks,
    };
    announce::end(run.end(&limits, options), console);

    let mut progress = Progress::new(console, limits.steps, run.learner.steps());
    let above = &progress.console();
    // Whoever answers signals lives longer than the run, which gives its lock back.
    let of_signals = Arc::downgrade(&lock);
    let give_back = move || {
        let lock = of_signals.upgrade();
        lock.iter()
            .flat_map(|lock| lock.as_ref())
            .for_each(Lock::clean_up);
    };
    // What fails here fails on all ranks, or others would wait for this one in the first step.
    let signals = Signals::catch(ranks, above.clone(), give_back);
    let signals = ranks.agree(signals.context("cannot listen for signals"))?;
    let prepared = || {
        let records = records::open(options, run.learner.steps(), above.clone())?;
        if !options.resume {
            outputs.move_old_checkpoint(console)?;
        }
        Ok(records)
    };
    let mut records = ranks.agree(prepared())?;
    let mut checkpoints = Checkpoints::new(&outputs.checkpoint, &identity, options);
    run.begun = Instant::now();
    let of_files = match ranks.role() {
        Role::First => above,
        Role::Other => own,
    };
    let watch = Watch {
        signals: &signals,
        files: &ModelFiles::new(&model, of_files),
        console: above,
    };
    let mut learn = || -> Result<Stop> {
        loop {
            // Evaluate. Whoever sends a signal does not want to wait for that.
            let reached = run.reached(&limits);
            let is_owed = run.owes_evaluation(options.evaluation.every, reached.is_some());
            if is_owed && !data.held_out.is_empty() {
                progress.evaluating();
                if let Some(eval) = run.evaluate(&context, &watch)? {
                    above.line(&eval.to_string());
                    records.eval(&eval);
                }
                // The next step has its own waiting to tell.
                ranks.waited();
            }

            // Stop?
            let stop = signals.agreed().or(reached);
            if let Some(stop) = stop.or_else(|| run.out_of_patience(options.evaluation.patience)) {
                let verified = step::verify(&context, &mut run);
                // A model that was changed explains what one rank finds, not what all know of.
                if !verified.as_ref().is_err_and(Failure::is) {
                    watch.files.check()?;
                }
                return verified.map(|()| stop);
            }

            // Forward and backward: what gives a finite loss is worth a checkpoint, if the model is
            // still what it was.
            let computed = step::compute(&context, &mut run, &watch)?;
            if let Err(error) = checkpoints.when_due(&run, || outputs.keep_old_state()) {
                above.line(&format!(
                    "note   {error:#}; the run goes on, and will try again"
                ));
            }

            // Step.
            let report = step::update(&context, &mut run, computed)?;
            let left = limits.left(report.step, report.seconds);
            progress.step(report.step, &report.describe(left));
            records.step(&report);
            run.history.steps.push(report);
        }
    };
    let result = ranks.agree(learn());
    progress.finish();
    match ranks.role() {
        Role::First => {
            let ended = Ended {
                context: &context,
                run: &run,
                outputs: &outputs,
                checkpoints: &checkpoints,
                records,
                signals: &signals,
                result,
            };
            ranks.agree(ended.finish(console))
        }
        // Whoever leaves a job early ends it.
        Role::Other => ranks.agree(Ok(())).and(result),
    }
}

/// Says what [`run_on`] finds out before its first step, and does no more. A model that is not there
/// is not fetched. The first rank does it alone.
pub fn dry_run(ranks: &Ranks, options: &Options, console: &Console) -> Result<()> {
    announce::ranks(ranks, console, console);
    let compute = prepare::device(options, console)?;
    prepare::place_of_data(options, console)?;
    prepare::obtain(options, console)?;
    let data = prepare::survey(options, console)?;
    let outputs = places::outputs(options)?;
    let shown = options.model.display();
    if model::must_fetch(&options.model, options.model_remote.as_ref()) {
        console.line(&match &options.model_remote {
            Some(remote) => format!("model  {shown} is not there; it will come from {remote}"),
            None => {
                format!("model  {shown} is not there; training will need it, or a {MODEL_URL}")
            }
        });
        let (examples, done) = (data.examples.len(), (0, 0));
        let steps = limits::steps(options.max_epochs, examples, options.batch_size, done);
        announce::steps(options, steps, console);
        if outputs.resumes(options) {
            console
                .line("note   without the model the checkpoint is not read: these are a new run's");
        }
    } else {
        let model = prepare::model(options, &compute)?;
        let data = prepare::checked(data, options, model.config(), console)?;
        let replaces = outputs.check(&model, options)?;
        let options = &options.starting_as(&model);
        announce::model(options, &model, console)?;
        announce::save(options, &outputs, replaces, console);
        let (run, _) = resume::begin(options, &model, &data, &outputs, ranks, console)?;
        let limits = run.limits(options, data.examples.len());
        announce::steps(options, limits.steps, console);
        announce::end(run.end(&limits, options), console);
    }
    console.line(&format!(
        "{DRY_RUN}: nothing was learnt, and no state written"
    ));
    Ok(())
}
