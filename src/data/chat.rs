//! Conversations: the messages of a line, who speaks when, and what each says.
//!
//! The order is the one that most models' own templates demand: system messages first, then a
//! user's and an assistant's in turn.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use super::error::{DataError, MessageError};
use super::json::{kind, string};

/// Messages in the order in which they are read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Chat {
    /// What stands before the first question.
    pub system: Vec<String>,
    /// Each question of the user with the assistant's answer.
    pub turns: Vec<(String, String)>,
    /// A last question without an answer.
    pub question: Option<String>,
}

impl Chat {
    /// Reads the JSON array `messages` of a line, with the line's number for errors.
    pub fn parse(line: usize, json: &str) -> Result<Self, DataError> {
        let not_json = |error: serde_json::Error| DataError::NotJson {
            line,
            column: error.column(),
            reason: error.to_string(),
        };
        // Raw values, one level at a time: no nesting can exhaust the stack.
        let messages: Vec<&RawValue> = serde_json::from_str(json).map_err(not_json)?;
        let mut chat = Self::default();
        for (number, message) in (1..).zip(messages) {
            chat.add(message.get())
                .map_err(|reason| DataError::Message {
                    line,
                    number,
                    reason,
                })?;
        }
        Ok(chat)
    }

    /// Puts one message in its place.
    fn add(&mut self, json: &str) -> Result<(), MessageError> {
        let object = Members::parse(json).ok_or(MessageError::NotObject(kind(json)))?;
        let role = object.get("role").ok_or(MessageError::Missing("role"))?;
        let content = object
            .get("content")
            .ok_or(MessageError::Missing("content"));
        match string(role).as_deref() {
            Ok("system") if self.turns.is_empty() && self.question.is_none() => {
                self.system.push(text(content?)?);
            }
            Ok("system") => return Err(MessageError::LateSystem),
            Ok("user") if self.question.is_none() => self.question = Some(text(content?)?),
            Ok("user") => return Err(MessageError::NoAnswer),
            Ok("assistant") => {
                let question = self.question.take().ok_or(MessageError::AnswerToNothing)?;
                self.turns.push((question, text(content?)?));
            }
            // Shortened, since it may be anything.
            Ok(other) => {
                let start: String = other.chars().take(40).collect();
                return Err(MessageError::Role(format!("{start:?}")));
            }
            Err(found) => return Err(MessageError::Role((*found).to_owned())),
        }
        Ok(())
    }
}

/// A JSON object whose values are still JSON. Of equal keys the last counts.
struct Members<'a>(BTreeMap<String, &'a RawValue>);

impl<'a> Members<'a> {
    /// `None` for any other JSON, and for a key with half of a surrogate pair.
    fn parse(json: &'a str) -> Option<Self> {
        serde_json::from_str(json).ok().map(Self)
    }

    fn get(&self, key: &str) -> Option<&'a str> {
        self.0.get(key).map(|raw| raw.get())
    }
}

/// A message's text: its content, or that of its parts, one after the other.
fn text(content: &str) -> Result<String, MessageError> {
    if !content.starts_with('[') {
        return string(content).map_err(MessageError::Content);
    }
    let parts: Vec<&RawValue> =
        serde_json::from_str(content).map_err(|_| MessageError::Content("an array"))?;
    let part = |part: &RawValue| {
        let object = Members::parse(part.get())?;
        let is_text = string(object.get("type")?).is_ok_and(|kind| kind == "text");
        is_text.then(|| string(object.get("text")?).ok())?
    };
    (1..)
        .zip(parts)
        .map(|(number, raw)| part(raw).ok_or(MessageError::Part { number }))
        .collect()
}

#[cfg(test)]
mod tests;
