//! How the rows of a file were read, and what of them is not used: all that a person should see
//! before it counts.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt;

use super::bad_rows::BadRows;
use super::chat::AnswerRole;
use super::format::{DataFormat, Shape, TextRows};
use super::formats::{Formats, is_weight};
use super::jsonl::Row;
use super::rendered::{Remark, Rendered};
use super::words::{counted, shortened};
use crate::console;

/// How many keys are named, and how many are told apart: a file may have one for every row.
const NAMED: usize = 10;
const KNOWN: usize = 1000;

/// The most characters of a key.
const LONGEST: usize = 40;

/// What there is to say of a file's rows.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Notes {
    /// What the file is, a line each, if it is no plain JSON lines.
    pub of_file: Vec<String>,
    /// How many rows are of each format, and the line of the first.
    formats: BTreeMap<DataFormat, (usize, usize)>,
    /// Keys of rows whose values go nowhere.
    unused: Keys,
    /// The same of messages.
    unused_in_messages: Keys,
    /// What else is told of rows: how many, and the line of the first.
    remarks: BTreeMap<Remark, (usize, usize)>,
    /// Answers that are read and not learnt.
    only_read: usize,
    /// Keys of parts that may be left out, and whether a row had text there; of no row, none.
    optional: BTreeMap<String, bool>,
    /// Rows of which nothing is to be learnt.
    pub not_learnt: usize,
    /// Messages after a last answer.
    left_out: usize,
    /// Rows that could not be used.
    pub bad: BadRows,
}

impl Notes {
    /// Takes in a row that was rendered.
    pub fn add(&mut self, row: &Row, formats: &Formats, rendered: &Rendered) {
        let (count, _) = self
            .formats
            .entry(rendered.format)
            .or_insert((0, row.line()));
        *count += 1;
        row.keys_with_values()
            .filter(|key| !formats.uses(key, rendered) && !is_weight(row, key))
            .for_each(|key| self.unused.add(key));
        for key in &rendered.unused_in_messages {
            self.unused_in_messages.add(key);
        }
        let turns = rendered.turns.iter();
        self.only_read += turns.filter(|turn| turn.role == AnswerRole::Read).count();
        if rendered.format != DataFormat::Shape(Shape::Text) {
            for key in formats.optional_keys() {
                let is_said = self.optional.entry(key.to_owned()).or_insert(false);
                *is_said |= row.says_something(key) || (key == "system" && rendered.has_system);
            }
        }
        let is_used = |key: &str| formats.uses(key, rendered);
        let respelled = row.respelled_keys().any(is_used);
        let respelled = respelled.then_some(Remark::Respelled);
        for remark in rendered.remarks.iter().copied().chain(respelled) {
            self.remark(remark, row.line());
        }
        self.left_out += rendered.left_out;
    }

    /// Takes in what is to be told of a row, by its line.
    pub fn remark(&mut self, remark: Remark, line: usize) {
        self.remarks.entry(remark).or_insert((0, line)).0 += 1;
    }
}

impl Notes {
    /// How many of the rows stood as they are.
    pub fn text_rows(&self) -> TextRows {
        let is_text = self.formats.contains_key(&DataFormat::Shape(Shape::Text));
        match (is_text, self.formats.len()) {
            (false, _) => TextRows::None,
            (true, 1) => TextRows::All,
            (true, _) => TextRows::Some,
        }
    }

    /// Without what the rows were taken for, which the prompts show that stand beside their answers.
    pub fn of_prompts(mut self) -> Self {
        self.formats.clear();
        // A prompt need not have what stands in an answer's.
        self.optional.clear();
        self
    }
}

/// One line or more, without the last one's end.
impl fmt::Display for Notes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lines: Vec<String> = self
            .of_file
            .iter()
            .map(|note| format!("note   {note}"))
            .collect();
        for (format, (count, first)) in &self.formats {
            let mut some = String::new();
            if self.formats.len() > 1 {
                some = format!(" in {}, from line {first} on", counted(*count, "row"));
            }
            lines.push(format!("format {format}{some}: {}", format.meaning()));
        }
        let unsaid = self.optional.iter().filter(|(_, is_said)| !**is_said);
        for (key, _) in unsaid {
            let key = console::harmless(&shortened(key, LONGEST));
            lines.push(format!(
                "note   no row has text under `{key}`: the part of a formatter with it is left out everywhere"
            ));
        }
        let mut note = |count: usize, text: String| {
            if count > 0 {
                lines.push(format!("note   {text}"));
            }
        };
        let unused: Vec<String> = [
            self.unused.named(""),
            self.unused_in_messages.named(" of messages"),
        ]
        .concat();
        note(unused.len(), format!("not used: {}", unused.join(", ")));
        for (remark, (count, first)) in &self.remarks {
            let rows = format!("{}, from line {first} on", counted(*count, "row"));
            note(*count, remark.told(&rows));
        }
        note(
            self.only_read,
            format!(
                "{} read and not learnt, as the data say",
                counted(self.only_read, "answer")
            ),
        );
        note(
            self.not_learnt,
            format!(
                "{} not learnt from, as their weight says",
                counted(self.not_learnt, "row")
            ),
        );
        note(
            self.left_out,
            format!(
                "{} left out, after the last answer of a conversation",
                counted(self.left_out, "message")
            ),
        );
        note(self.bad.count(), self.bad.left_out());
        f.write_str(&lines.join("\n"))
    }
}

/// Keys, and how many rows have each.
#[derive(Debug, Default, PartialEq, Eq)]
struct Keys(BTreeMap<String, usize>);

impl Keys {
    fn add(&mut self, key: &str) {
        if let Some(count) = self.0.get_mut(key) {
            *count += 1;
        } else if self.0.len() < KNOWN {
            self.0.insert(key.to_owned(), 1);
        }
    }

    /// Each with its count, those of the most rows first, and of many only some.
    fn named(&self, of: &str) -> Vec<String> {
        let mut keys: Vec<_> = self.0.iter().collect();
        keys.sort_by_key(|(_, count)| Reverse(**count));
        let name = |(key, count): &(&String, &usize)| {
            format!(
                "`{}`{of} in {}",
                console::harmless(&shortened(key, LONGEST)),
                counted(**count, "row")
            )
        };
        let mut named: Vec<String> = keys.iter().take(NAMED).map(name).collect();
        if keys.len() > NAMED {
            named.push(format!("and other keys{of}"));
        }
        named
    }
}
