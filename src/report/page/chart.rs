//! One chart: curves over the steps of a run, as inline SVG that stretches to any width.
//!
//! The picture is stretched and its texts are not: they stand around it as HTML, as readable on a phone as on a desk. A
//! unit of the picture's width is one step and its height is [`HEIGHT`] units, whatever its size on the screen;
//! `hover.js` reads the curves back from that. Colours and strokes come from `style.css`, by a series' class.

use std::fmt::Write;

use maud::{Markup, html};

use super::axis::{Axis, Scale, step_ticks};
use super::text::{count, figure};
use crate::report::thin::{means, thin};

const HEIGHT: f64 = 1000.0;
/// From here on, points that jump up and down run into each other.
const MANY: usize = 300;

/// What a chart shows.
pub struct Chart {
    pub title: &'static str,
    /// What it means, in a sentence.
    pub caption: &'static str,
    /// What the values are: written over their axis.
    pub unit: &'static str,
    pub scale: Scale,
    pub series: Vec<Series>,
}

/// One curve of a chart.
pub struct Series {
    pub name: &'static str,
    /// Its colour in `style.css`.
    pub class: &'static str,
    pub mark: Mark,
    /// By step, in order.
    pub points: Vec<(usize, f64)>,
}

/// How a series is drawn.
#[derive(Clone, Copy, PartialEq)]
pub enum Mark {
    Line,
    /// A line with a dot on each of its few points.
    Dots,
    /// A line that jumps up and down: in a long run it would be a mere band, so it is faint, and its course is drawn on it.
    Noisy,
}

/// A series that lies ready on an axis.
struct Curve<'a> {
    series: &'a Series,
    /// Only values that have a place on the axis; the others are gaps, `NaN`.
    points: Vec<(usize, f64)>,
    /// Empty for a series that has no need of it.
    course: Vec<(usize, f64)>,
    /// The last of the points that is no gap.
    last: (usize, f64),
}

impl Chart {
    /// The chart over steps 0 to `last`; `None` when it has no value to show.
    pub fn draw(&self, last: usize) -> Option<Markup> {
        let values = self.series.iter().flat_map(|series| &series.points);
        let axis = Axis::new(self.scale, values.map(|point| point.1))?;
        let curves: Vec<Curve> = self
            .series
            .iter()
            .filter_map(|series| Curve::new(series, &axis))
            .collect();
        let last = last.max(1);
        let percent = |part: f64| format!("{:.2}%", part * 100.0);
        Some(html! {
            figure.chart {
                figcaption {
                    h3 { (self.title) }
                    p { (self.caption) }
                    p.legend {
                        span { "step " b { (count(last)) } }
                        @for curve in &curves {
                            span.(curve.series.class) {
                                i class=[curve.dots().then_some("dots")] {}
                                (curve.series.name) " "
                                b {
                                    (figure(curve.last.1))
                                    @if curve.last.0 != last { " (step " (count(curve.last.0)) ")" }
                                }
                            }
                        }
                    }
                }
                p.unit { (self.unit) @if axis.log { ", log scale" } }
                div.y aria-hidden="true" {
                    @for (place, text) in axis.ticks() {
                        span style={ "bottom:" (percent(place)) } { (text) }
                    }
                }
                svg viewBox={ "0 0 " (last) " " (HEIGHT) } preserveAspectRatio="none" role="img"
                    aria-label={ (self.title) " by step" }
                    data-low=(axis.low) data-high=(axis.high) data-log[axis.log]
                {
                    path.grid d=(grid(&axis, last)) {}
                    path.cursor {}
                    @for curve in &curves {
                        g.(curve.series.class) {
                            path.line stroke-opacity=[curve.faint()] d=(line(&axis, &curve.points)) {}
                            @if curve.dots() { path.dots d=(curve.marks(&axis)) {} }
                        }
                    }
                    @for curve in &curves {
                        @if !curve.course.is_empty() {
                            path.(curve.series.class) d=(line(&axis, &curve.course)) {}
                        }
                    }
                }
                div.x aria-hidden="true" {
                    @for (place, step) in step_ticks(last).map(|step| (step as f64 / last as f64, step)) {
                        // The last number would stand out of the frame.
                        span class=[(place > 0.95).then_some("end")] style={ "left:" (percent(place)) } { (count(step)) }
                    }
                }
                p.steps { "step" }
            }
        })
    }
}

