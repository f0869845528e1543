//! Where a run stands: all that its next steps depend on, and what a checkpoint holds.

use std::time::Instant;

use anyhow::{Result, ensure};

use super::context::{RunContext, Watch};
use super::limits::{self, Limits};
use super::memory_plan::Plan;
use super::{Learner, Options, Stop};
use crate::data::Walker;
use crate::distributed::Stage;
use crate::evaluate::{self, Score};
use crate::model::{Rwkv, State};
use crate::ops::device;
use crate::report::{Eval, History};
use crate::setting::LEARNING_RATE;

/// Examples that are evaluated between two looks for a signal.
const EXAMPLES_AT_ONCE: usize = 16;

/// A run between two steps.
pub struct RunState {
    pub learner: Learner,
    /// What it learns from, in main memory.
    pub start: State,
    /// Chooses the examples of the next steps.
    pub walker: Walker,
    /// Examples that the updates so far were made from. `walker.drawn()` is ahead of it by one
    /// batch between a step's backward pass and its update, which is when a checkpoint is written:
    /// a run that goes on from there draws that batch again.
    pub drawn: usize,
    /// How much of a batch is computed at once. It shrinks where a GPU's memory is too small for
    /// it.
    pub plan: Plan,
    /// What computes it, in words.
    pub computed_by: String,
    /// How many ranks compute it.
    pub ranks: usize,
    pub history: History,
    /// The best state on the held-out examples, if there are some.
    pub best: Option<Best>,
    /// Seconds that it had trained when this program began or resumed it.
    pub before: f64,
    /// When this program began or resumed it.
    pub begun: Instant,
    pub backup: Backup,
}

/// Copies of the state in main memory, of which one is saved when a run ends in an error.
#[derive(Default)]
pub struct Backup {
    /// After the last update. Nothing was computed from it yet.
    untried: Option<State>,
    /// The last state, but for the start, that gave a finite loss and gradient.
    good: Option<State>,
}

impl Backup {
    /// Keeps a copy of the state after an update.
    pub fn updated(&mut self, state: State) {
        self.untried = Some(state);
    }

    /// The state as it is now gave a finite loss and gradient. Copies it if that is still to be
    /// done.
    pub fn confirm(&mut self, learner: &Learner) -> Result<()> {
        self.good = match (learner.steps(), self.untried.take()) {
            (0, _) => None,
            (_, Some(state)) => Some(state),
            (_, None) => Some(learner.snapshot()?),
        };
        Ok(())
    }

    /// The state as it is now gave no finite loss or gradient: only one before it is worth saving.
    pub fn reject(&mut self) {
        self.untried = None;
    }

    /// What to save, if anything was learnt.
    pub fn state(&self) -> Option<&State> {
        self.untried.as_ref().or(self.good.as_ref())
    }
}

/// A state and how good it is.
pub struct Best {
    /// The last step that it was learnt in.
    pub step: usize,
    /// On the held-out examples.
    pub loss: f64,
    pub state: State,
}

impl RunState {
    /// A run of so many examples that has not begun, and will begin at `start`.
    pub fn new(
        options: &Options,
        model: &Rwkv,
        examples: usize,
        start: State,
        plan: Plan,
    ) -> Result<Self> {
        let on_device = start.to_device(&model.compute().device)?;
        Ok(Self {
            learner: Learner::new(&on_device, options.tune)?,
            start,
            walker: Walker::new(options.walk, examples, options.seed),
            drawn: 0,
            plan,
            computed_by: device::describe(model.compute())?,
            ranks: 1,
            history: History::default(),
            best: None,
            before: 0.0,
            begun: Instant::now(),
            backup: Backup::default(),
        })
    }

    /// How long it has trained, in seconds.
    pub fn seconds(&self) -> f64 {
        self.before + self.begun.elapsed().as_secs_f64()
    }

