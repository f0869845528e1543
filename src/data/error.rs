//! What can be wrong with a file of data, and with one message of a conversation in it.

use std::io;

use thiserror::Error;

use crate::setting::Setting;

/// What can be wrong with a data file. The caller knows the path and adds it.
#[derive(Debug, Error)]
pub enum DataError {
    #[error("the file cannot be read")]
    Read(#[from] io::Error),
    #[error(
        "the file has no examples; it needs one JSON object a line, such as {{\"input\": \"...\", \"output\": \"...\"}}"
    )]
    Empty,
    #[error("line {line}, byte {byte}: not UTF-8; save the file as UTF-8")]
    NotUtf8 { line: usize, byte: usize },
    #[error(
        "line {line}, column {column}: not JSON: {reason}; each line must be one whole JSON object"
    )]
    NotJson {
        line: usize,
        column: usize,
        reason: String,
    },
    #[error(
        "line {line}: {found} where an object is needed, such as {{\"input\": \"...\", \"output\": \"...\"}}"
    )]
    NotObject { line: usize, found: &'static str },
    #[error("line {line}: the template uses the key `{key}`, but the line has {present}", present = list(.keys))]
    MissingKey {
        line: usize,
        key: String,
        keys: Vec<String>,
    },
    #[error(
        "line {line}: the template uses the key `{key}`, which is {found}; it must be a string, a number or a boolean"
    )]
    NotText {
        line: usize,
        key: String,
        found: &'static str,
    },
    #[error("line {line}, message {number}: {reason}")]
    Message {
        line: usize,
        number: usize,
        reason: MessageError,
    },
    #[error(
        "line {line}: no message of the assistant in its `messages`, so there is nothing to learn from it; add one, or \
         remove the line"
    )]
    NoAnswer { line: usize },
    #[error(
        "line {line} has `messages`, but {setting} has no {{{key}}} where they could stand; put {{{key}}} into it"
    )]
    NoPlace {
        line: usize,
        setting: Setting,
        key: &'static str,
    },
}

fn list(keys: &[String]) -> String {
    match keys {
        [] => "no keys".to_owned(),
        [key] => format!("only `{key}`"),
        keys => format!("only `{}`", keys.join("`, `")),
    }
}

/// What can be wrong with one message.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum MessageError {
    #[error("{0} where an object is needed, such as {{\"role\": \"user\", \"content\": \"...\"}}")]
    NotObject(&'static str),
    #[error("it has no `{0}`; give it one, or remove the line")]
    Missing(&'static str),
    #[error("its `role` is {0}; use \"system\", \"user\" or \"assistant\", or remove the line")]
    Role(String),
    #[error("its `content` is {0}; it must be a string, or an array of parts of the type \"text\"")]
    Content(&'static str),
    #[error(
        "part {number} of its `content` is no {{\"type\": \"text\", \"text\": \"...\"}}; only text can be learnt: leave \
         the part out, or remove the line"
    )]
    Part { number: usize },
    #[error("a system message behind others; put it first, or remove it")]
    LateSystem,
    #[error(
        "an answer of the assistant where the user should speak; put a user's message before it, or remove it"
    )]
    AnswerToNothing,
    #[error(
        "a second message of the user in a row; join the two, or put the assistant's answer between them"
    )]
    NoAnswer,
}
