//! Rows that hold a conversation under one key: an array of messages, or, as some data sets have
//! it, such an array written out as JSON in a string.

use serde_json::value::RawValue;

use super::Purpose;
use crate::data::chat::{AnswerRole, Chat, Extent};
use crate::data::error::DataError;
use crate::data::json::{is_array_of_objects, kind};
use crate::data::jsonl::Row;

/// Whether there is a conversation under `key`.
pub fn fits(row: &Row, key: &str) -> bool {
    row.array(key).is_some() || is_encoded(row, key)
}

/// Whether it is written out as a text. Any text may begin with a bracket, but hardly with a
/// bracket and a brace.
fn is_encoded(row: &Row, key: &str) -> bool {
    row.text_of(key).is_some_and(is_array_of_objects)
}

/// The messages under `key`, as JSON; `None` where something else stands.
pub fn messages<'a>(row: &'a Row, key: &'static str) -> Result<Option<&'a str>, DataError> {
    match row.array(key) {
        None if is_encoded(row, key) => encoded(row, key).map(Some),
        array => Ok(array),
    }
}

/// The conversation under `key`.
pub fn read(row: &Row, key: &'static str, purpose: Purpose) -> Result<Chat, DataError> {
    let line = row.line();
    let array = match row.array(key) {
        Some(array) => array,
        None => encoded(row, key)?,
    };
    let extent = match purpose {
        Purpose::Learn => Extent::LastAnswer,
        Purpose::Answer => Extent::All,
    };
    let mut chat = Chat::default();
    chat.add(line, array, extent, AnswerRole::Learnt)?;
    Ok(chat)
}

/// The array that the text under `key` holds.
fn encoded<'a>(row: &'a Row, key: &'static str) -> Result<&'a str, DataError> {
    decoded(row.text(key)?).map_err(|reason| DataError::EncodedNotJson {
        line: row.line(),
        key,
        reason,
    })
}

/// The array that a text holds as JSON, or why it holds none.
fn decoded(text: &str) -> Result<&str, String> {
    let value: &RawValue = serde_json::from_str(text).map_err(|error| error.to_string())?;
    match value.get().starts_with('[') {
        true => Ok(value.get()),
        false => Err(format!("{} where an array is needed", kind(value.get()))),
    }
}
