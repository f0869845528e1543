//! What can be wrong with a file of data, and with one message of a conversation in it.

use std::io;

use thiserror::Error;

use super::advice::{self, KnownKey};
use crate::container::ContainerError;
use crate::setting::{DATA_FORMAT, PROMPT_FORMATTER, RESPONSE_FORMATTER, Setting, TUNE};

/// What can be wrong with a data file. The caller knows the path and adds it.
#[derive(Debug, Error)]
pub enum DataError {
    /// The file cannot be opened, or a read failed.
    #[error("the file cannot be read")]
    Read(#[from] io::Error),
    /// The file's rows cannot be told from each other.
    #[error(transparent)]
    Container(ContainerError),
    /// What is wrong with a file that is no plain JSON lines.
    #[error("{note}")]
    In {
        /// What the file is read as.
        note: String,
        /// What is wrong.
        source: Box<DataError>,
    },
    /// Every line is blank, or there is none.
    #[error(
        "the file has no examples; put rows into it, such as the line {{\"input\": \"...\", \
         \"output\": \"...\"}}"
    )]
    Empty,
    /// A line holds bytes that no UTF-8 text has, as those of a compressed file.
    #[error("line {line}, byte {byte}: not UTF-8; save the file as UTF-8")]
    NotUtf8 {
        /// Its number, from 1.
        line: usize,
        /// Where in the line the first such byte stands, from 1.
        byte: usize,
    },
    /// A line does not parse.
    #[error("line {line}, column {column}: not JSON: {reason}; {advice}")]
    NotJson {
        /// Its number, from 1.
        line: usize,
        /// Where in the line the parser gave up, from 1.
        column: usize,
        /// What the parser says.
        reason: String,
        /// What to do.
        advice: &'static str,
    },
    /// A line is JSON of another kind, such as an array.
    #[error(
        "line {line}: {found} where an object is needed, such as {{\"input\": \"...\", \
         \"output\": \"...\"}}"
    )]
    NotObject {
        /// Its number, from 1.
        line: usize,
        /// The kind that it is, with its article.
        found: &'static str,
    },
    /// The template names a key that an object lacks.
    #[error(
        "line {line}: the template uses the key `{key}`, but the line has {present}; {advice}",
        present = advice::list(.keys),
        advice = .renamed.clone().unwrap_or_else(|| advice::of(.keys))
    )]
    MissingKey {
        /// The object's line, from 1.
        line: usize,
        /// The key that the template names.
        key: String,
        /// The keys that the object has.
        keys: Vec<KnownKey>,
        /// What to type for those, where that is known.
        renamed: Option<String>,
    },
    /// The value of a key has no text that could stand in a template.
    #[error(
        "line {line}: `{key}` is {found} where a text is needed; it must be a string, a number or \
         a boolean{}",
        advice::of_kind(found)
    )]
    NotText {
        /// The object's line, from 1.
        line: usize,
        /// The key.
        key: String,
        /// The kind of its value, with its article.
        found: &'static str,
    },
    /// A message of a conversation cannot be used.
    #[error("line {line}, message {number}: {reason}")]
    Message {
        /// The conversation's line, from 1.
        line: usize,
        /// Which of its messages, from 1.
        number: usize,
        /// What is wrong with it.
        reason: MessageError,
    },
    /// The format that was asked for needs a key that an object lacks.
    #[error(
        "line {line}: {DATA_FORMAT} {format} needs the key `{key}`, but the line has {present}{}",
        advice::reader(.keys).map_or(String::new(), |reader| format!("; {reader}")),
        present = advice::list(.keys)
    )]
    NotOfFormat {
        /// The object's line, from 1.
        line: usize,
        /// The format.
        format: String,
        /// The key that it needs.
        key: &'static str,
        /// The keys that the object has.
        keys: Vec<KnownKey>,
    },
    /// What should be a conversation in JSON, as a text, is none.
    #[error(
        "line {line}: `{key}` is a text that holds no JSON array: {reason}; make it an array of messages"
    )]
    EncodedNotJson {
        /// The object's line, from 1.
        line: usize,
        /// The key.
        key: &'static str,
        /// What the parser says.
        reason: String,
    },
    /// A row is about what is no text.
    #[error(
        "line {line}: it has `{key}` beside its texts, and only text can be learnt; take that out, or \
         remove the line"
    )]
    Media {
        /// The row's line, from 1.
        line: usize,
        /// Where it stands.
        key: &'static str,
    },
    /// A conversation has nothing that could be learnt.
    #[error(
        "line {line}: no message of the assistant in its `{key}`, so there is nothing to learn \
         from it; add one, or \
         remove the line"
    )]
    NoAnswer {
        /// Its line, from 1.
        line: usize,
        /// The key of the conversation.
        key: &'static str,
    },
    /// An answer has no text, which would teach to say nothing.
    #[error(
        "line {line}: the answer in `{key}` is empty, so there is nothing to learn from it; write \
         one, or remove the line"
    )]
    EmptyAnswer {
        /// The object's line, from 1.
        line: usize,
        /// The key that has it.
        key: String,
    },
    /// The row, or each of its answers, says that it is not learnt.
    #[error("line {line}: its weight says that there is nothing to learn from it")]
    NothingLearnt {
        /// The object's line, from 1.
        line: usize,
    },
    /// A prompt has no text.
    #[error("line {line}: the prompt is empty; give the model something to answer")]
    EmptyPrompt {
        /// The row's line, from 1.
        line: usize,
    },
    /// A completion has no token.
    #[error(
        "line {line}: the completion is empty, so there is nothing to learn from it; remove the \
         line, or let {RESPONSE_FORMATTER} add something"
    )]
    EmptyCompletion {
        /// The object's line, from 1.
        line: usize,
    },
    /// A token that the model has no number for.
    #[error("line {line}: token {token} is not among the model's {size} tokens")]
    UnknownToken {
        /// The row's line, from 1.
        line: usize,
        /// The token.
        token: u32,
        /// How many the model has.
        size: usize,
    },
    /// Nothing stands before the only token.
    #[error(
        "line {line}: the prompt is empty and the completion a single token, which nothing predicts \
         without a soft prompt; add softprompt to {TUNE} or remove the line"
    )]
    LoneToken {
        /// The row's line, from 1.
        line: usize,
    },
    /// A text has no part that could be learnt.
    #[error(
        "line {line}: no paragraph of its `text` begins with \"Assistant:\" (or Answer, Response, \
         A, Alice, Bot), so it does not show who answers; put a blank line before who answers, or write \
         the row as `messages`; all of it, questions too, is learnt with {PROMPT_FORMATTER} \"\" and \
         {RESPONSE_FORMATTER} \"{{text}}\""
    )]
    NoMarkedAnswer {
        /// Its line, from 1.
        line: usize,
    },
    /// A format's texts go into the templates by fixed keys, and a template lacks its own.
    #[error(
        "line {line} has `{has}`, but {setting} has no {{{key}}} where they could stand; put \
         {{{key}}} into it"
    )]
    NoPlace {
        /// The object's line, from 1.
        line: usize,
        /// The key by which the format was recognised.
        has: &'static str,
        /// The setting that holds the template.
        setting: Setting,
        /// The key that it must have.
        key: &'static str,
    },
}

