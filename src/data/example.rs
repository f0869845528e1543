//! One row of data as tokens, and which of them are learnt.

use std::ops::Range;

use super::chat::AnswerRole;
use super::error::DataError;
use super::formats::{BETWEEN, Formats};
use super::jsonl::Row;
use super::rendered::RenderedTurn;
use crate::tokenizer::Tokenizer;

/// What is read and what is learnt of one row.
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
    /// Formats and tokenises one row. Errors name the line: a missing key, a value that is no
    /// text, nothing to learn.
    pub fn new(row: &Row, formats: &Formats, tokenizer: &Tokenizer) -> Result<Self, DataError> {
        let turns = formats.render(row)?.turns;
        Self::of_turns(row.line(), &turns, formats, tokenizer)
    }

    /// Tokenises the turns of the row on a line.
    pub fn of_turns(
        line: usize,
        turns: &[RenderedTurn],
        formats: &Formats,
        tokenizer: &Tokenizer,
    ) -> Result<Self, DataError> {
        let beyond = |tokens: usize, cutoff: Option<usize>| {
            cutoff.map_or(0, |cutoff| tokens.saturating_sub(cutoff))
        };
        let (mut tokens, mut learnt, mut cut) = (Vec::new(), Vec::new(), (0, 0));
        let bytes = turns
            .iter()
            .map(|turn| turn.prompt.len() + turn.completion.len());
        tokens.reserve(bytes.sum::<usize>() / 4);
        let between = || match formats.end.is_empty() {
            true => tokenizer.encode(BETWEEN),
            false => formats.end.encode(tokenizer),
        };
        let mut is_open = false;
        for turn in turns {
            if is_open {
                tokens.extend(between());
            }
            let from = tokens.len();
            turn.prompt.encode_into(tokenizer, &mut tokens);
            let lost_prompt = beyond(tokens.len() - from, formats.prompt_cutoff);
            tokens.drain(from..from + lost_prompt);
            let start = tokens.len();
            turn.completion.encode_into(tokenizer, &mut tokens);
            let lost_completion = beyond(tokens.len() - start, formats.completion_cutoff);
            tokens.truncate(tokens.len() - lost_completion);
            let is_learnt = turn.role == AnswerRole::Learnt;
            if is_learnt && tokens.len() == start {
                return Err(DataError::EmptyCompletion { line });
            }
            // An answer that was cut does not end here, so the end must not be learnt.
            let is_ended = !formats.end.is_empty() && lost_completion == 0;
            if is_ended {
                formats.end.encode_into(tokenizer, &mut tokens);
            }
            is_open = !is_ended;
            if is_learnt {
                learnt.push(start..tokens.len());
            }
            cut.0 += usize::from(lost_prompt > 0);
            cut.1 += usize::from(lost_completion > 0);
        }
        // Nothing can be learnt from what follows the last answer that is.
        tokens.truncate(learnt.last().map_or(0, |last| last.end));
        // In blocks of their own size: to shrink one may leave up to half of it unused.
        Ok(Self {
            tokens: tokens.as_slice().to_vec(),
            learnt: learnt.as_slice().to_vec(),
            line,
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

#[cfg(test)]
mod tests;
