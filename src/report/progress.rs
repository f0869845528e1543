//! Where a run stands: a bar that redraws itself on a terminal, plain lines elsewhere.

use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::{Step, duration, say};

/// Plain lines come no closer together than this, but for the first and the last.
const LINE_EVERY: Duration = Duration::from_secs(2);

/// Shows each step of a run.
pub struct Progress {
    steps: usize,
    view: View,
}

enum View {
    Bar(ProgressBar),
    Lines { last: Option<Instant> },
}

impl Progress {
    /// Progress over `steps` steps, of which some may be done: a bar when standard output and standard error are a terminal.
    pub fn new(steps: usize, done: usize) -> Self {
        let terminal = io::stdout().is_terminal() && io::stderr().is_terminal();
        let view = if terminal {
            let bar = ProgressBar::new(steps as u64);
            // A template that indicatif refuses would leave its default style, which is still a bar.
            if let Ok(style) = ProgressStyle::with_template("{bar:24.cyan} {pos}/{len}  {msg}") {
                bar.set_style(style.progress_chars("━╸ "));
            }
            bar.set_position(done as u64);
            View::Bar(bar)
        } else {
            View::Lines { last: None }
        };
        Self { steps, view }
    }

    /// Shows a step that is done; `left` is the time that the run may still take.
    pub fn step(&mut self, step: &Step, left: f64) {
        match &mut self.view {
            View::Bar(bar) => {
                bar.set_position(step.step as u64);
                bar.set_message(describe(step, left));
            }
            View::Lines { last } => {
                if step.step == self.steps || last.is_none_or(|last| last.elapsed() >= LINE_EVERY) {
                    *last = Some(Instant::now());
                    say(&format!(
                        "step {}/{}  {}",
                        step.step,
                        self.steps,
                        describe(step, left)
                    ));
                }
            }
        }
    }

    /// Shows that held-out examples are looked at, which may take a while; lines tell of that when it is done.
    pub fn evaluating(&self) {
        if let View::Bar(bar) = &self.view {
            bar.set_message("looking at held-out examples");
        }
    }

    /// A way to say something while the run goes on, from any thread: above the bar, where there is one.
    pub fn voice(&self) -> impl Fn(&str) + Send + 'static {
        let bar = match &self.view {
            View::Bar(bar) => Some(bar.clone()),
            View::Lines { .. } => None,
        };
        move |line| match &bar {
            Some(bar) => bar.println(line),
            None => say(line),
        }
    }

    /// Leaves the bar where it stands, so that lines may follow.
    pub fn finish(self) {
        if let View::Bar(bar) = self.view {
            bar.abandon();
        }
    }
}

fn describe(step: &Step, left: f64) -> String {
    format!(
        "epoch {}  loss {:.4}  avg {:.4}  {:.0} tokens/s  {} left",
        step.epoch,
        step.loss,
        step.loss_avg,
        step.tokens_per_s,
        duration(left)
    )
}