impl DataError {
    /// Whether a row has nothing under a key, which harms only where a text needs it.
    pub fn is_absence(&self) -> bool {
        matches!(
            self,
            Self::MissingKey { .. } | Self::NotText { found: "null", .. }
        )
    }
}

impl From<ContainerError> for DataError {
    fn from(error: ContainerError) -> Self {
        match error {
            ContainerError::Read(error) => Self::Read(error),
            error => Self::Container(error),
        }
    }
}

/// What can be wrong with one message.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum MessageError {
    /// The message is JSON of this kind instead.
    #[error("{0} where an object is needed, such as {{\"role\": \"user\", \"content\": \"...\"}}")]
    NotObject(&'static str),
    /// It lacks this key.
    #[error("it has no `{0}`; give it one, or remove the line")]
    Missing(&'static str),
    /// Its role, quoted, or the kind of JSON that stands in its place.
    #[error("its `role` is {0}; use \"system\", \"user\" or \"assistant\", or remove the line")]
    Role(String),
    /// The same, as ShareGPT calls it.
    #[error("its `from` is {0}; use \"system\", \"human\" or \"gpt\", or remove the line")]
    From(String),
    /// Its content is JSON of this kind, or an array with something else than objects.
    #[error(
        "its `{key}` is {found}; it must be a string, or an array of parts of the type \"text\""
    )]
    Content {
        /// The key that has it.
        key: &'static str,
        /// Its kind, with its article.
        found: &'static str,
    },
    /// A content of several parts has one that is not text, such as an image.
    #[error(
        "part {number} of its `content` is no {{\"type\": \"text\", \"text\": \"...\"}}; only \
         text can be learnt: leave \
         the part out, or remove the line"
    )]
    Part {
        /// Which part, from 1.
        number: usize,
    },
    /// An answer has no text, which would teach to say nothing.
    #[error(
        "its text is empty, so there is nothing to learn from it; write one, or remove the line"
    )]
    Empty,
    /// It calls a tool or shows an image, under this key.
    #[error("it has `{0}`, and only text can be learnt; leave that out, or remove the line")]
    NoText(&'static str),
    /// A system message follows another message.
    #[error("a system message behind others; put it first, or remove it")]
    LateSystem,
    /// An answer follows no question.
    #[error(
        "an answer of the assistant where the user should speak; put a user's message before it, \
         or remove it"
    )]
    AnswerToNothing,
    /// A question follows another that was not answered.
    #[error(
        "a second message of the user in a row; join the two, or put the assistant's answer \
         between them"
    )]
    NoAnswer,
}
