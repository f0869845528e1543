//! The report of a run as one web page, for people who look rather than read.
//!
//! One file that needs nothing else: opened from disk, without a network, in any browser. Without JavaScript only the
//! read-out under the pointer is missing. What comes from data (names, prompts, answers) is escaped by `maud`.

mod axis;
mod chart;
mod curves;
mod figures;
mod heat;
mod text;

use std::io::{self, Write};
use std::path::Path;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::History;
use crate::files;
pub use heat::LayerNorms;
use text::{figure, visible};

/// All that the page shows. What is empty has no section.
pub struct Page<'a> {
    /// What was made: `state.pth`.
    pub title: &'a str,
    /// The lines of the run's summary.
    pub summary: &'a str,
    pub history: &'a History,
    /// How far each layer went from where it started.
    pub norms: Vec<LayerNorms>,
    /// The norm of the soft prompt.
    pub soft_prompt: Option<f64>,
    pub answers: Vec<Answer>,
    /// Flags and their values.
    pub options: Vec<(String, String)>,
    /// What the run ran on.
    pub machine: Vec<(String, String)>,
}

/// What the model answers to a prompt, without and with the learnt state.
pub struct Answer {
    pub prompt: String,
    /// What the data answers.
    pub wanted: Option<String>,
    pub base: String,
    pub tuned: String,
}

/// Writes the page, atomically.
pub fn write(path: &Path, page: &Page) -> io::Result<()> {
    let text = document(page).into_string();
    files::replace(path, |file| file.write_all(text.as_bytes()))
}

fn document(page: &Page) -> Markup {
    let steps = page.history.steps.iter().map(|step| step.step);
    let last = steps
        .chain(page.history.evals.iter().map(|eval| eval.step))
        .max();
    let charts = curves::charts(page.history);
    let charts: Vec<Markup> = charts
        .iter()
        .filter_map(|chart| chart.draw(last.unwrap_or(0)))
        .collect();
    let title = visible(page.title);
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                (PreEscaped(include_str!("head.html")))
                title { (title) " – state-tune" }
                style { (PreEscaped(include_str!("style.css"))) }
            }
            body {
                header {
                    p { "A state learnt by state-tune" }
                    h1 { (title) }
                }
                main {
                    (figures::tiles(page.history))
                    @if !page.summary.is_empty() { pre.summary { (visible(page.summary)) } }
                    @if !charts.is_empty() {
                        section {
                            h2 { "The run" }
                            div.charts { @for chart in &charts { (chart) } }
                        }
                    }
                    (learnt(page))
                    (answers(&page.answers))
                    @if !page.options.is_empty() || !page.machine.is_empty() {
                        section.tables {
                            (table("Options", &page.options))
                            (table("Machine", &page.machine))
                        }
                    }
                }
                footer { p { "Written by state-tune " (env!("CARGO_PKG_VERSION")) } }
                script { (PreEscaped(include_str!("hover.js"))) }
            }
        }
    }
}

fn learnt(page: &Page) -> Markup {
    let map = heat::map(&page.norms);
    let soft_prompt = page
        .soft_prompt
        .filter(|norm| norm.is_finite() && *norm > 0.0);
    html! {
        @if map.is_some() || soft_prompt.is_some() {
            section {
                h2 { "What was learnt" }
                @if let Some(norm) = soft_prompt {
                    p { "The soft prompt, the vector before the first token, has a norm of " b { (figure(norm)) } "." }
                }
                @if let Some(map) = map {
                    p { "How far each part of each layer went from where it started, as a norm: the stronger the colour, the farther." }
                    (map)
                }
            }
        }
    }
}

fn answers(answers: &[Answer]) -> Markup {
    let said = |who: &str, class: &str, text: &str| {
        html! {
            div.(class) {
                h3 { (who) }
                @if text.trim().is_empty() { p.nothing { "nothing" } } @else { pre dir="auto" { (visible(text)) } }
            }
        }
    };
    html! {
        @if !answers.is_empty() {
            section {
                h2 { "Answers" }
                p { "What the model says after a prompt, without and with the learnt state." }
                @for answer in answers {
                    article {
                        (said("Prompt", "prompt", &answer.prompt))
                        @if let Some(wanted) = &answer.wanted { (said("Wanted", "wanted", wanted)) }
                        (said("Base", "base", &answer.base))
                        (said("Tuned", "tuned", &answer.tuned))
                    }
                }
            }
        }
    }
}

fn table(name: &str, rows: &[(String, String)]) -> Markup {
    html! {
        @if !rows.is_empty() {
            div {
                h2 { (name) }
                table {
                    @for (key, value) in rows {
                        tr { th scope="row" { (visible(key)) } td { (visible(value)) } }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
