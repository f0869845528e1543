//! `--prompts`: a file of prompts, and one JSON object for each with both answers.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::Serialize;

use super::Loaded;
use crate::console::Console;
use crate::data::Formats;
use crate::data::jsonl::{self, Row};
use crate::generate::{self, FinishReason, Settings};
use crate::setting::{PROMPT_FORMATTER, PROMPTS};
use crate::tokenizer::Tokenizer;

/// A prompt, and the line of its file that it stands on.
pub struct Prompt {
    line: usize,
    /// The prompt's parts, which are tokenised one by one.
    texts: Vec<String>,
}

/// A line of the output.
#[derive(Serialize)]
struct Answered {
    line: usize,
    prompt: String,
    base: String,
    base_end: FinishReason,
    tuned: String,
    tuned_end: FinishReason,
}

/// Reads the prompts: an object is put through the formats, a string stands as it is.
pub fn read(path: &Path, formats: &Formats) -> Result<Vec<Prompt>> {
    let parse = |line, bytes: &[u8]| {
        let texts = match jsonl::string_line(line, bytes)? {
            Some(text) => vec![text],
            None => formats.prompt(&Row::parse(line, bytes)?)?,
        };
        Ok(Prompt { line, texts })
    };
    let read = || -> Result<Vec<Prompt>> {
        let prompts = jsonl::read_as(path, parse)?;
        for Prompt { line, texts } in &prompts {
            ensure!(
                texts.iter().any(|text| !text.is_empty()),
                "line {line}: the prompt is empty; give the model something to answer"
            );
        }
        Ok(prompts)
    };
    read().with_context(|| {
        format!(
            "cannot use {PROMPTS} {} (each line an object for {PROMPT_FORMATTER}, or a string)",
            path.display()
        )
    })
}

/// Answers each prompt from both states, and shows the answers before it goes on to the next
/// prompt.
pub fn answer(
    loaded: &Loaded,
    prompts: &[Prompt],
    settings: &Settings,
    console: &Console,
) -> Result<()> {
    for Prompt { line, texts } in prompts {
        let encode = |text: &String| Tokenizer::world().encode(text);
        let tokens: Vec<u32> = texts.iter().flat_map(encode).collect();
        let answer = |state| {
            generate::answer(&loaded.model, &tokens, state, settings)
                .with_context(|| format!("line {line}"))
        };
        let (base, base_end) = answer(&loaded.base)?;
        let (tuned, tuned_end) = answer(&loaded.tuned)?;
        let answered = Answered {
            line: *line,
            prompt: texts.concat(),
            base,
            base_end,
            tuned,
            tuned_end,
        };
        console.stream(&(serde_json::to_string(&answered)? + "\n"))?;
    }
    Ok(())
}
