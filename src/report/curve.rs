//! The loss curve: a picture of every step's loss beside the state.

use std::io::{self, Write};
use std::path::Path;

use plotters::prelude::*;

use super::History;
use crate::files;

/// Writes an SVG of (loss, smoothed loss) by step, atomically. Needs at least one step.
pub fn write(path: &Path, history: &History) -> io::Result<()> {
    let steps = history.steps.iter();
    let losses: Vec<(f64, f64)> = steps.map(|step| (step.loss, step.loss_avg)).collect();
    let mut svg = String::new();
    draw(&mut svg, &losses)
        .map_err(|e| io::Error::other(format!("cannot draw the loss curve: {e}")))?;
    files::replace(path, |file| file.write_all(svg.as_bytes()))
}

fn draw(svg: &mut String, losses: &[(f64, f64)]) -> Result<(), Box<dyn std::error::Error>> {
    let root = SVGBackend::with_string(svg, (800, 450)).into_drawing_area();
    root.fill(&WHITE)?;
    // A line needs two ends: a run of one step gets an axis that is one step long all the same.
    let steps = losses.len().max(2);
    let highest = losses.iter().map(|&(loss, _)| loss).fold(0.0, f64::max);
    let top = if highest > 0.0 { highest * 1.05 } else { 1.0 };
    let mut chart = ChartBuilder::on(&root)
        .caption("loss", ("sans-serif", 20))
        .margin(12)
        .x_label_area_size(36)
        .y_label_area_size(56)
        .build_cartesian_2d(1..steps, 0.0..top)?;
    chart
        .configure_mesh()
        .x_desc("step")
        .light_line_style(WHITE)
        .draw()?;

    let raw = RGBColor(160, 190, 230);
    let smooth = RGBColor(20, 60, 140);
    let points = |pick: fn(&(f64, f64)) -> f64| {
        losses
            .iter()
            .enumerate()
            .map(move |(i, pair)| (i + 1, pick(pair)))
    };
    let line = |color: RGBColor| move |(x, y)| PathElement::new(vec![(x, y), (x + 16, y)], color);
    chart
        .draw_series(LineSeries::new(points(|p| p.0), &raw))?
        .label("each step")
        .legend(line(raw));
    chart
        .draw_series(LineSeries::new(points(|p| p.1), smooth.stroke_width(2)))?
        .label("smoothed")
        .legend(line(smooth));
    chart
        .configure_series_labels()
        .border_style(BLACK.mix(0.3))
        .background_style(WHITE)
        .draw()?;
    root.present()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_of_any_length_is_a_picture() {
        for steps in [1, 2, 500] {
            let losses: Vec<(f64, f64)> = (0..steps).map(|i| (3.0 / (i + 1) as f64, 3.0)).collect();
            let mut svg = String::new();
            draw(&mut svg, &losses).unwrap();
            assert!(
                svg.starts_with("<svg")
                    && svg.trim_end().ends_with("</svg>")
                    && svg.contains("polyline"),
                "{steps}"
            );
        }
    }

    #[test]
    fn losses_of_zero_have_an_axis() {
        let mut svg = String::new();
        draw(&mut svg, &[(0.0, 0.0), (0.0, 0.0)]).unwrap();
    }
}
