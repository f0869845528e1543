//! The report of a run as one web page, for people who look rather than read.
//!
//! One file that needs nothing else: opened from disk, without a network, in any browser. Without
//! JavaScript only the values under the pointer are missing. What comes from data (names, prompts,
//! answers) is escaped by `maud`.

mod figures;
mod heat;
mod text;

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use anyhow::Result;
use maud::{DOCTYPE, Markup, PreEscaped, html};

use self::text::visible;
use super::chart::number::figure;
use super::{Answer, Finished, Learnt, Record, charts};
use crate::files::{self, Target};

/// How the title of each page ends, after the name of the state.
const TITLE: &str = "state-tune";

/// The page of a run, written at its end.
pub struct Page(Target);

impl Page {
    /// A page that is to be written to `path`.
    pub fn new(path: &Path) -> Self {
        Self(Target::new(path))
    }

    /// Whether what is at `path` may be replaced: its title says that this program wrote it.
    pub fn is_ours(path: &Path) -> bool {
        /// The title stands near the beginning; the state's name before it is shorter than this.
        const FAR: u64 = 4096;
        let end = format!("{TITLE}</title>");
        let mut start = Vec::new();
        let read = File::open(path).and_then(|file| file.take(FAR).read_to_end(&mut start));
        let mut places = start.windows(end.len());
        read.is_ok() && places.any(|place| place == end.as_bytes())
    }
}

impl Record for Page {
    fn name(&self) -> &'static str {
        "report"
    }

    fn path(&self) -> PathBuf {
        self.0.path()
    }

    /// Writes the page, atomically.
    fn finish(&mut self, run: &Finished) -> Result<bool> {
        let Some(learnt) = run.learnt else {
            return Ok(false);
        };
        let text = document(run, &learnt()?).into_string();
        files::replace(&self.path(), |file| file.write_all(text.as_bytes()))?;
        Ok(true)
    }
}

fn document(run: &Finished, learnt: &Learnt) -> Markup {
    let last = run.history.last_step();
    let charts = charts::all(run.history);
    let charts: Vec<Markup> = charts.iter().filter_map(|chart| chart.html(last)).collect();
    let title = visible(run.title);
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                (PreEscaped(include_str!("head.html")))
                title { (title) " – " (TITLE) }
                style { (PreEscaped(include_str!("style.css"))) }
            }
            body {
                header {
                    p { "A state learnt by state-tune" }
                    h1 { (title) }
                }
                main {
                    (figures::tiles(run.history))
                    @if !run.summary.is_empty() { pre.summary { (visible(run.summary)) } }
                    @if !charts.is_empty() {
                        section {
                            h2 { "The run" }
                            div.charts { @for chart in &charts { (chart) } }
                        }
                    }
                    (moved(learnt))
                    (answers(&learnt.answers))
                    @if !run.options.is_empty() || !run.machine.is_empty() {
                        section.tables {
                            (table("Options", run.options))
                            (table("Machine", run.machine))
                        }
                    }
                }
                footer { p { "Written by state-tune " (env!("CARGO_PKG_VERSION")) } }
                script { (PreEscaped(include_str!("hover.js"))) }
            }
        }
    }
}

fn moved(learnt: &Learnt) -> Markup {
    let map = heat::map(&learnt.norms);
    let soft_prompt = learnt
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
