//! Where a run stands: all that its further course depends on, and what a checkpoint holds.

use std::time::Instant;

use anyhow::{Result, ensure};

use super::limits::Limits;
use super::memory_plan::Plan;
use super::{Learner, Options, Stop};
use crate::data::{Example, Walker};
use crate::model::{Rwkv, Score, State};
use crate::report::{Eval, History};

/// Examples that are evaluated between two looks for a signal.
const EXAMPLES_AT_ONCE: usize = 16;

/// A run between two steps.
pub struct RunState {
    pub learner: Learner,
    pub walker: Walker,
    /// Examples that the steps so far drew from the walk.
    pub drawn: usize,
    pub plan: Plan,
    pub history: History,
    /// The best state on the held-out examples, if there are some.
    pub best: Option<Best>,
    /// How long it had trained when this program took it up, and when that was.
    pub before: f64,
    pub begun: Instant,
    /// A copy of the state after the last update, unless it gave no finite loss; and of the last one that did.
    pub updated: Option<State>,
    pub last_good: Option<State>,
}

/// A state and how good it is.
pub struct Best {
    pub step: usize,
    /// On the held-out examples.
    pub loss: f64,
    pub state: State,
}

impl RunState {
    /// A run of so many examples that has not begun.
    pub fn new(options: &Options, model: &Rwkv, examples: usize, plan: Plan) -> Result<Self> {
        Ok(Self {
            learner: Learner::new(
                model.config(),
                options.tune,
                options.init,
                options.seed,
                &model.compute().device,
            )?,
            walker: Walker::new(options.walk, examples, options.seed),
            drawn: 0,
            plan,
            history: History::default(),
            best: None,
            before: 0.0,
            begun: Instant::now(),
            updated: None,
            last_good: None,
        })
    }

    /// How long it has trained, in seconds.
    pub fn seconds(&self) -> f64 {
        self.before + self.begun.elapsed().as_secs_f64()
    }

    /// Holds the state as it is now against examples that are not learnt from, and keeps it if it is the best so far.
    /// `None` if it was interrupted, which may be at any few examples.
    pub fn evaluate(
        &mut self,
        model: &Rwkv,
        held_out: &[Example],
        interrupted: impl Fn() -> bool,
    ) -> Result<Option<Eval>> {
        let (state, mut score) = (self.learner.state(), Score::default());
        for some in held_out.chunks(EXAMPLES_AT_ONCE) {
            if interrupted() {
                return Ok(None);
            }
            score += model.score(some, &state)?;
        }
        let (step, loss) = (self.learner.steps(), score.loss());
        ensure!(
            loss.is_finite(),
            "the loss on held-out examples is {loss} after step {step}: lower --learningrate"
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

    /// Whether the state as it is now should be evaluated and was not: at the start, now and then, and at the end.
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

    /// Why there is no further step, if so, whatever else may stop the run.
    pub fn reached(&self, limits: &Limits) -> Option<Stop> {
        let last = self.history.steps.last()?;
        limits.reached(last.step, last.loss, last.seconds)
    }

    /// Why to stop, if the last `patience` evaluations were no better than one before; 0 never does.
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
