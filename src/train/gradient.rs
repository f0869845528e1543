//! Loss and gradient of a batch: this rank's share of it, within memory, and the sum over all ranks.

use anyhow::Result;

use super::context::{RunContext, Watch};
use super::memory_plan::Plan;
use super::run_state::RunState;
use super::share::{Flat, share_out};
use crate::distributed::{Row, Stage};
use crate::model::{Sequence, State};
use crate::ops::device;
use crate::setting::{COMPLETION_CUTOFF, PROMPT_CUTOFF, WEIGHTS};

/// A batch, forward and backward, as all ranks have it.
pub struct BatchGradient {
    pub loss: f64,
    pub gradient: State,
    /// How long the run has trained, by the first rank's clock.
    pub seconds: f64,
    /// Seconds that a rank waited for others since the step before, on the average.
    pub waited: f64,
}

/// What a rank tells the others of its share, by place.
mod told {
    /// Its part of the loss.
    pub const LOSS: usize = 0;
    /// The signal that came to it; 0 is none.
    pub const SIGNAL: usize = 1;
    /// How long the run has trained.
    pub const SECONDS: usize = 2;
    /// Of its state.
    pub const CHECKSUM: usize = 3;
    /// Seconds that it waited since it last told.
    pub const WAITED: usize = 4;
    /// A plan that its memory may hold, if it did not hold what was tried; else zeros.
    pub const PLAN: std::ops::Range<usize> = 5..7;
}

/// What became of a rank's share.
enum Attempt {
    /// Its part of the loss and of the gradient; the latter also to be summed, where there are more.
    Done(f64, State, Option<Flat>),
    /// The GPU's memory is too small; less at once may do.
    Smaller(Plan),
}

/// Computes a batch. Where a GPU's memory does not hold a part of it, parts are halved from here on, on
/// all ranks.
pub fn of_batch(
    context: &RunContext,
    run: &mut RunState,
    batch: &[Sequence],
    watch: &Watch,
) -> Result<BatchGradient> {
    let ranks = context.ranks;
    let first_row = run.learner.first_row();
    let rows: Vec<usize> = batch.iter().map(|s| s.rows(first_row)).collect();
    let share = share_out(&rows, ranks.count()).swap_remove(ranks.rank());
    let share: Vec<Sequence> = share.into_iter().map(|i| batch[i]).collect();
    let targets = batch.iter().map(|s| s.targets(first_row)).sum();
    let checksum = match ranks.count() {
        1 => 0,
        _ => run.learner.checksum()?,
    };
    loop {
        let attempt = attempt(context, run, &share, targets);
        let attempt = watch.files.check().and(attempt).map(|attempt| {
            let mut row = Row::default();
            row[told::SIGNAL] = watch.signals.number();
            row[told::SECONDS] = run.seconds();
            row[told::CHECKSUM] = f64::from(checksum);
            row[told::WAITED] = ranks.waited();
            match &attempt {
                Attempt::Done(loss, ..) => row[told::LOSS] = *loss,
                Attempt::Smaller(plan) => row[told::PLAN].copy_from_slice(&plan.told()),
            }
            (row, attempt)
        });
        let (all, attempt) = ranks.exchange(Stage::Step, attempt)?;
        let column = |at: usize| all.iter().map(move |row| row[at]);
        watch.signals.agree(column(told::SIGNAL));
        if let Err(error) = ranks.ensure_same("state", column(told::CHECKSUM)) {
            run.backup.reject();
            return Err(error);
        }
        let planned = || {
            let plans = all.iter().map(|row| &row[told::PLAN]);
            plans.map(|plan| [plan[0], plan[1]])
        };
        let all_done = planned().all(|plan| plan == [0.0; 2]);
        match (attempt, all_done) {
            (Attempt::Done(_, gradient, flat), true) => {
                let tune = context.options.tune;
                return Ok(BatchGradient {
                    loss: column(told::LOSS).sum(),
                    gradient: match flat {
                        Some(flat) => flat.sum(ranks, &gradient, tune)?,
                        None => gradient,
                    },
                    seconds: all[0][told::SECONDS],
                    waited: column(told::WAITED).sum::<f64>() / ranks.count() as f64,
                });
            }
            _ => {
                run.plan.restrict(planned());
                let plan = &run.plan;
                watch.console.line(&format!(
                    "note   the GPU's memory is full; the step is computed again, {plan}"
                ));
            }
        }
    }
}

/// This rank's share: its part of the loss and of the gradient of a batch with so many targets.
fn attempt(
    context: &RunContext,
    run: &RunState,
    share: &[Sequence],
    targets: usize,
) -> Result<Attempt> {
    let computed = (run.learner).accumulate_share(context.model, share, targets, &run.plan);
    let error = match computed {
        Err(error) if device::is_out_of_memory(&error) => error,
        Err(error) => return Err(error),
        Ok((loss, gradient)) => {
            let is_shared = context.ranks.count() > 1;
            let flat = is_shared.then(|| Flat::of(&gradient, context.options.tune));
            return Ok(Attempt::Done(loss, gradient, flat.transpose()?));
        }
    };
    device::give_back_memory(&context.model.compute().device)?;
    let first_row = run.learner.first_row();
    let rows: Vec<usize> = share.iter().map(|s| s.rows(first_row)).collect();
    match run.plan.smaller(&rows) {
        Some(smaller) => Ok(Attempt::Smaller(smaller)),
        None => Err(error.context(format!(
            "the GPU's memory does not hold the longest example; cut it by {PROMPT_CUTOFF} and \
             {COMPLETION_CUTOFF}, or hold less of the model by {WEIGHTS}"
        ))),
    }
}
