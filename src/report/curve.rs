//! The loss curve: a picture of every step's loss beside the state.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::{Finished, History, Record, charts};
use crate::files;

/// How the file begins.
const START: &str = "<svg";

/// The loss curve of a run, drawn at its end.
pub struct Curve(PathBuf);

impl Curve {
    /// A curve that is to be drawn at `path`.
    pub fn new(path: &Path) -> Self {
        Self(path.to_path_buf())
    }

    /// Whether what is at `path` may be replaced: an SVG, as an earlier curve is.
    pub fn is_ours(path: &Path) -> bool {
        let mut start = [0; START.len()];
        let read = File::open(path).and_then(|mut file| file.read_exact(&mut start));
        read.is_ok() && start == START.as_bytes()
    }
}

impl Record for Curve {
    fn name(&self) -> &'static str {
        "loss curve"
    }

    fn path(&self) -> PathBuf {
        self.0.clone()
    }

    /// Draws the losses by step, smoothed ones and held-out ones too, atomically.
    fn finish(&mut self, run: &Finished) -> Result<bool> {
        if run.learnt.is_none() {
            return Ok(false);
        }
        let svg = draw(run.history);
        files::replace(&self.0, |file| file.write_all(svg.as_bytes()))?;
        Ok(true)
    }
}

fn draw(history: &History) -> String {
    charts::loss(history).svg(history.last_step()).into_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::PerGroup;
    use crate::report::{Eval, Step};

    fn history(losses: impl Iterator<Item = f64>) -> History {
        let step = |(i, loss)| Step {
            step: i + 1,
            epoch: 1,
            loss,
            loss_avg: 3.0,
            tokens: 1,
            tokens_seen: 1,
            tokens_per_s: 1.0,
            seconds: 1.0,
            learning_rate: 0.01,
            grad_norms: PerGroup::default(),
            gpu_memory: None,
            ranks: None,
            waiting: None,
        };
        History {
            steps: losses.enumerate().map(step).collect(),
            evals: Vec::new(),
        }
    }

    /// Draws the curve of a run that learnt something.
    fn finish(path: &Path, history: &History) -> bool {
        let learnt = || unreachable!("the curve shows none of it");
        let run = Finished {
            title: "state.pth",
            history,
            summary: "",
            options: &[],
            machine: &[],
            learnt: Some(&learnt),
        };
        Curve::new(path).finish(&run).unwrap()
    }

    #[test]
    fn a_curve_of_any_length_is_a_picture() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state.loss.svg");
        for steps in [1, 2, 500, 100_000] {
            let history = history((0..steps).map(|i| 3.0 / (i + 1) as f64));
            assert!(finish(&path, &history));
            let svg = std::fs::read_to_string(&path).unwrap();
            assert!(
                svg.starts_with("<svg") && svg.ends_with("</svg>"),
                "{steps}"
            );
            // The grid and two curves, which are dots as well where they are single points.
            assert_eq!(svg.matches(r#"fill="none" stroke="#).count(), 3, "{steps}");
            let circles = if steps == 1 { 4 } else { 0 };
            assert_eq!(svg.matches("<circle").count(), circles, "{steps}");
            assert!(!svg.contains("held-out"), "{steps}: nothing was held out");
            assert!(svg.len() < 100_000, "{steps}: {} bytes", svg.len());
            assert!(
                Curve::is_ours(&path),
                "{steps}: the next run may replace it"
            );
        }
    }

    #[test]
    fn nothing_learnt_has_no_curve() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state.loss.svg");
        let run = Finished {
            title: "state.pth",
            history: &History::default(),
            summary: "",
            options: &[],
            machine: &[],
            learnt: None,
        };
        assert!(!Curve::new(&path).finish(&run).unwrap());
        assert!(!path.exists() && !Curve::is_ours(&path));
    }

    #[test]
    fn held_out_losses_are_dots() {
        let mut run = history([3.0, 2.0].into_iter());
        run.evals = [(0, 3.0), (2, f64::NAN), (2, 2.5)]
            .map(|(step, loss)| Eval {
                step,
                loss,
                accuracy: 0.5,
            })
            .to_vec();
        let svg = draw(&run);
        assert_eq!(
            svg.matches("<circle").count(),
            3,
            "two losses and the legend"
        );
    }

    #[test]
    fn losses_of_zero_have_an_axis() {
        let mut run = history([0.0, 0.0].into_iter());
        for step in &mut run.steps {
            step.loss_avg = 0.0;
        }
        let svg = draw(&run);
        for number in [">0</text>", ">0.5</text>", ">1</text>"] {
            assert!(svg.contains(number), "{number} in {svg}");
        }
        // Both curves lie on the axis's foot, from the first step, in the middle, to the last.
        let line = r#"d="M416 402.0L416 402.0 768 402.0""#;
        assert_eq!(svg.matches(line).count(), 2, "{svg}");
    }

    #[test]
    fn losses_that_are_no_numbers_are_left_out() {
        let losses = [f64::NAN, f64::INFINITY, f64::MAX, 1.0];
        let svg = draw(&history(losses.into_iter()));
        assert!(!svg.contains("NaN") && !svg.contains("inf"));
    }
}
