//! What became of a row: its prompts and completions, and what a person should be told of it.

use std::collections::BTreeSet;

use super::chat::AnswerRole;
use super::format::DataFormat;
use crate::setting::{KEEP_CR, RESPONSE_END};
use crate::tokenizer::{END_OF_TEXT, Text};

/// A row as text.
#[derive(Debug)]
pub struct Rendered {
    /// What its keys were taken for.
    pub format: DataFormat,
    /// At least one, of which at least one is learnt.
    pub turns: Vec<RenderedTurn>,
    /// How many messages follow the last answer.
    pub left_out: usize,
    /// Keys of its messages whose values go nowhere.
    pub unused_in_messages: BTreeSet<String>,
    /// Whether its own `system` is the system message.
    pub(super) has_system: bool,
    /// What else should be told of it.
    pub remarks: BTreeSet<Remark>,
}

/// What a person should be told of a row, in the order in which it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Remark {
    /// Line ends in it were changed.
    NewLineEnds,
    /// A key stands in it more than once, of which the last counts.
    RepeatedKeys,
    /// A number or a boolean stands in it in other characters than in the file.
    Respelled,
    /// A weight of it, or of an answer in it, says neither that it is learnt nor that it is not.
    OddWeight,
    /// It asks nothing.
    EmptyQuestion,
    /// A `text` begins with an answer.
    NoQuestion,
    /// An answer of a `text` holds a line that begins as another speaker's does.
    OtherSpeaker,
    /// A paragraph of a `text` begins as an answer to other speakers does.
    OtherAnswer,
    /// A sign that stands for an image or the like.
    MediaSign,
    /// A sign of another tokenizer, such as an end of text, stands in it as plain text.
    ForeignSign,
    /// An answer ends already in what is put behind it.
    DoubleEnd,
    /// White space of a formatter or an end and of the row, or of two formatters, stands side by side.
    DoubleBlank,
}

impl Remark {
    /// What is said of `rows`, such as "3 rows, from line 7 on".
    pub fn told(self, rows: &str) -> String {
        match self {
            Self::NewLineEnds => {
                format!("CR LF and CR became LF in {rows}; {KEEP_CR} keeps them")
            }
            Self::RepeatedKeys => {
                format!("a key stands more than once in {rows}: the last one counts, as in Python")
            }
            Self::Respelled => format!(
                "a number or a boolean is inserted as Python writes it in {rows}, such as 2.5 for 2.50 or True \
                 for true; a string keeps its characters"
            ),
            Self::OddWeight => format!(
                "`weight`, `train`, `training` or `loss` is neither 0 nor 1 in {rows}: learnt like all others"
            ),
            Self::EmptyQuestion => {
                format!("the question is empty in {rows}: learnt like all others")
            }
            Self::NoQuestion => format!(
                "the `text` begins with an answer in {rows}: it is learnt as said to no question"
            ),
            Self::OtherAnswer => format!(
                "a paragraph of a `text` begins as another's answer in {rows}: it is no answer there, since one \
                 pair of speakers counts in a text"
            ),
            Self::MediaSign => format!(
                "a sign that stands for an image or the like, such as <image>, stands in {rows}: it is plain \
                 text, and what it stands for is not learnt"
            ),
            Self::OtherSpeaker => format!(
                "an answer holds a line that begins as another speaker's in {rows}: it is learnt with \
                 the answer; a blank line before \"User:\" begins a question"
            ),
            Self::DoubleEnd => format!(
                "an answer ends in the {RESPONSE_END} already in {rows}: it is learnt with that twice; \
                 take it out of the data, or leave {RESPONSE_END} out"
            ),
            Self::DoubleBlank => format!(
                "white space stands side by side where a text meets a formatter or {RESPONSE_END} in {rows}: \
                 two blanks or line ends are other tokens than one; take it out of one of them"
            ),
            Self::ForeignSign => format!(
                "a sign of another tokenizer, such as </s> or <|endoftext|>, stands in {rows}: it is plain \
                 text; take it out, and give {RESPONSE_END} '{END_OF_TEXT}' if it is to end answers"
            ),
        }
    }
}

/// A prompt and its completion.
#[derive(Debug)]
pub struct RenderedTurn {
    /// What is read.
    pub prompt: Text,
    /// What is said.
    pub completion: Text,
    /// Whether the completion is learnt.
    pub role: AnswerRole,
    /// Whether white space of a template and of a value stand side by side in it.
    pub has_double_blank: bool,
}
