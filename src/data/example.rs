//! One line of data as tokens, and which of them are learnt.

use std::ops::Range;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::chat::Chat;
use super::error::DataError;
use super::jsonl::{self, Row};
use super::template::Template;
use crate::setting::{PROMPT_FORMATTER, RESPONSE_FORMATTER};
use crate::tokenizer::Tokenizer;

/// What stands between an answer and the next question of a conversation, unless answers have an
/// end of their own.
const BETWEEN: &str = "\n\n";

/// How a line of data becomes a prompt and a completion, or a conversation's prompts and
/// completions in turn.
#[derive(Clone, Debug, PartialEq)]
pub struct Formats {
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
            system: template("system: {system}\n\n"),
            prompt: template("user: {input}\n\nassistant:"),
            response: template(" {output}"),
            end: String::new(),
            prompt_cutoff: None,
            completion_cutoff: None,
        }
    }
}

impl Formats {
    /// The prompts and completions of a line. One that has all keys of both templates is plain,
    /// whatever else it holds. A conversation's last question is nothing to learn from unless it is
    /// answered.
    fn render(&self, row: &Row) -> Result<Vec<(String, String)>, DataError> {
        let Some(chat) = self.chat(row, &[&self.prompt, &self.response])? else {
            return Ok(vec![(self.prompt.render(row)?, self.response.render(row)?)]);
        };
        match self.turns(row, &chat)? {
            turns if turns.is_empty() => Err(DataError::NoAnswer { line: row.line() }),
            turns => Ok(turns),
        }
    }

    /// The texts of a line up to where it is to be answered: its prompt, or its conversation up to
    /// the last question. They are tokenised one by one, as in training.
    pub fn prompt(&self, row: &Row) -> Result<Vec<String>, DataError> {
        let Some(mut chat) = self.chat(row, &[&self.prompt])? else {
            return Ok(vec![self.prompt.render(row)?]);
        };
        // An open question is the prompt of an answer to come.
        let open = chat.question.take();
        chat.turns
            .extend(open.map(|question| (question, String::new())));
        let between = match self.end.as_str() {
            "" => BETWEEN,
            end => end,
        };
        let mut texts = Vec::new();
        for (prompt, completion) in self.turns(row, &chat)? {
            texts.extend([prompt, completion, between.to_string()]);
        }
        // The last completion, and what would follow it, is what is asked for.
        texts.truncate(texts.len().saturating_sub(2));
        match texts.is_empty() {
            true => Err(DataError::NoAnswer { line: row.line() }),
            false => Ok(texts),
        }
    }

    /// The conversation of a line, unless the line has all keys of the templates.
    fn chat(&self, row: &Row, templates: &[&Template]) -> Result<Option<Chat>, DataError> {
        let mut keys = templates.iter().flat_map(|template| template.keys());
        match keys.all(|key| row.text(key).is_ok()) {
            true => Ok(None),
            false => row.chat(),
        }
    }

    /// The prompt and the completion of each turn.
    fn turns(&self, row: &Row, chat: &Chat) -> Result<Vec<(String, String)>, DataError> {
        for (setting, template, key) in [
            (PROMPT_FORMATTER, &self.prompt, "input"),
            (RESPONSE_FORMATTER, &self.response, "output"),
        ] {
            // Otherwise the message would be left out without a word.
            if !template.keys().any(|found| found == key) {
                let line = row.line();
                return Err(DataError::NoPlace { line, setting, key });
            }
        }
        let mut lead = String::new();
        for system in &chat.system {
            lead += &self.system.render_with(row, "system", system)?;
        }
        let turn = |(question, answer): &(String, String)| {
            let prompt = self.prompt.render_with(row, "input", question)?;
            let completion = self.response.render_with(row, "output", answer)?;
            Ok((std::mem::take(&mut lead) + &prompt, completion))
        };
        chat.turns.iter().map(turn).collect()
    }
}

/// What is read and what is learnt of one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Example {
    /// Prompts and completions in turn. Each text is tokenised by itself, so no token spans two.
    pub tokens: Vec<u32>,
    /// Which of `tokens` are learnt, in order; the last range ends with `tokens`. All others are
    /// only read.
    pub learnt: Vec<Range<usize>>,
    /// Where the example stands in its file, from 1.
    pub line: usize,
    /// How many prompts and how many completions the cutoffs shortened.
    pub cut: (usize, usize),
}

impl Example {
    /// Formats and tokenises one line. Errors name the line: a missing key, a value that is no
    /// text, nothing to learn.
    pub fn new(row: &Row, formats: &Formats, tokenizer: &Tokenizer) -> Result<Self> {
        let beyond = |tokens: &[u32], cutoff: Option<usize>| {
            cutoff.map_or(0, |cutoff| tokens.len().saturating_sub(cutoff))
        };
        let end = tokenizer.encode(&formats.end);
        let between = if end.is_empty() {
            &tokenizer.encode(BETWEEN)
        } else {
            &end
        };
        let (mut tokens, mut learnt, mut cut) = (Vec::new(), Vec::new(), (0, 0));
        let mut gap: &[u32] = &[];
        for (prompt, completion) in formats.render(row)? {
            let mut prompt = tokenizer.encode(&prompt);
            let mut completion = tokenizer.encode(&completion);
            let lost = (
                beyond(&prompt, formats.prompt_cutoff),
                beyond(&completion, formats.completion_cutoff),
            );
            prompt.drain(..lost.0);
            completion.truncate(completion.len() - lost.1);
            ensure!(
                !completion.is_empty(),
                "line {}: the completion is empty, so there is nothing to learn from it; remove \
                 the line, or let \
                 {RESPONSE_FORMATTER} add something",
                row.line()
            );
            tokens.extend_from_slice(gap);
            tokens.extend(prompt);
            let start = tokens.len();
            tokens.extend(completion);
            // An answer that was cut does not end here, so the end must not be learnt.
            let is_ended = !end.is_empty() && lost.1 == 0;
            if is_ended {
                tokens.extend_from_slice(&end);
            }
            gap = if is_ended { &[] } else { between };
            learnt.push(start..tokens.len());
            cut.0 += usize::from(lost.0 > 0);
            cut.1 += usize::from(lost.1 > 0);
        }
        Ok(Self {
            tokens,
            learnt,
            line: row.line(),
            cut,
        })
    }

    /// Whether something is read before what is learnt first.
    pub fn has_lead(&self) -> bool {
        self.learnt.first().is_some_and(|part| part.start > 0)
    }

    /// How many tokens are learnt.
    pub fn learnt_len(&self) -> usize {
        self.learnt.iter().map(Range::len).sum()
    }
}

/// Reads every example of a JSONL file.
pub fn read(path: &Path, formats: &Formats) -> Result<Vec<Example>> {
    let read = || -> Result<Vec<Example>> {
        let rows = jsonl::read(path)?;
        rows.iter()
            .map(|row| Example::new(row, formats, Tokenizer::world()))
            .collect()
    };
    read().with_context(|| format!("cannot use the data in {}", path.display()))
}

#[cfg(test)]
mod tests;