impl<'a> Curve<'a> {
    fn new(series: &'a Series, axis: &Axis) -> Option<Self> {
        let placed = |&(step, value): &(usize, f64)| match axis.place(value) {
            Some(_) => (step, value),
            None => (step, f64::NAN),
        };
        let all: Vec<(usize, f64)> = series.points.iter().map(placed).collect();
        let last = *all.iter().rev().find(|point| !point.1.is_nan())?;
        Some(Self {
            series,
            points: thin(&all),
            course: match series.mark == Mark::Noisy && all.len() > MANY {
                true => means(&all),
                false => Vec::new(),
            },
            last,
        })
    }

    /// A line of one point would not be seen.
    fn dots(&self) -> bool {
        self.series.mark == Mark::Dots || self.points.len() == 1
    }

    fn faint(&self) -> Option<&str> {
        (!self.course.is_empty()).then_some("0.25")
    }

    /// Strokes of no length: their round ends are dots that the stretching leaves round.
    fn marks(&self, axis: &Axis) -> String {
        let marks = self
            .points
            .iter()
            .filter_map(|&(step, value)| at(axis, step, value));
        marks.map(|at| format!("M{at}h0")).collect()
    }
}

/// The path through points, with a new start after each gap.
fn line(axis: &Axis, points: &[(usize, f64)]) -> String {
    let mut path = String::new();
    let mut drawing = false;
    for &(step, value) in points {
        let Some(at) = at(axis, step, value) else {
            drawing = false;
            continue;
        };
        // A start is a line as well, for a point between two gaps.
        let _ = match drawing {
            true => write!(path, " {at}"),
            false => write!(path, "M{at}L{at}"),
        };
        drawing = true;
    }
    path
}

/// A point in the picture's units.
fn at(axis: &Axis, step: usize, value: f64) -> Option<String> {
    let down = (1.0 - axis.place(value)?) * HEIGHT;
    Some(format!("{step} {down:.1}"))
}

fn grid(axis: &Axis, last: usize) -> String {
    let line = |(place, _)| format!("M0 {:.1}H{last}", (1.0 - place) * HEIGHT);
    axis.ticks().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(scale: Scale, values: &[f64]) -> Option<String> {
        let points = values.iter().enumerate().map(|(i, &value)| (i + 1, value));
        let chart = Chart {
            title: "Loss",
            caption: "",
            unit: "loss",
            scale,
            series: vec![Series {
                name: "each step",
                class: "raw",
                mark: Mark::Line,
                points: points.collect(),
            }],
        };
        chart.draw(values.len()).map(Markup::into_string)
    }

    #[test]
    fn a_curve_is_in_steps_and_thousandths() {
        let svg = chart(Scale::Fit, &[4.0, 3.0, 0.0]).unwrap();
        assert!(svg.contains(r#"viewBox="0 0 3 1000""#), "{svg}");
        assert!(
            svg.contains(r#"d="M1 0.0L1 0.0 2 250.0 3 1000.0""#),
            "{svg}"
        );
    }

    #[test]
    fn what_is_no_number_is_a_gap() {
        let values = [4.0, f64::NAN, 2.0, f64::INFINITY, 0.0, 4.0];
        let svg = chart(Scale::Fit, &values).unwrap();
        let path = r#"d="M1 0.0L1 0.0M3 500.0L3 500.0M5 1000.0L5 1000.0 6 0.0""#;
        assert!(svg.contains(path), "{svg}");
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        assert!(chart(Scale::Log, &[0.0, f64::NAN]).is_none());
        assert!(chart(Scale::Log, &[]).is_none());
    }

    #[test]
    fn one_step_is_a_dot() {
        assert!(
            chart(Scale::Fit, &[4.0])
                .unwrap()
                .contains(r#"d="M1 0.0h0""#)
        );
    }
}
