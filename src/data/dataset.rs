//! A file's examples, read row by row: of a row no more is kept than its tokens.

use std::path::Path;

use anyhow::{Context, Result};

use super::error::DataError;
use super::example::Example;
use super::formats::Formats;
use super::jsonl::{self, Row};
use super::notes::Notes;
use crate::tokenizer::Tokenizer;

/// What a file of data holds.
#[derive(Debug, Default)]
pub struct Dataset {
    /// In the file's order.
    pub examples: Vec<Example>,
    /// How many lines are blank.
    pub blank: usize,
    /// How the rows were read.
    pub notes: Notes,
}

/// Reads every example of a file.
pub fn read(path: &Path, formats: &Formats) -> Result<Dataset> {
    let mut notes = Notes::default();
    let example = |line: usize, bytes: &[u8]| -> Result<Example, DataError> {
        let row = Row::parse(line, bytes)?;
        let rendered = formats.render(&row)?;
        notes.add(line, &rendered);
        Example::of_turns(line, &rendered.turns, formats, Tokenizer::world())
    };
    let examples = jsonl::read_as(path, example)
        .with_context(|| format!("cannot use the data in {}", path.display()))?;
    let lines = examples.last().map_or(0, |last| last.line);
    Ok(Dataset {
        blank: lines - examples.len(),
        examples,
        notes,
    })
}
