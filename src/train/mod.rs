//! Training: learn the state that a frozen model starts from.
//!
//! [`run`] is the whole story, read from top to bottom. Its parts are small and have tests of their own: [`step`] (a
//! batch forward and backward), [`learner`] (parameters, gradient), [`adam`], [`schedule`] (learning rates), [`stop`]
//! (limits and signals), [`plan`] (how much is computed at once), [`standing`] (where a run stands), [`checkpoint`] (that
//! as a file), [`target`] (whether the result can be written).

mod adam;
mod checkpoint;
pub mod learner;
mod options;
mod page;
pub mod plan;
pub mod schedule;
mod standing;
mod step;
pub mod stop;
mod target;

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, bail};

pub use adam::Adam;
pub use learner::Learner;
pub use options::{Evaluation, HeldOut, Init, Keep, Options, Recompute, Tune};
pub use schedule::Schedule;
pub use stop::Stop;

use self::checkpoint::{Checkpoint, Checkpoints, Subject};
use self::plan::Plan;
use self::standing::Standing;
use self::step::Work;
use self::stop::{Limits, Signals};
use self::target::Target;
use crate::data::{Example, Survey, example, held_out};
use crate::fetch::{self, Patience};
use crate::model::{self, Config, Rwkv5};
use crate::report::{self, Progress, Records, Summary, say};
use crate::state_file::{self, Format};
use crate::{files, memory};

/// Free memory to plan with where the system does not tell: 4 GiB.
const ASSUMED_FREE: u64 = 4 << 30;

/// The examples of a run.
pub struct Data {
    /// To learn from.
    pub examples: Vec<Example>,
    /// To see how well is predicted what was not learnt from; may be empty.
    pub held_out: Vec<Example>,
}

