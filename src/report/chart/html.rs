//! A chart as a part of a page: a picture that stretches to any width between texts that do not.
//!
//! The texts stand around the picture as HTML, as readable on a phone as on a desk. A unit of the
//! picture's width is one step and its height is [`HEIGHT`] units, whatever its size on the screen;
//! `hover.js` reads the curves back from that. Colours and strokes come from `style.css`.

use maud::{Markup, html};

use super::axis::step_ticks;
use super::number::{count, figure as short};
use super::{Frame, Plot, PlottedSeries};

const HEIGHT: f64 = 1000.0;

/// The chart, its caption and its legend.
pub fn figure(layout: &Plot) -> Markup {
    let Plot {
        chart,
        axis,
        curves,
        last,
    } = layout;
    let frame = &Frame {
        left: 0.0,
        top: 0.0,
        width: *last as f64,
        height: HEIGHT,
    };
    let percent = |part: f64| format!("{:.2}%", part * 100.0);
    html! {
        figure.chart {
            figcaption {
                h3 { (chart.title) }
                p { (chart.caption) }
                (legend(layout))
            }
            p.unit { (layout.unit()) }
            div.y aria-hidden="true" {
                @for (place, text) in axis.ticks() {
                    span style={ "bottom:" (percent(place)) } { (text) }
                }
            }
            svg viewBox={ "0 0 " (last) " " (HEIGHT) } preserveAspectRatio="none" role="img"
                aria-label={ (chart.title) " by step" }
                data-low=(axis.low) data-high=(axis.high) data-log[axis.log]
            {
                path.grid d=(layout.grid(frame)) {}
                path.cursor {}
                @for curve in curves {
                    g.(curve.series.style.class) {
                        path.line stroke-opacity=[curve.opacity()] d=(layout.path(&curve.points, frame)) {}
                        @if curve.has_dots() { path.dots d=(dots(layout, curve, frame)) {} }
                    }
                }
                @for curve in curves {
                    @if !curve.means.is_empty() {
                        path.(curve.series.style.class) d=(layout.path(&curve.means, frame)) {}
                    }
                }
            }
            div.x aria-hidden="true" {
                @for step in step_ticks(*last) {
                    @let place = step as f64 / *last as f64;
                    // The last number would stand out of the frame.
                    span class=[(place > 0.95).then_some("end")] style={ "left:" (percent(place)) } { (count(step)) }
                }
            }
            p.steps { "step" }
        }
    }
}

/// The curves' names and last values; `hover.js` puts others in their place.
fn legend(layout: &Plot) -> Markup {
    let last = layout.last;
    html! {
        p.legend {
            span { "step " b { (count(last)) } }
            @for curve in &layout.curves {
                span.(curve.series.style.class) {
                    i class=[curve.has_dots().then_some("dots")] {}
                    (curve.series.name) " "
                    b {
                        (short(curve.last.1))
                        @if curve.last.0 != last { " (step " (count(curve.last.0)) ")" }
                    }
                }
            }
        }
    }
}

/// Strokes of no length: their round ends are dots that the stretching leaves round.
fn dots(layout: &Plot, curve: &PlottedSeries, frame: &Frame) -> String {
    let points = curve.points.iter();
    points
        .filter_map(|&point| layout.point(point, frame))
        .map(|(x, y)| format!("M{x} {y:.1}h0"))
        .collect()
}
