//! Where a run stands: a bar that redraws itself on a terminal, plain lines elsewhere.

use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::print;

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
                    print(&format!("step {step}/{}  {message}", self.steps));
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
    pub fn print_line(&self) -> impl Fn(&str) + Send + 'static {
        let bar = match &self.view {
            View::Bar(bar) => Some(bar.clone()),
            View::Lines { .. } => None,
        };
        move |line| match &bar {
            Some(bar) => bar.println(line),
            None => print(line),
        }
    }

    /// Leaves the bar where it stands, so that lines may follow.
    pub fn finish(self) {
        if let View::Bar(bar) = self.view {
            bar.abandon();
        }
    }
}
