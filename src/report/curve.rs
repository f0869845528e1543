//! The loss curve: a picture of every step's loss beside the state.

use std::io::{self, Write};
use std::path::Path;

use plotters::prelude::*;

use super::History;
use super::thin::thin;
use crate::files;

/// Writes an SVG of the losses by step, smoothed ones and held-out ones too, atomically. Needs at least one step.
pub fn write(path: &Path, history: &History) -> io::Result<()> {
    let mut svg = String::new();
    draw(&mut svg, history)
        .map_err(|e| io::Error::other(format!("cannot draw the loss curve: {e}")))?;
    files::replace(path, |file| file.write_all(svg.as_bytes()))
}

fn draw(svg: &mut String, history: &History) -> Result<(), Box<dyn std::error::Error>> {
    let steps = history.steps.iter();
    let raw = series(steps.clone().map(|s| (s.step, s.loss)));
    let smooth = series(steps.map(|s| (s.step, s.loss_avg)));
    let held_out = series(history.evals.iter().map(|e| (e.step, e.loss)));
    let all = || raw.iter().chain(&smooth).chain(&held_out);

    let root = SVGBackend::with_string(svg, (800, 450)).into_drawing_area();
    root.fill(&WHITE)?;
    // A line needs two ends: a run of one step gets an axis that is one step long all the same.
    let first = all().map(|point| point.0).min().unwrap_or(1);
    let last = all().map(|point| point.0).max().unwrap_or(1).max(first + 1);
    let highest = all().map(|point| point.1).fold(0.0, f64::max);
    let top = if highest > 0.0 { highest * 1.05 } else { 1.0 };
    let mut chart = ChartBuilder::on(&root)
        .caption("loss", ("sans-serif", 20))
        .margin(12)
        .x_label_area_size(36)
        .y_label_area_size(56)
        .build_cartesian_2d(first..last, 0.0..top)?;
    chart
        .configure_mesh()
        .x_desc("step")
        .light_line_style(WHITE)
        .draw()?;

    let pale = RGBColor(160, 190, 230);
    let dark = RGBColor(20, 60, 140);
    let orange = RGBColor(196, 80, 15);
    let line = |color: RGBColor| move |(x, y)| PathElement::new(vec![(x, y), (x + 16, y)], color);
    chart
        .draw_series(LineSeries::new(raw, &pale))?
        .label("each step")
        .legend(line(pale));
    chart
        .draw_series(LineSeries::new(smooth, dark.stroke_width(2)))?
        .label("smoothed")
        .legend(line(dark));
    if !held_out.is_empty() {
        let dot = move |at| Circle::new(at, 3, orange.filled());
        chart
            .draw_series(held_out.into_iter().map(dot))?
            .label("held-out")
            .legend(move |(x, y)| Circle::new((x + 8, y), 3, orange.filled()));
    }
    chart
        .configure_series_labels()
        .border_style(BLACK.mix(0.3))
        .background_style(WHITE)
        .draw()?;
    root.present()?;
    Ok(())
}

/// What can be drawn of a series: all that an axis can be made for.
fn series(points: impl Iterator<Item = (usize, f64)>) -> Vec<(usize, f64)> {
    thin(
        &points
            .filter(|point| point.1.abs() < 1e300)
            .collect::<Vec<_>>(),
    )
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
        };
        History {
            steps: losses.enumerate().map(step).collect(),
            evals: Vec::new(),
        }
    }

    #[test]
    fn a_curve_of_any_length_is_a_picture() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state.loss.svg");
        for steps in [1, 2, 500, 100_000] {
            write(&path, &history((0..steps).map(|i| 3.0 / (i + 1) as f64))).unwrap();
            let svg = std::fs::read_to_string(&path).unwrap();
            assert!(
                svg.starts_with("<svg")
                    && svg.trim_end().ends_with("</svg>")
                    && svg.contains("polyline"),
                "{steps}"
            );
            assert!(!svg.contains("circle"), "{steps}: nothing was held out");
            assert!(svg.len() < 100_000, "{steps}: {} bytes", svg.len());
        }
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
        let mut svg = String::new();
        draw(&mut svg, &run).unwrap();
        assert_eq!(
            svg.matches("<circle").count(),
            3,
            "two losses and the legend"
        );
    }

    #[test]
    fn losses_of_zero_have_an_axis() {
        let mut svg = String::new();
        draw(&mut svg, &history([0.0, 0.0].into_iter())).unwrap();
    }

    #[test]
    fn losses_that_are_no_numbers_are_left_out() {
        let mut svg = String::new();
        draw(
            &mut svg,
            &history([f64::NAN, f64::INFINITY, f64::MAX, 1.0].into_iter()),
        )
        .unwrap();
        assert!(!svg.contains("NaN") && !svg.contains("inf"));
    }
}
