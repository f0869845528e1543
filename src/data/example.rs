//! One row of data as tokens, and which of them are learnt.

use std::ops::Range;

use super::chat::AnswerRole;
use super::error::DataError;
use super::formats::{BETWEEN, Formats, RenderedTurn};
use super::jsonl::Row;
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
        let beyond = |tokens: &[u32], cutoff: Option<usize>| {
            cutoff.map_or(0, |cutoff| tokens.len().saturating_sub(cutoff))
        };
        let end = formats.end.encode(tokenizer);
        let between = if end.is_empty() {
            &tokenizer.encode(BETWEEN)
        } else {
            &end
        };
        let (mut tokens, mut learnt, mut cut) = (Vec::new(), Vec::new(), (0, 0));
        let mut gap: &[u32] = &[];
        for turn in turns {
            let mut prompt = turn.prompt.encode(tokenizer);
            let mut completion = turn.completion.encode(tokenizer);
            let lost = (
                beyond(&prompt, formats.prompt_cutoff),
                beyond(&completion, formats.completion_cutoff),
            );
            prompt.drain(..lost.0);
            completion.truncate(completion.len() - lost.1);
            let is_learnt = turn.role == AnswerRole::Learnt;
            if is_learnt && completion.is_empty() {
                return Err(DataError::EmptyCompletion { line });
            }
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
            if is_learnt {
                learnt.push(start..tokens.len());
            }
            cut.0 += usize::from(lost.0 > 0);
            cut.1 += usize::from(lost.1 > 0);
        }
        // Nothing can be learnt from what follows the last answer that is.
        tokens.truncate(learnt.last().map_or(0, |last| last.end));
        tokens.shrink_to_fit();
        Ok(Self {
            tokens,
            learnt,
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
