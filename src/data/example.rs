//! One prompt with its completion, as tokens.

use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::jsonl::{self, Row};
use super::template::Template;
use crate::tokenizer::Tokenizer;

/// How a line of data becomes a prompt and a completion.
#[derive(Clone, Debug)]
pub struct Formats {
    /// Text of the prompt.
    pub prompt: Template,
    /// Text of the completion.
    pub response: Template,
    /// Keep only so many of the prompt's last tokens.
    pub prompt_cutoff: Option<usize>,
    /// Keep only so many of the completion's first tokens.
    pub completion_cutoff: Option<usize>,
}

/// A prompt and the completion to be learnt, one after the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Example {
    /// The prompt's tokens, then the completion's. Each text is tokenised by itself, so no token spans the two.
    pub tokens: Vec<u32>,
    /// How many of `tokens` are the prompt's.
    pub prompt_len: usize,
    /// Where the example stands in its file, from 1.
    pub line: usize,
    /// How many tokens of the prompt and of the completion the cutoffs took away.
    pub cut: (usize, usize),
}

impl Example {
    /// Formats and tokenises one line. Errors name the line: a missing key, a value that is no text, nothing to learn.
    pub fn new(row: &Row, formats: &Formats, tokenizer: &Tokenizer) -> Result<Self> {
        let beyond = |tokens: &[u32], cutoff: Option<usize>| {
            cutoff.map_or(0, |cutoff| tokens.len().saturating_sub(cutoff))
        };
        let mut tokens = tokenizer.encode(&formats.prompt.render(row)?);
        let mut completion = tokenizer.encode(&formats.response.render(row)?);
        let cut = (
            beyond(&tokens, formats.prompt_cutoff),
            beyond(&completion, formats.completion_cutoff),
        );
        tokens.drain(..cut.0);
        completion.truncate(completion.len() - cut.1);
        ensure!(
            !completion.is_empty(),
            "line {}: the completion is empty, so there is nothing to learn from it; remove the line, or let \
             --response_formatter add something",
            row.line()
        );
        let prompt_len = tokens.len();
        tokens.extend(completion);
        Ok(Self {
            tokens,
            prompt_len,
            line: row.line(),
            cut,
        })
    }

    /// Tokens whose prediction is scored: the completion's, less its first one when nothing stands before it.
    pub fn scored(&self, soft_prompt: bool) -> usize {
        let leads = self.prompt_len > 0 || soft_prompt;
        self.tokens.len() - self.prompt_len - usize::from(!leads)
    }

    /// Rows that the model computes for it: the soft prompt's, and one for each token but the last, which predicts
    /// nothing.
    pub fn rows(&self, soft_prompt: bool) -> usize {
        self.tokens.len() - 1 + usize::from(soft_prompt)
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
mod tests {
    use super::*;

    fn formats(prompt_cutoff: Option<usize>, completion_cutoff: Option<usize>) -> Formats {
        let prompt = Template::parse("{q}\n\n").unwrap();
        let response = Template::parse("{a}").unwrap();
        Formats {
            prompt,
            response,
            prompt_cutoff,
            completion_cutoff,
        }
    }

    fn example(json: &str, formats: &Formats) -> Result<Example> {
        Example::new(
            &Row::parse(7, json.as_bytes())?,
            formats,
            Tokenizer::world(),
        )
    }

    #[test]
    fn cutoffs_count_tokens_from_the_prompts_end_and_the_completions_start() {
        let text = |tokens: &[u32]| String::from_utf8(Tokenizer::world().decode(tokens)).unwrap();
        let json = r#"{"q": "one two three", "a": " four five six"}"#;
        let whole = example(json, &formats(None, None)).unwrap();
        assert_eq!(text(&whole.tokens[..whole.prompt_len]), "one two three\n\n");
        assert_eq!(text(&whole.tokens[whole.prompt_len..]), " four five six");
        let cut = example(json, &formats(Some(2), Some(1))).unwrap();
        assert_eq!(text(&cut.tokens[..cut.prompt_len]), " three\n\n");
        assert_eq!(text(&cut.tokens[cut.prompt_len..]), " four");
        let none = example(json, &formats(Some(0), None)).unwrap();
        assert_eq!(none.prompt_len, 0);
    }

    #[test]
    fn an_empty_completion_is_an_error_that_names_the_line() {
        let error = example(r#"{"q": "x", "a": ""}"#, &formats(None, None)).unwrap_err();
        assert!(error.to_string().contains("line 7"), "{error}");
    }

    #[test]
    fn a_lone_token_is_scored_only_after_a_soft_prompt() {
        let lone = Example {
            tokens: vec![5],
            prompt_len: 0,
            line: 1,
            cut: (0, 0),
        };
        assert_eq!((lone.scored(true), lone.rows(true)), (1, 1));
        assert_eq!((lone.scored(false), lone.rows(false)), (0, 0));
    }
}
