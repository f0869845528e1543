//! A chart: curves over the steps of a run, laid out once and drawn in two ways: [`html`] for a
//! page, which stretches to any width, and [`svg`] as a picture of its own.

pub mod axis;
mod html;
pub mod number;
mod svg;
mod thin;

use std::fmt::Write;

use maud::Markup;

use self::axis::{Axis, Scale};
use self::thin::{means, thin};

/// With more points than this, those that jump up and down run into each other.
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
    pub style: Style,
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
    /// A line that jumps up and down. In a long run it would be a mere band, so it is faint, and
    /// the means of its stretches are drawn over it.
    Noisy,
}

/// A series' colour and line: a page takes them from `style.css` by the class, a picture from here.
#[derive(Clone, Copy)]
pub struct Style {
    pub class: &'static str,
    colour: &'static str,
    /// In CSS pixels.
    width: f64,
}

impl Style {
    pub const RAW: Self = Self::new("raw", "#a9c5e2", 1.0);
    pub const SMOOTH: Self = Self::new("smooth", "#1f5c99", 1.75);
    pub const HELD_OUT: Self = Self::new("held", "#c4500f", 1.25);
    pub const ONE: Self = Self::new("one", "#1f5c99", 1.75);
    pub const TWO: Self = Self::new("two", "#c4500f", 1.75);
    pub const THREE: Self = Self::new("three", "#2f9e79", 1.75);

    const fn new(class: &'static str, colour: &'static str, width: f64) -> Self {
        Self {
            class,
            colour,
            width,
        }
    }
}

impl Chart {
    /// The chart over steps 0 to `last` as a part of a page; `None` when it has no value to show.
    pub fn html(&self, last: usize) -> Option<Markup> {
        Some(html::figure(&self.layout(last)?))
    }

    /// The chart over steps 0 to `last` as an SVG file; without axes when it has no value to show.
    pub fn svg(&self, last: usize) -> Markup {
        svg::picture(self.title, self.layout(last).as_ref())
    }

    fn layout(&self, last: usize) -> Option<Plot<'_>> {
        let values = self.series.iter().flat_map(|series| &series.points);
        let axis = Axis::new(self.scale, values.map(|point| point.1))?;
        let curves = self.series.iter();
        Some(Plot {
            chart: self,
            curves: curves
                .filter_map(|series| PlottedSeries::new(series, &axis))
                .collect(),
            axis,
            last: last.max(1),
        })
    }
}

/// A chart with its axis, and what of its series has a place on it.
struct Plot<'a> {
    chart: &'a Chart,
    axis: Axis,
    curves: Vec<PlottedSeries<'a>>,
    /// The step at the right end, at least 1.
    last: usize,
}

/// A series on an axis.
struct PlottedSeries<'a> {
    series: &'a Series,
    /// Values that have no place on the axis are gaps, `NaN`.
    points: Vec<(usize, f64)>,
    /// The means to be drawn over a noisy series; empty for others.
    means: Vec<(usize, f64)>,
    /// The last of the points that is no gap.
    last: (usize, f64),
}

/// Where a chart's area lies in its picture, in the picture's units.
struct Frame {
    left: f64,
    top: f64,
    width: f64,
    height: f64,
}

impl Plot<'_> {
    /// What stands over the axis.
    fn unit(&self) -> String {
        let scale = if self.axis.log { ", log scale" } else { "" };
        format!("{}{scale}", self.chart.unit)
    }

    /// Where a step lies in a picture.
    fn x(&self, step: usize, frame: &Frame) -> f64 {
        let x = frame.left + frame.width * step as f64 / self.last as f64;
        (x * 10.0).round() / 10.0
    }

    /// Where a point lies in a picture; `None` for one that has no place on the axis.
    fn point(&self, (step, value): (usize, f64), frame: &Frame) -> Option<(f64, f64)> {
        let place = self.axis.place(value)?;
        Some((self.x(step, frame), frame.y(place)))
    }

    /// The path through points, with a new start after each gap.
    fn path(&self, points: &[(usize, f64)], frame: &Frame) -> String {
        let mut path = String::new();
        let mut drawing = false;
        for &point in points {
            let Some((x, y)) = self.point(point, frame) else {
                drawing = false;
                continue;
            };
            // A start is a line as well, for a point between two gaps.
            let _ = match drawing {
                true => write!(path, " {x} {y:.1}"),
                false => write!(path, "M{x} {y:.1}L{x} {y:.1}"),
            };
            drawing = true;
        }
        path
    }

    /// A line across the picture at each number of the axis.
    fn grid(&self, frame: &Frame) -> String {
        let (left, right) = (frame.left, frame.left + frame.width);
        let line = |(place, _)| format!("M{left} {:.1}H{right}", frame.y(place));
        self.axis.ticks().map(line).collect()
    }
}

impl Frame {
    /// Where a place on the axis, from 0 to 1, lies: downwards, as in all pictures.
    fn y(&self, place: f64) -> f64 {
        self.top + (1.0 - place) * self.height
    }
}

impl<'a> PlottedSeries<'a> {
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
            means: match series.mark == Mark::Noisy && all.len() > MANY {
                true => means(&all),
                false => Vec::new(),
            },
            last,
        })
    }

    /// Whether its points are marked: a line of one point would not be seen.
    fn has_dots(&self) -> bool {
        self.series.mark == Mark::Dots || self.points.len() == 1
    }

    /// How opaque its line is, if it is not drawn in full.
    fn opacity(&self) -> Option<&str> {
        (!self.means.is_empty()).then_some("0.25")
    }
}

#[cfg(test)]
mod tests;
