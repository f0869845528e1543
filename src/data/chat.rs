//! Conversations: the messages of a row, who speaks when, and what each says.
//!
//! The order is the one that most models' own templates demand: system messages first, then a
//! user's and an assistant's in turn. A message says who speaks under `role` and what under
//! `content`, or under `from` and `value`, as ShareGPT's do.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::value::RawValue;

use super::error::{DataError, MessageError};
use super::json::{holds_text, kind, string};
use super::line_ends::LineEnds;

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
    /// Keys of messages with text that is no part of what is said.
    pub unused: BTreeSet<String>,
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

/// What an answer is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnswerRole {
    /// It is learnt.
    Learnt,
    /// It is only read, as a prompt is.
    Read,
}

impl AnswerRole {
    /// By a number or a boolean, as a template writes it, that says whether to learn.
    pub fn by_weight(text: &str) -> Option<Self> {
        match text {
            "True" => Some(Self::Learnt),
            "False" => Some(Self::Read),
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

/// Keys of a message that are read.
const READ: [&str; 4] = ["role", "from", "content", "value"];

/// Keys by which data sets say whether an answer is learnt: 0 and false, it is not.
const WEIGHTS: [&str; 4] = ["weight", "train", "training", "loss"];

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
            })?;
        let mut count = messages.len();
        if extent == Extent::LastAnswer {
            let last = messages.iter().rposition(|raw| is_answer(raw.get()));
            // Without any answer, all are looked at: one may be faulty.
            count = last.map_or(count, |last| last + 1);
            self.left_out += messages.len() - count;
        }
        for (number, message) in (self.messages() + 1..).zip(&messages[..count]) {
            self.add_message(message.get(), extent, role)
                .map_err(|reason| DataError::Message {
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
        json: &str,
        extent: Extent,
        role: AnswerRole,
    ) -> Result<(), MessageError> {
        let object = Members::parse(json).ok_or(MessageError::NotObject(kind(json)))?;
        self.unused.extend(object.unused().map(str::to_owned));
        let speaker = object.speaker()?;
        match speaker {
            Speaker::System if self.turns.is_empty() && self.question.is_none() => {
                self.system.push(object.text()?);
            }
            Speaker::System => return Err(MessageError::LateSystem),
            Speaker::User if self.question.is_none() => self.question = Some(object.text()?),
            Speaker::User => return Err(MessageError::NoAnswer),
            Speaker::Assistant => {
                let question = self.question.take().ok_or(MessageError::AnswerToNothing)?;
                object.check_no_call()?;
                let answer = object.text()?;
                let role = object.role(role)?;
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

/// Who says a message.
enum Speaker {
    System,
    User,
    Assistant,
}

impl Speaker {
    /// By the words that data sets use; OpenAI calls the system the developer, too.
    fn named(word: &str) -> Option<Self> {
        match word {
            "system" | "developer" => Some(Self::System),
            "user" | "human" => Some(Self::User),
            "assistant" | "gpt" | "chatgpt" | "model" | "bot" | "bing" | "bard" => {
                Some(Self::Assistant)
            }
            _ => None,
        }
    }
}

fn is_answer(json: &str) -> bool {
    let speaker = Members::parse(json).map(|object| object.speaker());
    matches!(speaker, Some(Ok(Speaker::Assistant)))
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

    /// The first of some keys that there is, with its value.
    fn first(&self, keys: [&'static str; 2]) -> Result<(&'static str, &'a str), MessageError> {
        let found = keys.into_iter().find_map(|key| Some((key, self.get(key)?)));
        found.ok_or(MessageError::Missing(keys[0]))
    }

    /// Keys with text that is no part of what is said.
    fn unused(&self) -> impl Iterator<Item = &str> {
        let unused = |(key, raw): &(&String, &&RawValue)| {
            !READ.contains(&key.as_str()) && holds_text(raw.get())
        };
        let unused = self.0.iter().filter(unused);
        unused.map(|(key, _)| key.as_str())
    }

    /// A call of a tool has no text, and what surrounds it makes no sense without it.
    fn check_no_call(&self) -> Result<(), MessageError> {
        for key in ["tool_calls", "function_call"] {
            if self.get(key).is_some_and(holds_text) {
                return Err(MessageError::Call(key));
            }
        }
        Ok(())
    }

    /// Whether an answer that is otherwise for `role` is learnt.
    fn role(&self, role: AnswerRole) -> Result<AnswerRole, MessageError> {
        let mut all = role;
        for key in WEIGHTS {
            let weight = match self.get(key) {
                None | Some("null") => continue,
                Some("true") => Some(AnswerRole::Learnt),
                Some("false") => Some(AnswerRole::Read),
                Some(json) => AnswerRole::by_weight(json),
            };
            match weight {
                Some(AnswerRole::Learnt) => {}
                Some(AnswerRole::Read) => all = AnswerRole::Read,
                None => return Err(MessageError::Weight(key)),
            }
        }
        Ok(all)
    }

    fn speaker(&self) -> Result<Speaker, MessageError> {
        let (key, word) = self.first(["role", "from"])?;
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
    fn text(&self) -> Result<String, MessageError> {
        let (key, content) = self.first(["content", "value"])?;
        if content.starts_with('[') {
            return parts(content);
        }
        string(content).map_err(|found| MessageError::Content { key, found })
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
