//! One step, in two parts: a batch forward and backward, then Adam; and the errors
//! of a loss or a gradient that is not finite.

use std::time::Instant;

use anyhow::{Result, anyhow};

use super::Options;
use super::context::{RunContext, Watch};
use super::gradient::{self, BatchGradient};
use super::learner::{self, Norms};
use super::run_state::RunState;
use crate::distributed::{Row, Stage};
use crate::evaluate;
use crate::model::Sequence;
use crate::ops::device;
use crate::report::Step;
use crate::setting::{INIT, LEARNING_RATE};
use crate::state_file;

/// Weight of the past in `loss_avg`: a memory of about twenty steps.
const SMOOTHING: f64 = 0.95;

/// A batch that was computed and not yet learnt from.
pub struct Computed {
    begun: Instant,
    epoch: usize,
    batched: BatchGradient,
    norms: Norms,
    /// Completion tokens that were predicted.
    targets: usize,
    /// All rows, soft prompts' included.
    rows: usize,
}

/// Forward and backward. Errors when loss and gradient are not finite.
pub fn compute(context: &RunContext, run: &mut RunState, watch: &Watch) -> Result<Computed> {
    let (options, examples) = (context.options, &context.data.examples);
    let (begun, step) = (Instant::now(), run.learner.steps() + 1);
    let epoch = 1 + run.drawn / examples.len();
    let drawn = run.walker.batch(options.batch_size);
    let batch: Vec<Sequence> = drawn.into_iter().map(|i| (&examples[i]).into()).collect();
    let batched = gradient::of_batch(context, run, &batch, watch)?;
    let norms = run.learner.norms(&batched.gradient)?;
    let is_finite = norms
        .iter()
        .all(|(_, norm)| norm.is_none_or(f64::is_finite));
    if !batched.loss.is_finite() || !is_finite {
        run.backup.reject();
        return Err(diverged(batched.loss, step, options));
    }
    run.backup.confirm(&run.learner)?;
    let first_row = run.learner.first_row();
    Ok(Computed {
        begun,
        epoch,
        batched,
        norms,
        targets: batch.iter().map(|s| s.targets(first_row)).sum(),
        rows: batch.iter().map(|s| s.rows(first_row)).sum(),
    })
}

/// Clipping and Adam. Errors when what is learnt could no longer be saved.
pub fn update(context: &RunContext, run: &mut RunState, computed: Computed) -> Result<Step> {
    let options = context.options;
    let Computed {
        begun,
        epoch,
        batched,
        norms,
        targets,
        rows,
    } = computed;
    let BatchGradient {
        loss,
        gradient,
        seconds,
        waited,
    } = batched;
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
    let took = begun.elapsed().as_secs_f64();
    let ranks = context.ranks.count();
    Ok(Step {
        step,
        epoch,
        loss,
        loss_avg,
        tokens: targets,
        tokens_seen: rows,
        tokens_per_s: rows as f64 / took,
        seconds,
        learning_rate,
        grad_norms: norms,
        gpu_memory: device::gpu_memory(&context.model.compute().device)?.map(|memory| memory.peak),
        ranks: (ranks > 1).then_some(ranks),
        waiting: (ranks > 1).then_some((waited / took).min(1.0)),
    })
}

/// Errors when the state after the last update gives a loss that is not finite, or is not the same on
/// all ranks. No further step would find that out.
pub fn verify(context: &RunContext, run: &mut RunState) -> Result<()> {
    let ranks = context.ranks;
    if ranks.count() > 1 {
        let mut row = Row::default();
        let checksum = run.learner.checksum().map(|checksum| {
            row[0] = f64::from(checksum);
            (row, ())
        });
        let (rows, ()) = ranks.exchange(Stage::End, checksum)?;
        if let Err(error) = ranks.ensure_same("state", rows.iter().map(|row| row[0])) {
            run.backup.reject();
            return Err(error);
        }
    }
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