/// Trains and saves. Returns why it stopped; a run whose loss is no longer a number is an error, after the last good
/// state is saved.
pub fn run(options: &Options) -> Result<Stop> {
    // Load, and find everything that could fail now and not after an hour. The data first: it is smaller.
    let data = survey(options)?;
    check_places(options)?;
    fetch::ensure(
        &options.model,
        "--model_location",
        options.model_remote.as_ref(),
        &Patience::default(),
    )?;
    let model = load_model(options)?;
    check_examples(&data, options, model.config())?;
    let target = Target::check(&options.save, &model)?;
    target::check_further(options, &target)?;

    // What is learnt, in which order, how long, and from where on.
    let limits = Limits {
        steps: stop::steps(options.max_epochs, data.examples.len(), options.batch_size),
        exit_loss: options.exit_loss,
        max_epochs: options.max_epochs,
        max_time: options.max_time,
    };
    let mut standing = Standing::new(
        options,
        &model,
        data.examples.len(),
        plan(options, &model, &data),
    )?;
    let subject = Subject::new(
        &model,
        &data.examples,
        &data.held_out,
        options.tune.to_string(),
    );
    introduce(options, model.config(), &target);
    say_steps(options, data.examples.len());
    take_up(&mut standing, &subject, &target, options)?;
    let mut records = Records::open(
        options.log_file.as_deref(),
        options.tensorboard.as_deref(),
        standing.learner.steps(),
    )?;

    let mut progress = Progress::new(limits.steps, standing.learner.steps());
    let voice = progress.voice();
    let signals = Signals::catch(progress.voice()).context("cannot listen for Ctrl-C")?;
    let work = Work {
        options,
        model: &model,
        data: &data,
        steps: limits.steps,
    };
    standing.begun = Instant::now();
    let mut checkpoints = Checkpoints::new(&target.checkpoint, &subject, options);
    // A run that is taken up may have come to its end.
    let finished = standing.finished(&limits, options.evaluation.patience);
    if let Some(stop) = finished {
        say(&format!(
            "note   that run had finished: {stop}; a higher limit would let it go on"
        ));
    }
    let mut learn = || -> Result<Stop> {
        let mut stop = finished;
        // How well the start does, too.
        let mut is_due = standing.history.evals.is_empty();
        loop {
            if is_due && !data.held_out.is_empty() {
                let interrupted = || signals.caught().is_some();
                match standing.evaluate(&model, &data.held_out, interrupted)? {
                    Some(eval) => {
                        voice(&eval.to_string());
                        records.eval(&eval)?;
                    }
                    // Whoever sends a signal does not want to wait.
                    None => stop = signals.caught().map(Stop::Signal),
                }
            }
            stop = stop.or_else(|| standing.in_vain(options.evaluation.patience));
            if let Some(stop) = stop {
                return Ok(stop);
            }
            if let Err(error) = checkpoints.when_due(&standing) {
                voice(&format!(
                    "note   {error:#}; the run goes on, and will try again"
                ));
            }

            let report = step::step(&work, &mut standing)?;
            progress.step(&report, limits.left(report.step, report.seconds));
            if let Err(error) = records.step(&report) {
                // The step itself went well.
                standing.last_good = Some(standing.learner.snapshot()?);
                return Err(error);
            }
            let signal = signals.caught();
            stop = limits.reached(report.step, report.loss, report.seconds, signal);
            is_due = signal.is_none() && options.evaluation.is_due(report.step, stop.is_some());
            standing.history.steps.push(report);
        }
    };
    let ended = learn();
    progress.finish();

    // Save, whatever ended the run: a run that went wrong still has its last good state.
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
            .with_context(|| format!("cannot write --save_filename {}", options.save.display()))?;
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
        let page = page::page(&work, state, &standing.history, &text)?;
        report::write_page(path, &page)
            .with_context(|| format!("cannot write --report {}", path.display()))?;
        written.push(("report", path.display().to_string()));
    }
    // Last, since it says that all else is done.
    if ended.is_ok() && learnt.is_some() {
        checkpoints.write(&standing)?;
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

/// Goes on from a checkpoint, where that is asked for and there is one, and says what it comes to.
fn take_up(
    standing: &mut Standing,
    subject: &Subject,
    target: &Target,
    options: &Options,
) -> Result<()> {
    let path = target.checkpoint.display();
    if !target.checkpoint.exists() {
        if options.resume {
            say(&format!(
                "resume there is no {path}; starting from the beginning"
            ));
        }
        return Ok(());
    }
    if !options.resume {
        say(&format!(
            "note   {path} is there from an earlier run and will be replaced; --resume would go on from it"
        ));
        return Ok(());
    }
    let checkpoint = Checkpoint::read(&target.checkpoint)?;
    say(&format!("resume {path}, after step {}", checkpoint.steps()));
    for (flag, then, now) in checkpoint.changes(&options.flags) {
        say(&format!("note   {flag} is {now:?} now; it was {then:?}"));
    }
    let restored = checkpoint.restore(standing, subject);
    restored.with_context(|| format!("cannot go on from {path}"))
}

/// What [`run`] finds out before its first step, and no more. A model that is not there is not fetched.
pub fn dry_run(options: &Options) -> Result<()> {
    let data = survey(options)?;
    check_places(options)?;
    let model = options.model.display();
    if options.model.exists() {
        let model = load_model(options)?;
        check_examples(&data, options, model.config())?;
        let target = Target::check(&options.save, &model)?;
        target::check_further(options, &target)?;
        introduce(options, model.config(), &target);
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

/// Errors when the run's files could not be written, as far as that can be told without a model: it may be long in
/// coming.
fn check_places(options: &Options) -> Result<()> {
    files::check_writable(&files::settled(&options.save))
        .with_context(|| format!("cannot write --save_filename {}", options.save.display()))?;
    for (flag, path) in [
        ("--log_file", &options.log_file),
        ("--report", &options.report),
    ] {
        if let Some(path) = path {
            files::check_writable(&files::settled(path))
                .with_context(|| format!("cannot write {flag} {}", path.display()))?;
        }
    }
    Ok(())
}

fn introduce(options: &Options, config: &Config, target: &Target) {
    say(&format!("model  {} ({config})", options.model.display()));
    if target.replaces {
        say(&format!(
            "note   {} is there already and will be replaced",
            options.save.display()
        ));
    }
}

fn say_steps(options: &Options, examples: usize) {
    say(&format!(
        "train  {} steps of {} examples",
        stop::steps(options.max_epochs, examples, options.batch_size),
        options.batch_size
    ));
}

/// Gets the data, says where from and what it is like, and gives back its examples.
fn survey(options: &Options) -> Result<Data> {
    let data = options.data.display();
    match &options.data_remote {
        Some(remote) if !options.data.exists() => say(&format!("data   {data}, from {remote}")),
        None if !options.data.exists() => {}
        _ => say(&format!("data   {data}, the file that is there")),
    }
    fetch::ensure(
        &options.data,
        "--data_path",
        options.data_remote.as_ref(),
        &Patience::default(),
    )?;
    let examples = example::read(&options.data, &options.formats)?;
    if let Some(survey) = Survey::of(&examples) {
        say(&survey.to_string());
    }
    let data = match &options.evaluation.examples {
        HeldOut::None => Data {
            examples,
            held_out: Vec::new(),
        },
        HeldOut::File(path) => {
            let held_out = example::read(path, &options.formats).context("--eval_path")?;
            say(&format!(
                "eval   {} examples of {}",
                held_out.len(),
                path.display()
            ));
            Data { examples, held_out }
        }
        HeldOut::Share(share) => {
            let all = examples.len();
            let parts = held_out::put_aside(examples, *share);
            let (examples, held_out) = parts.with_context(|| {
                format!("--eval_split {share} of {all} examples leaves none to learn from; give a smaller share or more data")
            })?;
            say(&format!(
                "eval   {} of the examples, which are not learnt from",
                held_out.len()
            ));
            Data { examples, held_out }
        }
    };
    Ok(data)
}

/// How much is computed at once: as much as the largest batch needs and memory holds.
fn plan(options: &Options, model: &Rwkv5, data: &Data) -> Plan {
    let rows = data
        .examples
        .iter()
        .map(|example| example.rows(options.tune.softprompt));
    let plan = Plan::new(
        model,
        options.recompute,
        rows.max().unwrap_or(0).saturating_mul(options.batch_size),
        memory::free().unwrap_or(ASSUMED_FREE),
    );
    Plan {
        most_rows: options.micro_batch.unwrap_or(plan.most_rows),
        ..plan
    }
}

fn load_model(options: &Options) -> Result<Rwkv5> {
    let checkpoint = model::Checkpoint::open(&options.model)?;
    Rwkv5::load(&checkpoint, options.product)
        .with_context(|| format!("cannot use the model {}", options.model.display()))
}

/// Errors that only data and model together show.
fn check_examples(data: &Data, options: &Options, config: &Config) -> Result<()> {
    let held_out_in = match &options.evaluation.examples {
        HeldOut::File(path) => path,
        HeldOut::None | HeldOut::Share(_) => &options.data,
    };
    check_some(&data.examples, &options.data, options.tune, config)?;
    check_some(&data.held_out, held_out_in, options.tune, config)
}

fn check_some(examples: &[Example], path: &Path, tune: Tune, config: &Config) -> Result<()> {
    for example in examples {
        let at = || {
            format!(
                "cannot use the data in {}: line {}",
                path.display(),
                example.line
            )
        };
        if let Some(id) = example
            .tokens
            .iter()
            .find(|&&id| id as usize >= config.vocab_size)
        {
            bail!(
                "{}: token {id} is not among the model's {} tokens",
                at(),
                config.vocab_size
            );
        }
        if example.scored(tune.softprompt) == 0 {
            bail!(
                "{}: the prompt is empty and the completion a single token, which nothing predicts without a soft \
                 prompt; add softprompt to --tune or remove the line",
                at()
            );
        }
    }
    Ok(())
}
