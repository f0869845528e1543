//! A chart as an SVG file that needs nothing else: for image viewers as for browsers, so without
//! style sheets, scripts, or strokes that must not scale.

use maud::{Markup, html};

use super::axis::step_ticks;
use super::number::{count, figure as short};
use super::{Frame, Plot, PlottedSeries};

const WIDTH: f64 = 800.0;
const HEIGHT: f64 = 450.0;
const FRAME: Frame = Frame {
    left: 64.0,
    top: 96.0,
    width: 704.0,
    height: 306.0,
};

const FONTS: &str =
    "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif";
const INK: &str = "#20252b";
const QUIET: &str = "#626a73";
const RULE: &str = "#e2dfd8";

/// The picture of a chart, or of its title alone.
pub fn picture(title: &str, layout: Option<&Plot>) -> Markup {
    html! {
        svg xmlns="http://www.w3.org/2000/svg" width=(WIDTH) height=(HEIGHT)
            viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } role="img" font-family=(FONTS)
            font-size="12" fill=(QUIET)
        {
            title { (title) " by step" }
            rect width=(WIDTH) height=(HEIGHT) fill="#ffffff" {}
            text x="16" y="32" font-size="18" font-weight="600" fill=(INK) { (title) }
            @if let Some(layout) = layout {
                (legend(layout))
                text x="16" y="76" { (layout.unit()) }
                (numbers(layout))
                path fill="none" stroke=(RULE) d=(layout.grid(&FRAME)) {}
                @for curve in &layout.curves { (drawn(layout, curve)) }
                @for curve in &layout.curves {
                    @if !curve.means.is_empty() { (line(layout, curve, &curve.means, None)) }
                }
            }
        }
    }
}

/// The numbers beside and under the frame.
fn numbers(layout: &Plot) -> Markup {
    let (right, bottom) = (FRAME.left + FRAME.width, FRAME.top + FRAME.height);
    html! {
        @for (place, text) in layout.axis.ticks() {
            text x=(FRAME.left - 10.0) y=(format!("{:.1}", FRAME.y(place) + 4.0)) text-anchor="end" { (text) }
        }
        @for step in step_ticks(layout.last) {
            text x=(layout.x(step, &FRAME)) y=(bottom + 20.0) text-anchor="middle" { (count(step)) }
        }
        text x=(right) y=(bottom + 38.0) text-anchor="end" { "step" }
    }
}

/// The curves' names and last values, in a row under the title.
fn legend(layout: &Plot) -> Markup {
    /// The width of a character, about: a picture cannot measure its text.
    const CHARACTER: f64 = 7.0;
    const KEY: f64 = 24.0;
    const GAP: f64 = 28.0;
    let mut x = 16.0;
    let entries = layout.curves.iter().map(|curve| {
        let (step, value) = curve.last;
        let mut text = short(value);
        if step != layout.last {
            text.push_str(&format!(" (step {})", count(step)));
        }
        let at = x;
        let characters = curve.series.name.len() + 1 + text.len();
        x += KEY + GAP + CHARACTER * characters as f64;
        (at, curve, text)
    });
    let entries: Vec<(f64, &PlottedSeries, String)> = entries.collect();
    html! {
        @for (x, curve, text) in entries {
            @if curve.has_dots() {
                circle cx=(x + 8.0) cy="52" r="3.5" fill=(curve.series.style.colour) {}
            } @else {
                path d={ "M" (x) " 52h16" } stroke=(curve.series.style.colour) stroke-width="3" stroke-linecap="round" {}
            }
            text x=(x + KEY) y="56" font-size="13" {
                (curve.series.name) " " tspan font-weight="600" fill=(INK) { (text) }
            }
        }
    }
}

/// A curve, and dots where it has them.
fn drawn(layout: &Plot, curve: &PlottedSeries) -> Markup {
    let points = curve.points.iter();
    html! {
        (line(layout, curve, &curve.points, curve.opacity()))
        @if curve.has_dots() {
            @for (x, y) in points.filter_map(|&point| layout.point(point, &FRAME)) {
                circle cx=(x) cy=(format!("{y:.1}")) r="3.5" fill=(curve.series.style.colour) {}
            }
        }
    }
}

fn line(
    layout: &Plot,
    curve: &PlottedSeries,
    points: &[(usize, f64)],
    opacity: Option<&str>,
) -> Markup {
    let style = curve.series.style;
    html! {
        path fill="none" stroke=(style.colour) stroke-width=(style.width) stroke-opacity=[opacity]
            stroke-linecap="round" stroke-linejoin="round" d=(layout.path(points, &FRAME)) {}
    }
}
