//! Training: learn the state that a frozen model starts from.
//!
//! [`run`] is the whole story, read from top to bottom. Its parts are small: [`prepare`] (data, model, places to write
//! to), [`outputs`] (whether the result can be written), [`memory_plan`] (how much is computed at once), [`run_state`] (where a
//! run stands) and [`checkpoint`] (that as a file), [`step`] (a batch forward and backward), [`learner`] (parameters,
//! gradient), [`schedule`] (learning rates), [`limits`] and [`signals`] (when it ends), [`finish`] and [`page`] (the end).

mod checkpoint;
mod finish;
pub mod learner;
pub mod limits;
pub mod memory_plan;
mod options;
mod outputs;
mod page;
mod prepare;
mod run_state;
pub mod schedule;
pub mod settings;
mod signals;
mod step;

use std::time::Instant;

use anyhow::{Context, Result, bail};

pub use learner::Learner;
pub use limits::Stop;
pub use options::{Evaluation, HeldOut, Init, Keep, Options, Recompute, Tune};
pub use schedule::Schedule;

use self::checkpoint::{Checkpoint, Checkpoints, Identity};
use self::limits::Limits;
use self::outputs::Outputs;
use self::run_state::RunState;
use self::settings::{Change, RunSettings};
use self::signals::Signals;
use self::step::Work;
use crate::console::{Console, Progress};
use crate::fetch::{self, RetryPolicy, Wanted};
use crate::model::Rwkv;
use crate::ops::Compute;
pub use crate::ops::adam::Adam;
use crate::ops::device::{self, Opened};
use crate::ops::linear::Weights;
use crate::report::Records;
use crate::setting::{DRY_RUN, MODEL_LOCATION, MODEL_URL};

/// Trains and saves, and says how it goes on `console`. Returns why it stopped; a run whose loss is no
/// longer a number is an error, after the last good state is saved.
pub fn run(options: &Options, console: &Console) -> Result<Stop> {
    // Load, and find everything that could fail now and not after an hour. The data first: it is smaller.
    let compute = open_device(options, console)?;
    let data = prepare::survey(options, console)?;
    prepare::check_places(options)?;
    fetch::obtain(
        &Wanted {
            path: &options.model,
            named_by: MODEL_LOCATION,
            url: MODEL_URL,
            remote: options.model_remote.as_ref(),
        },
        &RetryPolicy::default(),
        console,
    )?;
    let model = Rwkv::open(&options.model, &compute)?;
    prepare::check_examples(&data, options, model.config())?;
    let outputs = Outputs::check(&options.save, &model)?;
    outputs::check_further(options, &outputs)?;

    // What is learnt, in which order, how long, and from where on.
    let limits = Limits {
        steps: limits::steps(options.max_epochs, data.examples.len(), options.batch_size),
        exit_loss: options.exit_loss,
        max_epochs: options.max_epochs,
        max_time: options.max_time,
    };
    let work = Work {
        options,
        model: &model,
        data: &data,
        steps: limits.steps,
    };
    let plan = prepare::plan(options, &model, &data)?;
    let mut run = RunState::new(options, &model, data.examples.len(), plan)?;
    let identity = Identity::new(&work);
    introduce(options, &model, &outputs, console)?;
    say_steps(options, data.examples.len(), console);
    resume(&mut run, &identity, &outputs, options, console)?;
    // A run that is resumed may have come to its end.
    let patience = options.evaluation.patience;
    let finished = run
        .reached(&limits)
        .or_else(|| run.out_of_patience(patience));
    if let Some(stop) = finished {
        console.line(&format!(
            "note   that run had finished: {stop}; a higher limit would let it go on"
        ));
    }

    let mut progress = Progress::new(console, limits.steps, run.learner.steps());
    let above = &progress.console();
    let signals = Signals::catch(above.clone()).context("cannot listen for Ctrl-C")?;
    let mut records = Records::open(
        options.log_file.as_deref(),
        options.tensorboard.as_deref(),
        run.learner.steps(),
        above.clone(),
    )?;
    if !options.resume {
        outputs.move_old_checkpoint(console)?;
    }
    let mut checkpoints = Checkpoints::new(&outputs.checkpoint, &identity, options);
    run.begun = Instant::now();
    let mut learn = || -> Result<Stop> {
        loop {
            // Look at what is not learnt from. Whoever sends a signal does not want to wait for that.
            let reached = run.reached(&limits);
            let is_owed = run.owes_evaluation(options.evaluation.every, reached.is_some());
            if is_owed && !data.held_out.is_empty() {
                progress.evaluating();
                let interrupted = || signals.caught().is_some();
                if let Some(eval) = run.evaluate(&model, &data.held_out, interrupted)? {
                    above.line(&eval.to_string());
                    records.eval(&eval);
                }
            }

            // Stop?
            let stop = signals.caught().or(reached);
            if let Some(stop) = stop.or_else(|| run.out_of_patience(patience)) {
                step::verify(&work, &mut run)?;
                return Ok(stop);
            }

            // Forward and backward: what gives a finite loss is worth a checkpoint.
            let computed = step::compute(&work, &mut run, above)?;
            if let Err(error) = checkpoints.when_due(&run) {
                above.line(&format!(
                    "note   {error:#}; the run goes on, and will try again"
                ));
            }

            // Step.
            let report = step::update(&work, &mut run, computed)?;
            let left = limits.left(report.step, report.seconds);
            progress.step(report.step, &report.describe(left));
            records.step(&report);
            run.history.steps.push(report);
        }
    };
    let ended = learn();
    progress.finish();
    let ended = finish::finish(&work, &run, &outputs, &checkpoints, ended, console);
    match (ended, records.failure()) {
        (Ok(_), Some(error)) => {
            let state = options.save.display();
            bail!("{error:#}; the run went on without it, and {state} is written")
        }
        (ended, _) => ended,
    }
}

