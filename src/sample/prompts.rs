//! `--prompts`: a file of prompts, and one JSON object for each with both answers.

use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::Serialize;

use super::{BLANK_ADVICE, Loaded, ends_in_blank};
use crate::console::Console;
use crate::data::Formats;
use crate::data::bad_rows;
use crate::data::error::DataError;
use crate::data::jsonl;
use crate::data::notes::Notes;
use crate::data::rendered::Remark;
use crate::data::words::counted;
use crate::distributed::{Ranks, Stage};
use crate::generate::{self, FinishReason, Settings};
use crate::model::State;
use crate::setting::{INIT, KEEP_CR, MODEL_LOCATION, PROMPT_FORMATTER, PROMPTS, SAVE_FILENAME};
use crate::tokenizer::{Text, Tokenizer};

/// A prompt, and the line of its file that it stands on.
#[derive(Debug)]
pub struct Prompt {
    line: usize,
    /// The prompt's parts, which are tokenised one by one.
    texts: Vec<Text>,
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

/// Reads the prompts: an object is put through the formats, a string stands as it is. Says on
/// `console` what of them is not as it stands in the file.
pub fn read(path: &Path, formats: &Formats, console: &Console) -> Result<Vec<Prompt>> {
    let (mut new_line_ends, mut blank_ends) = (0, 0);
    let mut notes = Notes::default();
    let parse = |line: usize, bytes: &[u8]| {
        let (texts, is_changed) = match jsonl::string_line(line, bytes)? {
            Some(mut text) => {
                let is_changed = formats.line_ends.apply(&mut text);
                let text = Text::from(text);
                if text.foreign_signs().next().is_some() {
                    notes.remark(Remark::ForeignSign, line);
                }
                (vec![text], is_changed)
            }
            None => {
                let row = formats.row(line, bytes)?;
                let (texts, mut rendered) = formats.prompt(&row)?;
                let is_changed = rendered.remarks.remove(&Remark::NewLineEnds);
                notes.add(&row, formats, &rendered);
                (texts, is_changed)
            }
        };
        if texts.iter().all(Text::is_empty) {
            return Err(DataError::EmptyPrompt { line });
        }
        new_line_ends += usize::from(is_changed);
        blank_ends += usize::from(texts.last().is_some_and(ends_in_blank));
        Ok(Some(Prompt { line, texts }))
    };
    let rows = bad_rows::read(path, formats.on_bad_row, parse).with_context(|| {
        format!(
            "cannot use {PROMPTS} {} (each line an object for {PROMPT_FORMATTER}, or a string)",
            path.display()
        )
    })?;
    notes.of_file = rows.notes;
    for line in notes.of_prompts().to_string().lines() {
        console.line(line);
    }
    if new_line_ends > 0 {
        console.line(&format!(
            "note   CR LF and CR became LF in {}; {KEEP_CR} keeps them",
            counted(new_line_ends, "prompt")
        ));
    }
    if blank_ends > 0 {
        let prompts = counted(blank_ends, "prompt");
        console.line(&format!(
            "note   {prompts} with a blank at the end; {BLANK_ADVICE}"
        ));
    }
    if rows.bad.count() > 0 {
        console.line(&format!("note   {}", rows.bad.left_out()));
    }
    Ok(rows.used)
}

/// Answers each prompt from both states, and shows the answers before it goes on to the next
/// prompt. Several ranks answer one each, if all have the same to answer from.
pub fn answer(
    ranks: &Ranks,
    loaded: &Loaded,
    prompts: &[Prompt],
    settings: &Settings,
    console: &Console,
) -> Result<()> {
    if ranks.count() > 1 {
        ranks.ensure_alike(Stage::Prompts, compared(loaded, prompts, settings))?;
    }
    for some in prompts.chunks(ranks.count()) {
        let own = some.get(ranks.rank());
        let own = own.map(|prompt| answered(loaded, prompt, settings));
        // An error comes in its place among the answers.
        let own = own.map(|line| line.map_err(|error| format!("{error:#}")));
        let own = serde_json::to_vec(&own).map_err(anyhow::Error::from);
        for line in ranks.gather(Stage::Prompts, own)? {
            match serde_json::from_slice(&line)? {
                Some(Ok::<String, String>(line)) => console.stream(&(line + "\n"))?,
                Some(Err(error)) => bail!("{error}"),
                None => {}
            }
        }
    }
    Ok(())
}

/// What ranks that share prompts out must have alike, and a value of each.
fn compared(
    loaded: &Loaded,
    prompts: &[Prompt],
    settings: &Settings,
) -> Result<Vec<(String, String)>> {
    let checksum =
        |state: &State| Ok::<_, candle_core::Error>(format!("{:08x}", state.checksum()?));
    let all = format!("{prompts:?}");
    Ok(vec![
        (
            format!("model ({MODEL_LOCATION})"),
            loaded.model.fingerprint().to_string(),
        ),
        (
            format!("starting state of the base ({INIT})"),
            checksum(&loaded.base)?,
        ),
        (format!("state ({SAVE_FILENAME})"), checksum(&loaded.tuned)?),
        (
            format!("set of prompts ({PROMPTS})"),
            format!("{:08x}", crc32fast::hash(all.as_bytes())),
        ),
        (
            "way to draw answers (their length, temperature, top_p, seed and end)".to_string(),
            format!("{settings:?}"),
        ),
    ])
}

/// The line of a prompt and both its answers.
fn answered(loaded: &Loaded, prompt: &Prompt, settings: &Settings) -> Result<String> {
    let Prompt { line, texts } = prompt;
    let encode = |text: &Text| text.encode(Tokenizer::world());
    let tokens: Vec<u32> = texts.iter().flat_map(encode).collect();
    let answer = |state| {
        generate::answer(&loaded.model, &tokens, state, settings)
            .with_context(|| format!("line {line}"))
    };
    loaded.model.check_files()?;
    let (base, base_end) = answer(&loaded.base)?;
    let (tuned, tuned_end) = answer(&loaded.tuned)?;
    loaded.model.check_files()?;
    let answered = Answered {
        line: *line,
        prompt: texts.iter().map(Text::to_string).collect(),
        base,
        base_end,
        tuned,
        tuned_end,
    };
    Ok(serde_json::to_string(&answered)?)
}
