//! How a row of data becomes prompts and completions: which of the formats it is of, and the
//! templates that its texts go through.

use std::sync::LazyLock;

use super::chat::{AnswerRole, Chat, Turn};
use super::error::DataError;
use super::format::{Content, DataFormat, Purpose, Script, Shape};
use super::jsonl::Row;
use super::template::Template;
use crate::setting::{PROMPT_FORMATTER, RESPONSE_FORMATTER};

/// What stands between an answer and the next question of a conversation, unless answers have an
/// end of their own.
pub const BETWEEN: &str = "\n\n";

/// The prompt's template unless the user gives another.
static DEFAULT_PROMPT: LazyLock<Template> = LazyLock::new(|| Formats::default().prompt);

/// How a row of data becomes a prompt and a completion, or a conversation's prompts and
/// completions in turn.
#[derive(Clone, Debug, PartialEq)]
pub struct Formats {
    /// What the keys of each row mean; `None` goes by the keys that it has.
    pub format: Option<DataFormat>,
    /// Text of a system message, the key `system`; it is part of the first prompt.
    pub system: Template,
    /// Text of a prompt; a conversation's question is the key `input`.
    pub prompt: Template,
    /// Text of a completion; a conversation's answer is the key `output`.
    pub response: Template,
    /// Follows every whole completion, and is learnt with it; may be empty.
    pub end: String,
    /// Keep only so many of each prompt's last tokens.
    pub prompt_cutoff: Option<usize>,
    /// Keep only so many of each completion's first tokens.
    pub completion_cutoff: Option<usize>,
}

impl Default for Formats {
    fn default() -> Self {
        let template =
            |text| Template::parse(text).expect("a template that is written here is one");
        Self {
            format: None,
            system: template("system: {system}\n\n"),
            prompt: template("user: {input}\n\nassistant:"),
            response: template(" {output}"),
            end: String::new(),
            prompt_cutoff: None,
            completion_cutoff: None,
        }
    }
}

/// A row as text.
pub struct Rendered {
    /// What its keys were taken for.
    pub format: DataFormat,
    /// At least one.
    pub turns: Vec<RenderedTurn>,
}

/// A prompt and its completion.
pub struct RenderedTurn {
    /// What is read.
    pub prompt: String,
    /// What is said.
    pub completion: String,
    /// Whether the completion is learnt.
    pub role: AnswerRole,
}

impl Formats {
    /// The prompts and completions of a row. A conversation's last question is nothing to learn
    /// from unless it is answered.
    pub fn render(&self, row: &Row) -> Result<Rendered, DataError> {
        let format = self.format_of(row, Purpose::Learn);
        let turns = match format {
            DataFormat::Template => vec![RenderedTurn {
                prompt: self.prompt.render(row)?,
                completion: self.response.render(row)?,
                role: AnswerRole::Learnt,
            }],
            DataFormat::Shape(shape) => match shape.read(row, Purpose::Learn)? {
                Content::Chat(chat) => self.turns(row, shape, &chat)?,
                Content::Script(script) => self.lines(script),
            },
        };
        match (turns.is_empty(), format) {
            (true, DataFormat::Shape(shape)) => Err(DataError::NoAnswer {
                line: row.line(),
                key: shape.keys()[0],
            }),
            _ => Ok(Rendered { format, turns }),
        }
    }

    /// The texts of a row up to where it is to be answered: its prompt, or its conversation up to
    /// the last question. They are tokenised one by one, as in training.
    pub fn prompt(&self, row: &Row) -> Result<Vec<String>, DataError> {
        let DataFormat::Shape(shape) = self.format_of(row, Purpose::Answer) else {
            return Ok(vec![self.prompt.render(row)?]);
        };
        let turns = match shape.read(row, Purpose::Answer)? {
            Content::Chat(mut chat) => {
                // An open question is the prompt of an answer to come.
                chat.turns.extend(chat.question.take().map(open));
                self.turns(row, shape, &chat)?
            }
            Content::Script(mut script) => {
                let open = script.open.take().map(|prompt| (prompt, String::new()));
                script.turns.extend(open);
                self.lines(script)
            }
        };
        let between = match self.end.as_str() {
            "" => BETWEEN,
            end => end,
        };
        let mut texts = Vec::new();
        for turn in turns {
            texts.extend([turn.prompt, turn.completion, between.to_string()]);
        }
        // The last completion, and what would follow it, is what is asked for.
        texts.truncate(texts.len().saturating_sub(2));
        match texts.is_empty() {
            true => Err(DataError::NoAnswer {
                line: row.line(),
                key: shape.keys()[0],
            }),
            false => Ok(texts),
        }
    }

