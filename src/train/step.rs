//! One step, in two parts: a batch forward and backward, then Adam; and the errors
//! of a loss or a gradient that is not finite.

use std::time::Instant;

use anyhow::{Result, anyhow};

use super::Options;
use super::learner::{self, Norms};
use super::prepare::TrainingData;
use super::run_state::RunState;
use crate::console::Console;
use crate::evaluate;
use crate::model::{Rwkv, Sequence, State};
use crate::ops::device;
use crate::report::Step;
use crate::setting::{COMPLETION_CUTOFF, INIT, LEARNING_RATE, PROMPT_CUTOFF, WEIGHTS};
use crate::state_file;

/// Weight of the past in `loss_avg`: a memory of about twenty steps.
const SMOOTHING: f64 = 0.95;

/// What all steps of a run share.
pub struct RunContext<'a> {
    pub options: &'a Options,
    pub model: &'a Rwkv,
    pub data: &'a TrainingData,
    /// Steps of the whole run.
    pub steps: usize,
}

/// A batch that was computed and not yet learnt from.
pub struct Computed {
    begun: Instant,
    epoch: usize,
    loss: f64,
    gradient: State,
    norms: Norms,
    /// Completion tokens that were predicted.
    targets: usize,
    /// All rows, soft prompts' included.
    rows: usize,
}

/// Forward and backward. Errors when loss and gradient are not finite.
pub fn compute(context: &RunContext, run: &mut RunState, console: &Console) -> Result<Computed> {
    let (options, examples) = (context.options, &context.data.examples);
    let (begun, step) = (Instant::now(), run.learner.steps() + 1);
    let epoch = 1 + run.drawn / examples.len();
    let drawn = run.walker.batch(options.batch_size);
    let batch: Vec<Sequence> = drawn.into_iter().map(|i| (&examples[i]).into()).collect();
    let (loss, gradient) = accumulate_within_memory(context, run, &batch, console)?;
    let norms = run.learner.norms(&gradient)?;
    let is_finite = norms
        .iter()
        .all(|(_, norm)| norm.is_none_or(f64::is_finite));
    if !loss.is_finite() || !is_finite {
        run.backup.reject();
        return Err(diverged(loss, step, options));
    }
    run.backup.confirm(&run.learner)?;
    let first_row = run.learner.first_row();
    Ok(Computed {
        begun,
        epoch,
        loss,
        gradient,
        norms,
        targets: batch.iter().map(|s| s.targets(first_row)).sum(),
        rows: batch.iter().map(|s| s.rows(first_row)).sum(),
    })
}

/// Loss and gradient of a batch. Where a GPU's memory does not hold a part of it, parts are halved
/// from here on.
fn accumulate_within_memory(
    context: &RunContext,
    run: &mut RunState,
    batch: &[Sequence],
    console: &Console,
) -> Result<(f64, State)> {
    let first_row = run.learner.first_row();
    let rows: Vec<usize> = batch.iter().map(|s| s.rows(first_row)).collect();
    loop {
        let error = match run.learner.accumulate(context.model, batch, &run.plan) {
            Err(error) if device::is_out_of_memory(&error) => error,
            done => return done,
        };
        device::give_back_memory(&context.model.compute().device)?;
        let Some(smaller) = run.plan.smaller(&rows) else {
            return Err(error.context(format!(
                "the GPU's memory does not hold the longest example; cut it by {PROMPT_CUTOFF} and \
                 {COMPLETION_CUTOFF}, or hold less of the model by {WEIGHTS}"
            )));
        };
        run.plan = smaller;
        console.line(&format!(
            "note   the GPU's memory is full; the step is computed again, {smaller}"
        ));
    }
}

/// Clipping and Adam. Errors when what is learnt could no longer be saved.
pub fn update(context: &RunContext, run: &mut RunState, computed: Computed) -> Result<Step> {
    let options = context.options;
    let Computed {
        begun,
        epoch,
        loss,
        gradient,
        norms,
        targets,
        rows,
    } = computed;
    let step = run.learner.steps() + 1;
    let gradient = match options.grad_clip > 0.0 {
        true => learner::clip(&gradient, &norms, options.grad_clip)?,
        false => gradient,
    };
    let learning_rate = options.schedule.at(step, context.steps);
    run.learner
        .update(&gradient, &options.adam, learning_rate)?;
    run.drawn = run.walker.drawn();
    state_file::check(&run.learner.state(), context.model.element()).map_err(|error| {
        let what = match error {
            state_file::Error::NotFinite { part } => {
                format!("the update puts {part} beyond what the state's file can hold")
            }
            error => error.to_string(),
        };
        lower_the_learning_rate(&what, step, options)
    })?;
    run.backup.updated(run.learner.snapshot()?);

    let past = run.history.steps.last();
    let loss_avg = past.map_or(loss, |past| {
        SMOOTHING * past.loss_avg + (1.0 - SMOOTHING) * loss
    });
    Ok(Step {
        step,
        epoch,
        loss,
        loss_avg,
        tokens: targets,
        tokens_seen: rows,
        tokens_per_s: rows as f64 / begun.elapsed().as_secs_f64(),
        seconds: run.seconds(),
        learning_rate,
        grad_norms: norms,
        gpu_memory: device::gpu_memory(&context.model.compute().device)?.map(|memory| memory.peak),
    })
}

/// Errors when the state after the last update gives a loss that is not finite. No further step
/// would find that out.
pub fn verify(context: &RunContext, run: &mut RunState) -> Result<()> {
    let Some(example) = context.data.examples.first() else {
        return Ok(());
    };
    let some = std::slice::from_ref(example);
    let score = evaluate::score(context.model, some, &run.learner.state())?;
    match score.loss() {
        loss if loss.is_finite() => Ok(()),
        loss => {
            run.backup.reject();
            let what = format!("the loss is {loss} after the update");
            Err(lower_the_learning_rate(
                &what,
                run.learner.steps(),
                context.options,
            ))
        }
    }
}

/// What to say of a loss and a gradient that are not both finite.
fn diverged(loss: f64, step: usize, options: &Options) -> anyhow::Error {
    // Before the first update the learning rate has had no effect.
    if step == 1 && !loss.is_finite() {
        let model = options.model.display();
        return anyhow!(
            "the loss is {loss} at step 1, before anything was learnt: the model {model} is broken, or overflows with \
             this {INIT}"
        );
    }
    let what = match loss.is_finite() {
        false => format!("the loss is {loss}"),
        true => "the gradient is not finite".to_string(),
    };
    lower_the_learning_rate(&what, step, options)
}

fn lower_the_learning_rate(what: &str, step: usize, options: &Options) -> anyhow::Error {
    let learning_rate = options.schedule.learning_rate;
    anyhow!("{what} at step {step}: lower {LEARNING_RATE} (now {learning_rate:?})")
}
