//! The rows of a file: one JSON object each, however the file holds them.
//!
//! Templates insert values the way the original program did, which is Python's
//! `"{}".format(value)`: a number must not turn from `1.0` into `1`. So values are read as raw JSON
//! and made into text straight away. A value that has no sensible text (null, an array, an object)
//! is kept as such and is an error only where a template uses it: files often carry more than that.

#[cfg(test)]
mod tests;

use std::path::Path;

use serde_json::value::RawValue;

use super::advice::{Holds, KnownKey};
use super::error::DataError;
use super::json::{
    is_array_of_objects, is_conversation, kind, not_json, python_number, says_something, string,
};
use super::line_ends::LineEnds;
use super::members::Members;
use crate::container::{self, Beside, Container};

/// One line's values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    line: usize,
    /// Sorted by their keys, of which none comes twice.
    values: Vec<(String, Field)>,
    has_new_line_ends: bool,
    has_repeated_keys: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Field {
    /// A string.
    Text(String),
    /// A number or a boolean, as a template inserts it, and whether the file spells it otherwise.
    Scalar(String, bool),
    /// An array or an object, as JSON: what is wrong in it matters only where it is used.
    Json(String),
    /// What else it is, in words, for the error when a template uses it.
    NotText(&'static str),
}

impl Field {
    fn says_something(&self) -> bool {
        match self {
            Self::Text(text) => !text.trim().is_empty(),
            Self::Json(json) => says_something(json),
            Self::Scalar(..) => true,
            Self::NotText(_) => false,
        }
    }
}

impl Row {
    /// Reads one line (`line` is its number, for errors). Of equal keys the last counts, as in
    /// Python. A bare array of messages is taken as the value of `messages`.
    pub fn parse(line: usize, bytes: &[u8]) -> Result<Row, DataError> {
        let text = utf8(line, bytes)?;
        let not_json = |error| not_json(line, text, &error);
        if !text.trim_start().starts_with('{') {
            let other: &RawValue = serde_json::from_str(text).map_err(not_json)?;
            return match is_conversation(other.get()) {
                true => Ok(Row::of_field(
                    line,
                    "messages",
                    Field::Json(other.get().to_owned()),
                )),
                false => Err(DataError::NotObject {
                    line,
                    found: kind(other.get()),
                }),
            };
        }
        // The parser skips over raw values without recursion, so no nesting can exhaust the stack.
        let Members(mut members) = serde_json::from_str(text).map_err(not_json)?;
        // Reversed first: of equal keys the sort keeps the last one in front.
        members.reverse();
        let count = members.len();
        members.sort_by(|(key, _), (other, _)| key.cmp(other));
        members.dedup_by(|(key, _), (other, _)| key == other);
        let has_repeated_keys = members.len() < count;
        let values = members.into_iter();
        Ok(Row {
            line,
            has_repeated_keys,
            values: values
                .map(|(key, raw)| (key.into_owned(), value(raw.get())))
                .collect(),
            has_new_line_ends: false,
        })
    }

    /// A row of one value that comes from no file.
    pub fn of(key: &str, text: String) -> Row {
        Self::of_field(1, key, Field::Text(text))
    }

    fn of_field(line: usize, key: &str, field: Field) -> Row {
        Row {
            line,
            values: vec![(key.to_owned(), field)],
            has_new_line_ends: false,
            has_repeated_keys: false,
        }
    }

    /// The number of the line in its file, from 1.
    pub fn line(&self) -> usize {
        self.line
    }

    fn value(&self, key: &str) -> Option<&Field> {
        let found = self.values.binary_search_by(|(of, _)| of.as_str().cmp(key));
        found.ok().map(|at| &self.values[at].1)
    }

    /// The value of a key, as a template inserts it.
    pub fn text(&self, key: &str) -> Result<&str, DataError> {
        let line = self.line;
        match self.value(key) {
            Some(Field::Text(text) | Field::Scalar(text, _)) => Ok(text),
            Some(Field::NotText(found)) => Err(DataError::NotText {
                line,
                key: key.to_owned(),
                found,
            }),
            Some(Field::Json(json)) => Err(DataError::NotText {
                line,
                key: key.to_owned(),
                found: kind(json),
            }),
            None => Err(DataError::MissingKey {
                line,
                key: key.to_owned(),
                keys: self.known_keys(),
                renamed: None,
            }),
        }
    }

    /// Whether the value of a key can stand in a template.
    pub fn has_text(&self, key: &str) -> bool {
        self.text_of(key).is_some()
    }

    /// Whether the value of a key is a string.
    pub fn has_string(&self, key: &str) -> bool {
        matches!(self.value(key), Some(Field::Text(_)))
    }

    /// The value of a key as a template inserts it, if it can stand in one.
    pub fn text_of(&self, key: &str) -> Option<&str> {
        match self.value(key) {
            Some(Field::Text(text) | Field::Scalar(text, _)) => Some(text),
            _ => None,
        }
    }

    /// The keys of numbers and booleans that a template inserts in other characters than the file's.
    pub fn respelled_keys(&self) -> impl Iterator<Item = &str> {
        let is_respelled = |field: &Field| matches!(field, Field::Scalar(_, true));
        let respelled = self
            .values
            .iter()
            .filter(move |(_, field)| is_respelled(field));
        respelled.map(|(key, _)| key.as_str())
    }

    /// Whether there is a value under a key; null is none.
    pub fn has(&self, key: &str) -> bool {
        !matches!(self.value(key), None | Some(Field::NotText("null")))
    }

    /// The array under a key, as JSON.
    pub fn array(&self, key: &str) -> Option<&str> {
        match self.value(key) {
            Some(Field::Json(json)) if json.starts_with('[') => Some(json),
            _ => None,
        }
    }

    /// Gives the texts the line ends that they are to have.
    pub fn change_line_ends(&mut self, line_ends: LineEnds) {
        for (_, value) in &mut self.values {
            if let Field::Text(text) = value {
                self.has_new_line_ends |= line_ends.apply(text);
            }
        }
    }

    /// Whether that changed any.
    pub fn has_new_line_ends(&self) -> bool {
        self.has_new_line_ends
    }

    /// Whether a key stands in it more than once.
    pub fn has_repeated_keys(&self) -> bool {
        self.has_repeated_keys
    }

    /// The keys whose values say something.
    pub fn keys_with_values(&self) -> impl Iterator<Item = &str> {
        let some = self
            .values
            .iter()
            .filter(|(_, value)| value.says_something());
        some.map(|(key, _)| key.as_str())
    }

    /// Whether the value of a key says something.
    pub fn says_something(&self, key: &str) -> bool {
        self.value(key).is_some_and(Field::says_something)
    }

    /// The keys under which the row has something, for a message.
    pub fn known_keys(&self) -> Vec<KnownKey> {
        let key = |(name, value): &(String, Field)| KnownKey {
            name: name.clone(),
            holds: match value {
                Field::Text(_) | Field::Scalar(..) => Holds::Text,
                Field::Json(json) if is_conversation(json) => Holds::Messages,
                Field::Json(json) if is_array_of_objects(json) => Holds::Rows,
                Field::Json(json) if json.starts_with('{') => Holds::Object,
                Field::Json(_) | Field::NotText(_) => Holds::Other,
            },
        };
        let is_there = |(name, _): &&(String, Field)| self.has(name);
        self.values.iter().filter(is_there).map(key).collect()
    }
}

/// The text of a line that is a JSON string; `None` if it is anything else.
pub fn string_line(line: usize, bytes: &[u8]) -> Result<Option<String>, DataError> {
    let text = utf8(line, bytes)?;
    if !text.trim_start().starts_with('"') {
        return Ok(None);
    }
    let string = serde_json::from_str(text);
    string
        .map(Some)
        .map_err(|error| not_json(line, text, &error))
}

/// Gives each row of a file to `take` as it comes: its number and its JSON. Returns what a user
/// should be told of the file, a line each.
pub fn each(
    path: &Path,
    take: impl FnMut(usize, container::Row<'_>) -> Result<(), DataError>,
) -> Result<Vec<String>, DataError> {
    let file = Container::open(path)?;
    let name = path.display();
    let mut notes = Vec::new();
    if !file.is_plain() {
        let numbers = match file.is_numbered_by_line() {
            true => "",
            false => "; a line in messages means one of its rows",
        };
        notes.push(format!("{name} is read as {file}{numbers}"));
    }
    let beside = each_of(file, take).map_err(|error| match notes.first() {
        Some(note) => DataError::In {
            note: note.clone(),
            source: Box::new(error),
        },
        None => error,
    })?;
    if !beside.keys.is_empty() {
        let keys = beside.keys.join("`, `");
        notes.push(format!(
            "{name} holds `{}` beside its rows, which is not used",
            keys.escape_debug()
        ));
    }
    Ok(notes)
}

fn each_of(
    file: Container,
    mut take: impl FnMut(usize, container::Row<'_>) -> Result<(), DataError>,
) -> Result<Beside, DataError> {
    let mut is_empty = true;
    let beside = file.each(|number, json| {
        is_empty = false;
        take(number, json)
    })?;
    match is_empty {
        true => Err(DataError::Empty),
        false => Ok(beside),
    }
}

fn utf8(line: usize, bytes: &[u8]) -> Result<&str, DataError> {
    std::str::from_utf8(bytes).map_err(|error| DataError::NotUtf8 {
        line,
        byte: error.valid_up_to() + 1,
    })
}

fn value(json: &str) -> Field {
    match json.as_bytes().first() {
        Some(b'"') => string(json).map_or_else(Field::NotText, Field::Text),
        Some(b't') => Field::Scalar("True".to_owned(), true),
        Some(b'f') => Field::Scalar("False".to_owned(), true),
        Some(b'-' | b'0'..=b'9') => {
            let scalar = |text: String| {
                let is_respelled = text != json;
                Field::Scalar(text, is_respelled)
            };
            python_number(json).map_or(Field::NotText(kind(json)), scalar)
        }
        Some(b'[' | b'{') => Field::Json(json.to_owned()),
        _ => Field::NotText(kind(json)),
    }
}
