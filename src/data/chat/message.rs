//! One message of a conversation: who speaks, under `role` or, as ShareGPT has it, `from`; what is
//! said, under `content` or `value`; and whether it is to be learnt.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::{AnswerRole, MEDIA, WEIGHTS};
use crate::data::error::MessageError;
use crate::data::json::{kind, says_something, string};
use crate::data::members::Members;

/// A message's keys and their values, which are still JSON.
pub struct Message<'a>(Members<'a>);

impl<'a> Message<'a> {
    /// Errors for any other JSON than an object, and for a key with half of a surrogate pair.
    pub fn parse(json: &'a str) -> Result<Self, MessageError> {
        let members = serde_json::from_str(json).map(Self);
        members.map_err(|_| MessageError::NotObject(kind(json)))
    }

    /// Of equal keys the last counts.
    fn get(&self, key: &str) -> Option<&'a str> {
        let found = self.0.0.iter().rfind(|(of, _)| of == key);
        found.map(|(_, raw)| raw.get())
    }

    /// The value of the first key, or of the other where the first has none.
    fn either(
        &self,
        first: &'static str,
        other: &'static str,
    ) -> Result<(&'static str, &'a str), MessageError> {
        match (self.get(first), self.get(other)) {
            (None | Some("null"), Some(json)) => Ok((other, json)),
            (Some(json), _) => Ok((first, json)),
            (None, None) => Err(MessageError::Missing(first)),
        }
    }

    /// Whether a key stands in it more than once.
    pub fn has_repeated_keys(&self) -> bool {
        self.0.have_repeated_keys()
    }

    /// Keys whose values say something that is not used.
    pub fn unused(&self) -> impl Iterator<Item = &str> {
        let read = [("role", "from"), ("content", "value")].map(|(first, other)| {
            let found = self.either(first, other);
            found.map_or(first, |(key, _)| key)
        });
        let is_unused = move |(key, raw): &&(Cow<str>, &RawValue)| {
            let key = key.as_ref();
            !read.contains(&key) && !WEIGHTS.contains(&key) && says_something(raw.get())
        };
        let unused = self.0.0.iter().filter(is_unused);
        unused.map(|(key, _)| key.as_ref())
    }

    /// A call of a tool has no text, and what surrounds it makes no sense without it.
    pub fn check_no_call(&self) -> Result<(), MessageError> {
        self.check_none(&["tool_calls", "function_call"])
    }

    /// Nor does what is said of an image make sense without it.
    pub fn check_no_media(&self) -> Result<(), MessageError> {
        self.check_none(&MEDIA)
    }

    fn check_none(&self, keys: &[&'static str]) -> Result<(), MessageError> {
        let mut keys = keys.iter();
        match keys.find(|key| self.get(key).is_some_and(says_something)) {
            Some(key) => Err(MessageError::NoText(key)),
            None => Ok(()),
        }
    }

    /// What its weights say, each; `None` says neither that it is learnt nor that it is not.
    pub fn weights(&self) -> impl Iterator<Item = Option<AnswerRole>> {
        let weights = WEIGHTS.iter().filter_map(|key| self.get(key));
        let weights = weights.filter(|json| *json != "null");
        weights.map(|json| AnswerRole::by_weight(string(json).as_deref().unwrap_or(json)))
    }

    pub fn speaker(&self) -> Result<Speaker, MessageError> {
        let (key, word) = self.either("role", "from")?;
        let found = match string(word) {
            Ok(word) => match Speaker::named(&word) {
                Some(speaker) => return Ok(speaker),
                // Shortened, since it may be anything.
                None => format!("{:?}", word.chars().take(40).collect::<String>()),
            },
            Err(found) => found.to_owned(),
        };
        Err(match key {
            "from" => MessageError::From(found),
            _ => MessageError::Role(found),
        })
    }

    /// What it says: its content, or that of its parts, one after the other.
    pub fn text(&self) -> Result<String, MessageError> {
        let (key, content) = self.either("content", "value")?;
        if content.starts_with('[') {
            return parts(content);
        }
        string(content).map_err(|found| MessageError::Content { key, found })
    }
}

/// Who says a message.
pub enum Speaker {
    System,
    User,
    Assistant,
}

impl Speaker {
    /// By the words that data sets use, however they are capitalised.
    fn named(word: &str) -> Option<Self> {
        Self::of(word).or_else(|| Self::of(&word.to_ascii_lowercase()))
    }

    /// OpenAI calls the system the developer, too.
    fn of(word: &str) -> Option<Self> {
        match word {
            "system" | "developer" => Some(Self::System),
            "user" | "human" | "prompter" => Some(Self::User),
            "assistant" | "gpt" | "chatgpt" | "model" | "bot" | "ai" | "bing" | "bard" => {
                Some(Self::Assistant)
            }
            _ => None,
        }
    }
}

/// The text of a content of several parts.
fn parts(content: &str) -> Result<String, MessageError> {
    let not_parts = |_| MessageError::Content {
        key: "content",
        found: "an array",
    };
    let parts: Vec<&RawValue> = serde_json::from_str(content).map_err(not_parts)?;
    let part = |part: &RawValue| {
        let object = Message::parse(part.get()).ok()?;
        let is_text = string(object.get("type")?).is_ok_and(|kind| kind == "text");
        is_text.then(|| string(object.get("text")?).ok())?
    };
    (1..)
        .zip(parts)
        .map(|(number, raw)| part(raw).ok_or(MessageError::Part { number }))
        .collect()
}
