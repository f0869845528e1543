//! Training: learn the state that a frozen model starts from.
//!
//! [`run`] is the whole story, read from top to bottom. Its parts are small: [`prepare`] (data, model, places to write
//! to), [`target`] (whether the result can be written), [`plan`] (how much is computed at once), [`standing`] (where a
//! run stands) and [`checkpoint`] (that as a file), [`step`] (a batch forward and backward), [`learner`] (parameters,
//! gradient), [`schedule`] (learning rates), [`stop`] (limits and signals), [`save`] and [`page`] (the end).

mod checkpoint;
pub mod learner;
mod options;
mod page;
pub mod plan;
mod prepare;
mod save;
pub mod schedule;
mod standing;
mod step;
pub mod stop;
mod target;

use std::time::Instant;

use anyhow::{Context, Result, bail};

pub use learner::Learner;
pub use options::{Evaluation, HeldOut, Init, Keep, Options, Recompute, Tune};
pub use schedule::Schedule;
pub use stop::Stop;

use self::checkpoint::{Checkpoint, Checkpoints, Subject};
use self::standing::Standing;
use self::step::Work;
use self::stop::{Limits, Signals};
use self::target::Target;
use crate::fetch::{self, Patience};
use crate::model::Rwkv5;
pub use crate::ops::adam::Adam;
use crate::ops::linear::Weights;
use crate::ops::{Compute, device};
use crate::report::{Progress, Records, say};

