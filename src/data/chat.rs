//! Conversations: the messages of a row, who speaks when, and what each says.
//!
//! The order is the one that most models' own templates demand: system messages first, then a
//! user's and an assistant's in turn.

mod message;

use std::collections::BTreeSet;

use serde_json::value::RawValue;

use self::message::{Message, Speaker};
use super::error::{DataError, MessageError};
use super::line_ends::LineEnds;

/// Keys by which data sets say whether an answer or a row is learnt: 0 and false, it is not.
pub const WEIGHTS: [&str; 4] = ["weight", "train", "training", "loss"];

/// Keys under which data sets have what is no text, of a row or of a message.
pub const MEDIA: [&str; 8] = [
    "image",
    "images",
    "image_url",
    "image_urls",
    "video",
    "videos",
    "audio",
    "audios",
];

/// Messages in the order in which they are read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Chat {
    /// What stands before the first question.
    pub system: Vec<String>,
    /// Each question of the user with the assistant's answer.
    pub turns: Vec<Turn>,
    /// A last question without an answer.
    pub question: Option<String>,
    /// How many messages follow the last answer and were not looked at.
    pub left_out: usize,
    /// Keys of messages whose values say something that is not used.
    pub unused: BTreeSet<String>,
    /// Whether a key stands in one of them more than once.
    pub has_repeated_keys: bool,
    /// Whether an answer's weight says neither that it is learnt nor that it is not.
    pub has_odd_weight: bool,
}

/// A question and its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn {
    /// What the user says.
    pub question: String,
    /// What the assistant says.
    pub answer: String,
    /// What the answer is for.
    pub role: AnswerRole,
}

impl Turn {
    /// A question whose answer is to come.
    pub fn open(question: String) -> Self {
        Self {
            question,
            answer: String::new(),
            role: AnswerRole::Learnt,
        }
    }
}

/// What an answer is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnswerRole {
    /// It is learnt.
    Learnt,
    /// It is only read, as a prompt is.
    Read,
}

impl AnswerRole {
    /// By a number or a boolean, however it is written, that says whether to learn.
    pub fn by_weight(text: &str) -> Option<Self> {
        match text.trim() {
            word if word.eq_ignore_ascii_case("true") => Some(Self::Learnt),
            word if word.eq_ignore_ascii_case("false") => Some(Self::Read),
            number => match number.parse() {
                Ok(0.0) => Some(Self::Read),
                Ok(1.0) => Some(Self::Learnt),
                _ => None,
            },
        }
    }
}

/// Which messages count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// Those up to the last answer: what follows it teaches nothing.
    LastAnswer,
    /// All of them.
    All,
}

impl Chat {
    /// Adds the messages of a JSON array; `line` is the row's number, for errors.
    pub fn add(
        &mut self,
        line: usize,
        json: &str,
        extent: Extent,
        role: AnswerRole,
    ) -> Result<(), DataError> {
        // Raw values, one level at a time: no nesting can exhaust the stack.
        let messages: Vec<&RawValue> =
            serde_json::from_str(json).map_err(|error| DataError::NotJson {
                line,
                column: error.column(),
                reason: error.to_string(),
                advice: "it must be an array of messages",
            })?;
        let messages: Vec<_> = messages
            .iter()
            .map(|raw| Message::parse(raw.get()))
            .collect();
        let mut count = messages.len();
        if extent == Extent::LastAnswer {
            let is_answer = |message: &Result<Message, _>| {
                let speaker = message.as_ref().map(Message::speaker);
                matches!(speaker, Ok(Ok(Speaker::Assistant)))
            };
            let last = messages.iter().rposition(is_answer);
            // Without any answer, all are looked at: one may be faulty.
            count = last.map_or(count, |last| last + 1);
            self.left_out += messages.len() - count;
        }
        for (number, message) in (self.messages() + 1..).zip(messages.into_iter().take(count)) {
            let added = message.and_then(|message| self.add_message(&message, extent, role));
            added.map_err(|reason| DataError::Message {
                line,
                number,
                reason,
            })?;
        }
        Ok(())
    }

    /// How many messages it holds.
    pub fn messages(&self) -> usize {
        self.system.len() + 2 * self.turns.len() + usize::from(self.question.is_some())
    }

    /// Gives all that is said the line ends that it is to have, and says whether that changed it.
    pub fn change_line_ends(&mut self, line_ends: LineEnds) -> bool {
        let said = self.turns.iter_mut();
        let said = said.flat_map(|turn| [&mut turn.question, &mut turn.answer]);
        let said = said.chain(&mut self.system).chain(&mut self.question);
        said.fold(false, |changed, text| line_ends.apply(text) | changed)
    }

    /// Puts one message in its place.
    fn add_message(
        &mut self,
        message: &Message,
        extent: Extent,
        role: AnswerRole,
    ) -> Result<(), MessageError> {
        self.unused.extend(message.unused().map(str::to_owned));
        self.has_repeated_keys |= message.has_repeated_keys();
        message.check_no_media()?;
        match message.speaker()? {
            Speaker::System if self.turns.is_empty() && self.question.is_none() => {
                self.system.push(message.text()?);
            }
            Speaker::System => return Err(MessageError::LateSystem),
            Speaker::User if self.question.is_none() => self.question = Some(message.text()?),
            Speaker::User => return Err(MessageError::NoAnswer),
            Speaker::Assistant => {
                let question = self.question.take().ok_or(MessageError::AnswerToNothing)?;
                message.check_no_call()?;
                let answer = message.text()?;
                self.has_odd_weight |= message.weights().any(|weight| weight.is_none());
                let is_read = message
                    .weights()
                    .any(|weight| weight == Some(AnswerRole::Read));
                let role = if is_read { AnswerRole::Read } else { role };
                // Where answers are learnt, it would teach to say nothing.
                let is_learnt = extent == Extent::LastAnswer && role == AnswerRole::Learnt;
                if is_learnt && answer.trim().is_empty() {
                    return Err(MessageError::Empty);
                }
                self.turns.push(Turn {
                    question,
                    answer,
                    role,
                });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
