//! What the keys of a row mean: the user's own, which the templates name, or those of a shape that
//! is common in the field. One file a shape says how it is recognised, and what of it is asked and
//! what answered.

mod alpaca;
mod conversation;
mod prompt_completion;
mod text;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use self::text::Script;

use super::chat::Chat;
use super::error::DataError;
use super::jsonl::Row;
use crate::setting;

/// What the keys of a row mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DataFormat {
    /// They are those of the templates.
    Template,
    /// They are those of a shape that others have, too.
    Shape(Shape),
}

/// A shape of rows that is common in the field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Shape {
    /// A conversation under `messages`.
    Messages,
    /// A conversation under `conversations`, as ShareGPT's.
    ShareGpt,
    /// An `instruction`, an `input` where it needs one, and an `output`.
    Alpaca,
    /// A `prompt` and a `completion`, each a text or a list of messages.
    PromptCompletion,
    /// A `text` that says itself who speaks, as in RWKV's own data.
    Text,
}

/// How many rows stood as they are, without the templates, as those of [`Shape::Text`] do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TextRows {
    /// None of them.
    #[default]
    None,
    /// Some of them.
    Some,
    /// All of them.
    All,
}

/// What a row is read for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Its answers are learnt.
    Learn,
    /// It is a prompt, to be answered.
    Answer,
}

/// What a row of some shape holds.
pub enum Content {
    /// Questions and answers, which go through the templates.
    Chat(Chat),
    /// A text that stands as it is.
    Script(Script),
}

impl DataFormat {
    /// Each with its word.
    pub const NAMES: [(&'static str, Self); 6] = [
        ("template", Self::Template),
        ("messages", Self::Shape(Shape::Messages)),
        ("sharegpt", Self::Shape(Shape::ShareGpt)),
        ("alpaca", Self::Shape(Shape::Alpaca)),
        ("prompt_completion", Self::Shape(Shape::PromptCompletion)),
        ("text", Self::Shape(Shape::Text)),
    ];

    /// How such a row is read, in words.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Template => "the keys are those of the formatters",
            Self::Shape(Shape::Messages) => "a conversation, under `messages` or by itself",
            Self::Shape(Shape::ShareGpt) => "a conversation under `conversations`",
            Self::Shape(Shape::Alpaca) => {
                "`instruction`, with `input` where there is one, is {input}, `output` is {output}"
            }
            Self::Shape(Shape::PromptCompletion) => "`prompt` is {input}, `completion` is {output}",
            Self::Shape(Shape::Text) => "`text` stands as it is, without the formatters",
        }
    }
}

impl fmt::Display for DataFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(setting::word(&Self::NAMES, self))
    }
}

/// The answer under a key. A blank one is an error: it would teach to say nothing.
fn answer(row: &Row, shape: Shape, key: &'static str) -> Result<String, DataError> {
    match shape.text(row, key)? {
        text if text.trim().is_empty() => Err(DataError::EmptyAnswer {
            line: row.line(),
            key: key.to_owned(),
        }),
        text => Ok(text.to_owned()),
    }
}

impl Shape {
    /// In the order in which a row is tried.
    pub const ALL: [Self; 5] = [
        Self::Messages,
        Self::ShareGpt,
        Self::Alpaca,
        Self::PromptCompletion,
        Self::Text,
    ];

    /// The keys by which it is known, the first one above all. What it shares with the default
    /// templates is not among them.
    pub fn keys(self) -> &'static [&'static str] {
        match self {
            Self::Messages => &["messages"],
            Self::ShareGpt => &["conversations"],
            Self::Alpaca => &["instruction"],
            Self::PromptCompletion => &["prompt", "completion"],
            Self::Text => &["text"],
        }
    }

    /// Whether the value of a key goes into the questions and answers of such a row.
    pub fn reads(self, key: &str) -> bool {
        let is_alpacas = self == Self::Alpaca && ["input", "output"].contains(&key);
        is_alpacas || self.keys().contains(&key)
    }

    /// Whether a row has this shape.
    pub fn fits(self, row: &Row, purpose: Purpose) -> bool {
        let has = |key| row.has_text(key) || row.array(key).is_some();
        match self {
            Self::Messages | Self::ShareGpt => conversation::fits(row, self.keys()[0]),
            Self::Alpaca => {
                row.has_text("instruction") && (purpose == Purpose::Answer || row.has("output"))
            }
            Self::PromptCompletion => {
                has("prompt") && (purpose == Purpose::Answer || has("completion"))
            }
            Self::Text => row.has_string("text"),
        }
    }

    /// Errors for a row that has nothing under a key that this shape needs.
    fn check_has(self, row: &Row, key: &'static str) -> Result<(), DataError> {
        match row.has(key) {
            true => Ok(()),
            false => Err(DataError::NotOfFormat {
                line: row.line(),
                format: DataFormat::Shape(self).to_string(),
                key,
                keys: row.known_keys(),
            }),
        }
    }

    /// The text under such a key.
    fn text<'a>(self, row: &'a Row, key: &'static str) -> Result<&'a str, DataError> {
        self.check_has(row, key)?;
        row.text(key)
    }

    /// What a row of this shape holds.
    pub fn read(self, row: &Row, purpose: Purpose) -> Result<Content, DataError> {
        let key = self.keys()[0];
        self.check_has(row, key)?;
        Ok(match self {
            Self::Messages | Self::ShareGpt => {
                Content::Chat(conversation::read(row, key, purpose)?)
            }
            Self::Alpaca => Content::Chat(alpaca::read(row, purpose)?),
            Self::PromptCompletion => Content::Chat(prompt_completion::read(row, purpose)?),
            Self::Text => Content::Script(Script::read(row, purpose)?),
        })
    }
}