    /// Evaluates the state as it is now on held-out examples, shared out among the ranks, and keeps
    /// it if it is the best so far. `None` if a signal came to one of them.
    pub fn evaluate(&mut self, context: &RunContext, watch: &Watch) -> Result<Option<Eval>> {
        let ranks = context.ranks;
        let score = self.score_share(context, watch);
        let score = watch.files.check().and(score).map(|score| {
            let is_whole = f64::from(u8::from(score.is_some()));
            let Score { sum, hits, tokens } = score.unwrap_or_default();
            let signal = watch.signals.number();
            (
                [
                    sum,
                    hits as f64,
                    tokens as f64,
                    is_whole,
                    signal,
                    0.0,
                    0.0,
                    0.0,
                ],
                (),
            )
        });
        let (rows, ()) = ranks.exchange(Stage::Evaluation, score)?;
        watch.signals.agree(rows.iter().map(|row| row[4]));
        if rows.iter().any(|row| row[3] == 0.0) {
            return Ok(None);
        }
        let mut score = Score::default();
        for [sum, hits, tokens, ..] in rows {
            score += Score {
                sum,
                hits: hits as usize,
                tokens: tokens as usize,
            };
        }
        let (step, loss) = (self.learner.steps(), score.loss());
        ensure!(
            loss.is_finite(),
            "the loss on held-out examples is {loss} after step {step}: lower {LEARNING_RATE}"
        );
        let eval = Eval {
            step,
            loss,
            accuracy: score.accuracy(),
        };
        self.history.evals.push(eval.clone());
        let best = self.best.as_ref().map_or(f64::INFINITY, |best| best.loss);
        if loss < best {
            let state = self.learner.snapshot()?;
            self.best = Some(Best { step, loss, state });
        }
        Ok(Some(eval))
    }

    /// This rank's share of the held-out examples. `None` if a signal came, which is asked every few
    /// examples.
    fn score_share(&self, context: &RunContext, watch: &Watch) -> Result<Option<Score>> {
        let (ranks, held_out) = (context.ranks, &context.data.held_out);
        let at_once = held_out
            .len()
            .div_ceil(ranks.count())
            .clamp(1, EXAMPLES_AT_ONCE);
        let (state, mut score) = (self.learner.state(), Score::default());
        for some in held_out
            .chunks(at_once)
            .skip(ranks.rank())
            .step_by(ranks.count())
        {
            if watch.signals.caught().is_some() {
                return Ok(None);
            }
            score += evaluate::score(context.model, some, &state)?;
        }
        Ok(Some(score))
    }

    /// Whether the state as it is now should be evaluated and was not: at the start, now and then,
    /// and at the end.
    pub fn owes_evaluation(&self, every: usize, is_last: bool) -> bool {
        let step = self.learner.steps();
        let is_done = self
            .history
            .evals
            .last()
            .is_some_and(|eval| eval.step == step);
        let is_due = step == 0 || is_last || (every > 0 && step.is_multiple_of(every));
        is_due && !is_done
    }

    /// Its limits, over so many examples: batches may have been of another size before it was resumed.
    pub fn limits(&self, options: &Options, examples: usize) -> Limits {
        let done = (self.learner.steps(), self.drawn);
        Limits {
            steps: limits::steps(options.max_epochs, examples, options.batch_size, done),
            exit_loss: options.exit_loss,
            max_epochs: options.max_epochs,
            max_time: options.max_time,
        }
    }

    /// Why there is no further step, if so: a limit, or evaluations that were no better.
    pub fn end(&self, limits: &Limits, options: &Options) -> Option<Stop> {
        let reached = self.reached(limits);
        reached.or_else(|| self.out_of_patience(options.evaluation.patience))
    }

    /// Why there is no further step, if so, whatever else may stop the run.
    pub fn reached(&self, limits: &Limits) -> Option<Stop> {
        let last = self.history.steps.last()?;
        limits.reached(last.step, last.loss, last.seconds)
    }

    /// Why to stop, if the last `patience` evaluations were no better than one before; 0 never
    /// does.
    pub fn out_of_patience(&self, patience: usize) -> Option<Stop> {
        let best = self.best.as_ref().map_or(0, |best| best.step);
        let evals = self
            .history
            .evals
            .iter()
            .filter(|eval| eval.step > best)
            .count();
        (patience > 0 && evals >= patience).then_some(Stop::Patience { evals })
    }
}