/// Goes on from a checkpoint, where that is asked for and there is one, and says what it comes to.
fn resume(
    run: &mut RunState,
    identity: &Identity,
    outputs: &Outputs,
    options: &Options,
    console: &Console,
) -> Result<()> {
    let path = outputs.checkpoint.display();
    if !options.resume {
        return Ok(());
    }
    if !outputs.has_checkpoint() {
        let hint = match outputs.old_checkpoint().exists() {
            true => {
                format!(" ({path}.old is of an earlier run; to go on from it, give it that name)")
            }
            false => String::new(),
        };
        console.line(&format!(
            "resume there is no {path}{hint}; starting from the beginning"
        ));
        return Ok(());
    }
    let checkpoint = Checkpoint::read(&outputs.checkpoint)?;
    console.line(&format!("resume {path}, after step {}", checkpoint.steps()));
    let settings = RunSettings::of(options);
    for Change { setting, then, now } in checkpoint.changes(&settings) {
        let [now, then] = [now, then].map(|value| format!("{value:?}").replace("\\\\", "\\"));
        console.line(&format!("note   {setting} is {now} now; it was {then}"));
    }
    let restored = checkpoint.restore(run, identity, &settings);
    restored.with_context(|| format!("cannot go on from {path}"))
}

/// What [`run`] finds out before its first step, and no more. A model that is not there is not fetched.
pub fn dry_run(options: &Options, console: &Console) -> Result<()> {
    let compute = open_device(options, console)?;
    let data = prepare::survey(options, console)?;
    prepare::check_places(options)?;
    let model = options.model.display();
    if options.model.exists() {
        let model = Rwkv::open(&options.model, &compute)?;
        prepare::check_examples(&data, options, model.config())?;
        let outputs = Outputs::check(&options.save, &model)?;
        outputs::check_further(options, &outputs)?;
        introduce(options, &model, &outputs, console)?;
    } else if let Some(remote) = &options.model_remote {
        console.line(&format!(
            "model  {model} is not there; it will come from {remote}"
        ));
    } else {
        console.line(&format!(
            "model  {model} is not there; training will need it, or a {MODEL_URL}"
        ));
    }
    say_steps(options, data.examples.len(), console);
    console.line(&format!(
        "{DRY_RUN}: nothing was learnt, and no state written"
    ));
    Ok(())
}

fn introduce(options: &Options, model: &Rwkv, outputs: &Outputs, console: &Console) -> Result<()> {
    console.line(&format!(
        "model  {} ({})",
        options.model.display(),
        model.config()
    ));
    let Compute {
        device,
        product,
        weights,
    } = model.compute();
    if let Some(card) = device::card_name(device)? {
        console.line(&format!("device {card}, in {product}"));
    }
    if *weights != Weights::File {
        console.line(&format!(
            "note   weights are held as {weights}, {:.2} GiB; the embedding stays as the file has it",
            model.bytes_multiplied() as f64 / (1u64 << 30) as f64
        ));
    }
    if outputs.replaces {
        console.line(&format!(
            "note   {} is there already and will be replaced",
            options.save.display()
        ));
    }
    Ok(())
}

fn say_steps(options: &Options, examples: usize, console: &Console) {
    console.line(&format!(
        "train  {} steps of {} examples",
        limits::steps(options.max_epochs, examples, options.batch_size),
        options.batch_size
    ));
}

fn open_device(options: &Options, console: &Console) -> Result<Compute> {
    let &Options {
        device,
        product,
        weights,
        ..
    } = options;
    let Opened { compute, note } = Compute::fastest(device, product, weights)?;
    if let Some(note) = note {
        console.line(&format!("note   {note}"));
    }
    Ok(compute)
}
