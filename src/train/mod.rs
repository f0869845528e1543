//! Training: learn the state that a frozen model starts from.
//!
//! [`run`] is the whole story, read from top to bottom. Its parts are small and have tests of their own: [`learner`]
//! (parameters, gradient, Adam), [`stop`] (limits and signals), [`plan`] (how much is computed at once), [`target`]
//! (whether the result can be written).

pub mod learner;
mod options;
pub mod plan;
pub mod stop;
mod target;

use std::time::Instant;

use anyhow::{Context, Result, bail};

pub use learner::Learner;
pub use options::{Init, Options, Recompute, Tune};
pub use stop::Stop;

use self::plan::Plan;
use self::stop::{Limits, Signals};
use self::target::Target;
use crate::data::{Example, Survey, Walker, example};
use crate::fetch::{self, Patience};
use crate::model::{Checkpoint, Config, Rwkv5};
use crate::report::{self, History, Log, Progress, Step, Summary, say};
use crate::state_file::{self, Format};
use crate::{files, memory};

/// Weight of the past in `loss_avg`: a memory of about twenty steps.
const SMOOTHING: f64 = 0.95;

/// Free memory to plan with where the system does not tell: 4 GiB.
const ASSUMED_FREE: u64 = 4 << 30;

/// Trains and saves. Returns why it stopped; a run whose loss is no longer a number is an error, after the last good
/// state is saved.
pub fn run(options: &Options) -> Result<Stop> {
    // Load, and find everything that could fail now and not after an hour. The data first: it is smaller.
    let examples = survey(options)?;
    check_places(options)?;
    fetch::ensure(
        &options.model,
        "--model_location",
        options.model_remote.as_ref(),
        &Patience::default(),
    )?;
    let model = load_model(options)?;
    let config = model.config();
    check_examples(&examples, options, config)?;
    let target = Target::check(&options.save, &model)?;
    let mut log = open_log(options, &target)?;

    // What is learnt, in which order, and how long.
    let mut learner = Learner::new(
        config,
        options.tune,
        options.init,
        options.learning_rate,
        options.seed,
    )?;
    let mut walker = Walker::new(options.walk, examples.len(), options.seed);
    let limits = Limits {
        steps: stop::steps(options.max_epochs, examples.len(), options.batch_size),
        exit_loss: options.exit_loss,
        max_epochs: options.max_epochs,
        max_time: options.max_time,
    };
    let longest = examples
        .iter()
        .map(|example| example.rows(options.tune.softprompt))
        .max()
        .unwrap_or(0);
    let plan = Plan::new(
        &model,
        options.recompute,
        longest.saturating_mul(options.batch_size),
        memory::free().unwrap_or(ASSUMED_FREE),
    );
    introduce(options, config, &target);
    say_steps(options, examples.len());

    let mut progress = Progress::new(limits.steps);
    let signals = Signals::catch(progress.voice()).context("cannot listen for Ctrl-C")?;
    let mut history = History::default();
    let mut rows_seen = 0;
    let mut last_good = None;
    let begun = Instant::now();
    let ended: Result<Stop> = loop {
        // Forward and backward.
        let step = history.steps.len() + 1;
        let step_begun = Instant::now();
        let batch: Vec<&Example> = walker
            .batch(options.batch_size)
            .into_iter()
            .map(|i| &examples[i])
            .collect();
        let (loss, gradient) = learner.gradient(&model, &batch, &plan)?;
        let norms = learner.norms(&gradient)?;
        if !loss.is_finite() || !norms.are_finite() {
            break Err(diverged(step, Diverged::before(loss), options));
        }

        // Step. What gave a finite loss is worth keeping once there is an update in it.
        last_good = if step > 1 {
            Some(learner.snapshot()?)
        } else {
            None
        };
        learner.update(&gradient)?;
        if let Err(error) = state_file::check(&learner.state(), model.element()) {
            break Err(diverged(step, Diverged::Update(error), options));
        }

        // Report.
        let loss_avg = history.steps.last().map_or(loss, |past| {
            SMOOTHING * past.loss_avg + (1.0 - SMOOTHING) * loss
        });
        let seconds = begun.elapsed().as_secs_f64();
        let rows: usize = batch
            .iter()
            .map(|example| example.rows(options.tune.softprompt))
            .sum();
        rows_seen += rows;
        let report = Step {
            step,
            epoch: 1 + (step - 1) * options.batch_size / examples.len(),
            loss,
            loss_avg,
            tokens: batch
                .iter()
                .map(|example| example.scored(options.tune.softprompt))
                .sum(),
            tokens_seen: rows,
            tokens_per_s: rows as f64 / step_begun.elapsed().as_secs_f64(),
            seconds,
            lr: options.learning_rate,
            grad_norm_softprompt: norms.softprompt,
            grad_norm_shift: norms.shift,
            grad_norm_wkv: norms.wkv,
        };
        history.steps.push(report.clone());
        progress.step(&report, limits.left(step, seconds));
        if let (Some(log), Some(path)) = (&mut log, &options.log_file)
            && let Err(error) = log.write(&report)
        {
            // The step itself went well.
            last_good = Some(learner.snapshot()?);
            break Err(anyhow::Error::new(error)
                .context(format!("cannot write --log_file {}", path.display())));
        }

        // Stop?
        if let Some(stop) = limits.reached(step, loss, seconds, signals.caught()) {
            break Ok(stop);
        }
    };
    progress.finish();

    // Save, whatever ended the run: a run that went wrong still has its last good state.
    let seconds = begun.elapsed().as_secs_f64();
    let learnt = match &ended {
        Ok(_) => Some(learner.state()),
        Err(_) => last_good,
    };
    let mut written = Vec::new();
    if let Some(state) = &learnt {
        let (element, fingerprint) = (model.element(), Some(model.fingerprint()));
        state_file::write(&target.path, state, element, Format::State, fingerprint)
            .with_context(|| format!("cannot write --save_filename {}", options.save.display()))?;
        written.push(("state", options.save.display().to_string()));
    }
    if learnt.is_some() && !history.steps.is_empty() {
        let curve = target.curve.display();
        report::write_curve(&target.curve, &history)
            .with_context(|| format!("cannot write {curve}"))?;
        written.push(("loss curve", curve.to_string()));
    }
    if let Some(log_file) = &options.log_file {
        written.push(("log", log_file.display().to_string()));
    }
    if let (Some(first), Some(last)) = (history.steps.first(), history.steps.last()) {
        let why = match &ended {
            Ok(stop) => stop.to_string(),
            Err(error) => error.to_string(),
        };
        let tokens_per_s = rows_seen as f64 / seconds;
        let summary = Summary {
            steps: history.steps.len(),
            why,
            first_loss: first.loss,
            last_loss: last.loss,
            seconds,
            tokens_per_s,
            peak_memory: memory::peak(),
            files: written,
        };
        say(&summary.text());
    }
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

/// What [`run`] finds out before its first step, and no more. A model that is not there is not fetched.
pub fn dry_run(options: &Options) -> Result<()> {
    let examples = survey(options)?;
    check_places(options)?;
    let model = options.model.display();
    if options.model.exists() {
        let model = load_model(options)?;
        check_examples(&examples, options, model.config())?;
        let target = Target::check(&options.save, &model)?;
        if let Some(log) = &options.log_file {
            target::check_log(log, options, &target)?;
        }
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
    say_steps(options, examples.len());
    say("--dry_run: nothing was learnt, and no state written");
    Ok(())
}

/// Errors when the run's files could not be written, as far as that can be told without a model: it may be long in
/// coming.
fn check_places(options: &Options) -> Result<()> {
    files::check_writable(&files::settled(&options.save))
        .with_context(|| format!("cannot write --save_filename {}", options.save.display()))?;
    if let Some(log) = &options.log_file {
        files::check_writable(&files::settled(log))
            .with_context(|| format!("cannot write --log_file {}", log.display()))?;
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
fn survey(options: &Options) -> Result<Vec<Example>> {
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
    Ok(examples)
}

fn load_model(options: &Options) -> Result<Rwkv5> {
    let checkpoint = Checkpoint::open(&options.model)?;
    Rwkv5::load(&checkpoint, options.product)
        .with_context(|| format!("cannot use the model {}", options.model.display()))
}

fn open_log(options: &Options, target: &Target) -> Result<Option<Log>> {
    let Some(path) = &options.log_file else {
        return Ok(None);
    };
    target::check_log(path, options, target)?;
    Ok(Some(Log::open(path).with_context(|| {
        format!("cannot write --log_file {}", path.display())
    })?))
}

/// What was found not to be finite.
enum Diverged {
    Loss(f64),
    Gradient,
    Update(state_file::Error),
}

impl Diverged {
    /// Of a loss and gradient that are not both finite.
    fn before(loss: f64) -> Self {
        if loss.is_finite() {
            Self::Gradient
        } else {
            Self::Loss(loss)
        }
    }
}

fn diverged(step: usize, what: Diverged, options: &Options) -> anyhow::Error {
    let what = match what {
        // Before the first update the learning rate has done nothing yet.
        Diverged::Loss(loss) if step == 1 => {
            let model = options.model.display();
            return anyhow::anyhow!(
                "the loss is {loss} at step 1, before anything was learnt: the model {model} is broken, or overflows \
                 with this --init"
            );
        }
        Diverged::Loss(loss) => format!("the loss is {loss}"),
        Diverged::Gradient => "the gradient is not finite".to_string(),
        Diverged::Update(state_file::Error::NotFinite { part }) => {
            format!("the update puts {part} beyond what the state's file can hold")
        }
        Diverged::Update(error) => error.to_string(),
    };
    anyhow::anyhow!(
        "{what} at step {step}: lower --learningrate (now {:?})",
        options.learning_rate
    )
}

/// Errors that only data and model together show.
fn check_examples(examples: &[Example], options: &Options, config: &Config) -> Result<()> {
    for example in examples {
        let at = || {
            format!(
                "cannot use the data in {}: line {}",
                options.data.display(),
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
        if example.scored(options.tune.softprompt) == 0 {
            bail!(
                "{}: the prompt is empty and the completion a single token, which nothing predicts without a soft \
                 prompt; add softprompt to --tune or remove the line",
                at()
            );
        }
    }
    Ok(())
}