/// Trains and saves. Returns why it stopped; a run whose loss is no longer a number is an error, after the last good
/// state is saved.
pub fn run(options: &Options) -> Result<Stop> {
    // Load, and find everything that could fail now and not after an hour. The data first: it is smaller.
    let compute = Compute::fastest(options.device, options.product, options.weights)?;
    let data = prepare::survey(options)?;
    prepare::check_places(options)?;
    fetch::ensure(
        &options.model,
        "--model_location",
        options.model_remote.as_ref(),
        &Patience::default(),
    )?;
    let model = Rwkv5::open(&options.model, &compute)?;
    prepare::check_examples(&data, options, model.config())?;
    let target = Target::check(&options.save, &model)?;
    target::check_further(options, &target)?;

    // What is learnt, in which order, how long, and from where on.
    let limits = Limits {
        steps: stop::steps(options.max_epochs, data.examples.len(), options.batch_size),
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
    let mut standing = Standing::new(options, &model, data.examples.len(), plan)?;
    let subject = Subject::new(&work);
    introduce(options, &model, &target)?;
    say_steps(options, data.examples.len());
    take_up(&mut standing, &subject, &target, options)?;
    // A run that is taken up may have come to its end.
    let patience = options.evaluation.patience;
    let finished = standing
        .reached(&limits)
        .or_else(|| standing.in_vain(patience));
    if let Some(stop) = finished {
        say(&format!(
            "note   that run had finished: {stop}; a higher limit would let it go on"
        ));
    }

    let mut progress = Progress::new(limits.steps, standing.learner.steps());
    let voice = progress.voice();
    let signals = Signals::catch(progress.voice()).context("cannot listen for Ctrl-C")?;
    let mut records = Records::open(
        options.log_file.as_deref(),
        options.tensorboard.as_deref(),
        standing.learner.steps(),
        progress.voice(),
    )?;
    if !options.resume {
        target.move_old_checkpoint()?;
    }
    let mut checkpoints = Checkpoints::new(&target.checkpoint, &subject, options);
    standing.begun = Instant::now();
    let mut learn = || -> Result<Stop> {
        loop {
            // Look at what is not learnt from. Whoever sends a signal does not want to wait for that.
            let reached = standing.reached(&limits);
            let is_owed = standing.owes_evaluation(options.evaluation.every, reached.is_some());
            if is_owed && !data.held_out.is_empty() {
                progress.evaluating();
                let interrupted = || signals.caught().is_some();
                if let Some(eval) = standing.evaluate(&model, &data.held_out, interrupted)? {
                    voice(&eval.to_string());
                    records.eval(&eval);
                }
            }

            // Stop?
            let stop = signals.caught().or(reached);
            if let Some(stop) = stop.or_else(|| standing.in_vain(patience)) {
                step::verify(&work, &mut standing)?;
                return Ok(stop);
            }

            // Forward and backward: what gives a finite loss is worth a checkpoint.
            let computed = step::compute(&work, &mut standing, &voice)?;
            if let Err(error) = checkpoints.when_due(&standing) {
                voice(&format!(
                    "note   {error:#}; the run goes on, and will try again"
                ));
            }

            // Step.
            let report = step::update(&work, &mut standing, computed)?;
            progress.step(&report, limits.left(report.step, report.seconds));
            records.step(&report);
            standing.history.steps.push(report);
        }
    };
    let ended = learn();
    progress.finish();
    let ended = save::save(&work, &standing, &target, &checkpoints, ended);
    match (ended, records.failure()) {
        (Ok(_), Some(error)) => {
            let state = options.save.display();
            bail!("{error:#}; the run went on without it, and {state} is written")
        }
        (ended, _) => ended,
    }
}

/// Goes on from a checkpoint, where that is asked for and there is one, and says what it comes to.
fn take_up(
    standing: &mut Standing,
    subject: &Subject,
    target: &Target,
    options: &Options,
) -> Result<()> {
    let path = target.checkpoint.display();
    if !options.resume {
        return Ok(());
    }
    if !target.has_checkpoint() {
        let hint = match target.old_checkpoint().exists() {
            true => {
                format!(" ({path}.old is of an earlier run; to go on from it, give it that name)")
            }
            false => String::new(),
        };
        say(&format!(
            "resume there is no {path}{hint}; starting from the beginning"
        ));
        return Ok(());
    }
    let checkpoint = Checkpoint::read(&target.checkpoint)?;
    say(&format!("resume {path}, after step {}", checkpoint.steps()));
    for (flag, then, now) in checkpoint.changes(&options.flags) {
        let [now, then] = [now, then].map(|value| format!("{value:?}").replace("\\\\", "\\"));
        say(&format!("note   {flag} is {now} now; it was {then}"));
    }
    let restored = checkpoint.restore(standing, subject, &options.flags);
    restored.with_context(|| format!("cannot go on from {path}"))
}

/// What [`run`] finds out before its first step, and no more. A model that is not there is not fetched.
pub fn dry_run(options: &Options) -> Result<()> {
    let compute = Compute::fastest(options.device, options.product, options.weights)?;
    let data = prepare::survey(options)?;
    prepare::check_places(options)?;
    let model = options.model.display();
    if options.model.exists() {
        let model = Rwkv5::open(&options.model, &compute)?;
        prepare::check_examples(&data, options, model.config())?;
        let target = Target::check(&options.save, &model)?;
        target::check_further(options, &target)?;
        introduce(options, &model, &target)?;
    } else if let Some(remote) = &options.model_remote {
        say(&format!(
            "model  {model} is not there; it will come from {remote}"
        ));
    } else {
        say(&format!(
            "model  {model} is not there; training will need it, or a --model_url"
        ));
    }
    say_steps(options, data.examples.len());
    say("--dry_run: nothing was learnt, and no state written");
    Ok(())
}

fn introduce(options: &Options, model: &Rwkv5, target: &Target) -> Result<()> {
    say(&format!(
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
        say(&format!("device {card}, in {product}"));
    }
    if *weights != Weights::File {
        say(&format!(
            "note   weights are held as {weights}, {:.2} GiB; the embedding stays as the file has it",
            model.bytes_multiplied() as f64 / (1u64 << 30) as f64
        ));
    }
    if target.replaces {
        say(&format!(
            "note   {} is there already and will be replaced",
            options.save.display()
        ));
    }
    Ok(())
}

fn say_steps(options: &Options, examples: usize) {
    say(&format!(
        "train  {} steps of {} examples",
        stop::steps(options.max_epochs, examples, options.batch_size),
        options.batch_size
    ));
}