    /// What the keys of a row mean. Templates of whose keys all are there count first, whatever
    /// else a row holds; but Alpaca's rows have both keys of the default templates, which would
    /// drop the instruction.
    fn format_of(&self, row: &Row, purpose: Purpose) -> DataFormat {
        if let Some(format) = self.format {
            return format;
        }
        let is_shape = |shape: &Shape| {
            let is_named = |key: &&str| {
                self.templates(purpose)
                    .any(|of| of.keys().any(|k| k == *key))
            };
            shape.fits(row, purpose) && !shape.keys().iter().any(is_named)
        };
        let mut keys = self.templates(purpose).flat_map(Template::required_keys);
        let shape = match keys.all(|key| row.has_text(key)) {
            true => Some(Shape::Alpaca)
                .filter(|alpaca| self.prompt == *DEFAULT_PROMPT && is_shape(alpaca)),
            false => Shape::ALL.into_iter().find(is_shape),
        };
        shape.map_or(DataFormat::Template, DataFormat::Shape)
    }

    /// The templates that a row's keys go through, but for the system message's.
    fn templates(&self, purpose: Purpose) -> impl Iterator<Item = &Template> {
        let response = (purpose == Purpose::Learn).then_some(&self.response);
        [&self.prompt].into_iter().chain(response)
    }

    /// The prompt and the completion of each turn of a conversation.
    fn turns(&self, row: &Row, shape: Shape, chat: &Chat) -> Result<Vec<RenderedTurn>, DataError> {
        for (setting, template, key) in [
            (PROMPT_FORMATTER, &self.prompt, "input"),
            (RESPONSE_FORMATTER, &self.response, "output"),
        ] {
            // Otherwise the message would be left out without a word.
            if !template.keys().any(|found| found == key) {
                return Err(DataError::NoPlace {
                    line: row.line(),
                    has: shape.keys()[0],
                    setting,
                    key,
                });
            }
        }
        let of_row = row.text_of("system").filter(|text| !text.trim().is_empty());
        let system = match chat.system.is_empty() {
            true => of_row.into_iter().collect(),
            false => chat.system.iter().map(String::as_str).collect::<Vec<_>>(),
        };
        let mut lead = String::new();
        for system in system {
            lead += &self.system.render_with(row, "system", system)?;
        }
        let turn = |turn: &Turn| {
            let prompt = self.prompt.render_with(row, "input", &turn.question)?;
            Ok(RenderedTurn {
                prompt: std::mem::take(&mut lead) + &prompt,
                completion: self.response.render_with(row, "output", &turn.answer)?,
                role: turn.role,
            })
        };
        chat.turns.iter().map(turn).collect()
    }

    /// The turns of a text, without the ends that it has already.
    fn lines(&self, script: Script) -> Vec<RenderedTurn> {
        let turn = |(prompt, answer): (String, String)| {
            let bare = match self.end.as_str() {
                "" => answer.as_str(),
                end => answer.strip_suffix(end).unwrap_or(&answer),
            };
            RenderedTurn {
                prompt,
                completion: bare.to_owned(),
                role: AnswerRole::Learnt,
            }
        };
        script.turns.into_iter().map(turn).collect()
    }
}

/// A question whose answer is to come.
fn open(question: String) -> Turn {
    Turn {
        question,
        answer: String::new(),
        role: AnswerRole::Learnt,
    }
}
