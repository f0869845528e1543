//! One step, in two parts: a batch forward and backward, then Adam; and what is said when numbers stop being numbers.

use std::time::Instant;

use anyhow::{Result, anyhow};

use super::Options;
use super::learner::{self, Norms};
use super::prepare::Data;
use super::run_state::RunState;
use crate::console::Console;
use crate::data::Example;
use crate::model::{Rwkv, State};
use crate::ops::device;
use crate::report::Step;
use crate::state_file;

/// Weight of the past in `loss_avg`: a memory of about twenty steps.
const SMOOTHING: f64 = 0.95;

/// What every step of a run has before it.
pub struct Work<'a> {
    pub options: &'a Options,
    pub model: &'a Rwkv,
    pub data: &'a Data,
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
    /// Completion tokens, and all rows.
    scored: usize,
    rows: usize,
}

/// Forward and backward. Errors when loss and gradient are not finite; else the state is good, and worth keeping once
/// there is an update in it.
pub fn compute(work: &Work, run: &mut RunState, console: &Console) -> Result<Computed> {
    let (options, data) = (work.options, work.data);
    let (begun, step) = (Instant::now(), run.learner.steps() + 1);
    let epoch = 1 + run.drawn / data.examples.len();
    let drawn = run.walker.batch(options.batch_size);
    let batch: Vec<&Example> = drawn.into_iter().map(|i| &data.examples[i]).collect();
    let (loss, gradient) = gradient(work, run, &batch, console)?;
    let learner = &run.learner;
    let norms = learner.norms(&gradient)?;
    if !loss.is_finite() || !norms.are_finite() {
        run.updated = None;
        return Err(diverged(loss, step, options));
    }
    run.last_good = match step {
        1 => None,
        _ => match run.updated.take() {
            Some(updated) => Some(updated),
            None => Some(learner.snapshot()?),
        },
    };
    let soft_prompt = options.tune.softprompt;
    Ok(Computed {
        begun,
        epoch,
        loss,
        gradient,
        norms,
        scored: batch
            .iter()
            .map(|example| example.scored(soft_prompt))
            .sum(),
        rows: batch.iter().map(|example| example.rows(soft_prompt)).sum(),
    })
}

/// Loss and gradient of a batch. Where a card's memory does not hold a part of it, parts are halved from here on.
fn gradient(
    work: &Work,
    run: &mut RunState,
    batch: &[&Example],
    console: &Console,
) -> Result<(f64, State)> {
    let soft_prompt = work.options.tune.softprompt;
    let rows: Vec<usize> = batch
        .iter()
        .map(|example| example.rows(soft_prompt))
        .collect();
    loop {
        let error = match run.learner.gradient(work.model, batch, &run.plan) {
            Err(error) if device::is_out_of_memory(&error) => error,
            done => return done,
        };
        device::give_back_memory(&work.model.compute().device)?;
        let Some(smaller) = run.plan.smaller(&rows) else {
            return Err(error.context(
                "the GPU's memory does not hold the longest example; cut it by --prompt_cutoff and \
                 --completion_cutoff, or hold less of the model by --weights",
            ));
        };
        run.plan = smaller;
        console.line(&format!(
            "note   the GPU's memory is full; the step is computed again, {smaller}"
        ));
    }
}

/// Clipping and Adam. Errors when what is learnt could no longer be saved.
pub fn update(work: &Work, run: &mut RunState, computed: Computed) -> Result<Step> {
    let options = work.options;
    let Computed {
        begun,
        epoch,
        loss,
        gradient,
        norms,
        scored,
        rows,
    } = computed;
    let step = run.learner.steps() + 1;
    let gradient = match options.grad_clip > 0.0 {
        true => learner::clip(&gradient, &norms, options.grad_clip)?,
        false => gradient,
    };
    let lr = options.schedule.rate(step, work.steps);
    run.learner.update(&gradient, &options.adam, lr)?;
    run.drawn = run.walker.drawn();
    let updated = run.learner.snapshot()?;
    state_file::check(&updated, work.model.element()).map_err(|error| {
        let what = match error {
            state_file::Error::NotFinite { part } => {
                format!("the update puts {part} beyond what the state's file can hold")
            }
            error => error.to_string(),
        };
        lower_the_rate(&what, step, options)
    })?;
    run.updated = Some(updated);

    let past = run.history.steps.last();
    let loss_avg = past.map_or(loss, |past| {
        SMOOTHING * past.loss_avg + (1.0 - SMOOTHING) * loss
    });
    Ok(Step {
        step,
        epoch,
        loss,
        loss_avg,
        tokens: scored,
        tokens_seen: rows,
        tokens_per_s: rows as f64 / begun.elapsed().as_secs_f64(),
        seconds: run.seconds(),
        lr,
        grad_norm_softprompt: norms.softprompt,
        grad_norm_shift: norms.shift,
        grad_norm_wkv: norms.wkv,
        gpu_memory: device::card_memory(&work.model.compute().device)?.map(|memory| memory.peak),
    })
}

/// Errors when what was learnt last gives no finite loss: no further step will find that out.
pub fn verify(work: &Work, run: &mut RunState) -> Result<()> {
    let Some(example) = work.data.examples.first() else {
        return Ok(());
    };
    let score = work
        .model
        .score(std::slice::from_ref(example), &run.learner.state())?;
    match score.loss() {
        loss if loss.is_finite() => Ok(()),
        loss => {
            run.updated = None;
            let what = format!("the loss is {loss} after the update");
            Err(lower_the_rate(&what, run.learner.steps(), work.options))
        }
    }
}

/// What to say of a loss and a gradient that are not both finite.
fn diverged(loss: f64, step: usize, options: &Options) -> anyhow::Error {
    // Before the first update the learning rate has done nothing yet.
    if step == 1 && !loss.is_finite() {
        let model = options.model.display();
        return anyhow!(
            "the loss is {loss} at step 1, before anything was learnt: the model {model} is broken, or overflows with \
             this --init"
        );
    }
    let what = match loss.is_finite() {
        false => format!("the loss is {loss}"),
        true => "the gradient is not finite".to_string(),
    };
    lower_the_rate(&what, step, options)
}

fn lower_the_rate(what: &str, step: usize, options: &Options) -> anyhow::Error {
    let rate = options.schedule.peak;
    anyhow!("{what} at step {step}: lower --learningrate (now {rate:?})")
}
