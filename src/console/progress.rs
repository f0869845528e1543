//! How far a run is: a bar that redraws itself on a terminal, plain lines elsewhere.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::{Console, Destination, bar};

/// The least time between two plain lines, except for the first and the last.
const LINE_EVERY: Duration = Duration::from_secs(2);

/// Shows each step of a run.
pub struct Progress {
    steps: usize,
    console: Console,
    view: View,
}

enum View {
    Bar(ProgressBar),
    /// When the last line was shown.
    Lines {
        last: Option<Instant>,
    },
}

impl Progress {
    /// Progress over `steps` steps, of which `done` are done: a bar when standard output and
    /// standard error are a terminal.
    pub fn new(console: &Console, steps: usize, done: usize) -> Self {
        let view = if console.has_bars() {
            let bar = bar::new(Some(steps as u64));
            // A template that indicatif refuses would leave its default style, which is still a
            // bar.
            let template = format!(
                "{{bar:{}.cyan}} {{pos}}/{{len}}  {{wide_msg}}",
                bar::width()
            );
            if let Ok(style) = ProgressStyle::with_template(&template) {
                bar.set_style(style.progress_chars("━╸ "));
            }
            bar.set_position(done as u64);
            View::Bar(bar)
        } else {
            View::Lines { last: None }
        };
        Self {
            steps,
            console: console.clone(),
            view,
        }
    }

    /// Shows that step `step` is done, described by `message`.
    pub fn step(&mut self, step: usize, message: &str) {
        match &mut self.view {
            View::Bar(bar) => {
                bar.set_position(step as u64);
                bar.set_message(message.to_string());
            }
            View::Lines { last } => {
                if step == self.steps || last.is_none_or(|last| last.elapsed() >= LINE_EVERY) {
                    *last = Some(Instant::now());
                    let line = format!("step {step}/{}  {message}", self.steps);
                    self.console.line(&line);
                }
            }
        }
    }

    /// Shows that held-out examples are being evaluated, which may take a while. Where there is no
    /// bar, the line with the result is enough.
    pub fn evaluating(&self) {
        if let View::Bar(bar) = &self.view {
            bar.set_message("looking at held-out examples");
        }
    }

    /// A console for lines while the run goes on: they stand above the bar, where there is one.
    pub fn console(&self) -> Console {
        match &self.view {
            View::Bar(bar) => self.console.at(Destination::AboveBar(bar.clone())),
            View::Lines { .. } => self.console.clone(),
        }
    }

    /// Leaves the bar where it stands, so that lines may follow.
    pub fn finish(self) {
        if let View::Bar(bar) = self.view {
            bar.abandon();
        }
    }
}
