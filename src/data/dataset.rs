//! A file's examples, read row by row: of a row no more is kept than its tokens.

use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::bad_rows;
use super::error::DataError;
use super::example::Example;
use super::formats::Formats;
use super::notes::Notes;
use crate::tokenizer::Tokenizer;

/// What a file of data holds.
#[derive(Debug, Default)]
pub struct Dataset {
    /// In the file's order.
    pub examples: Vec<Example>,
    /// How many lines are blank.
    pub blank: usize,
    /// How the rows were read, and what of them is not used.
    pub notes: Notes,
}

/// Reads every example of a file. Errors name all rows that cannot be used, unless the formats say
/// to leave them out.
pub fn read(path: &Path, formats: &Formats) -> Result<Dataset> {
    let mut notes = Notes::default();
    let example = |line: usize, bytes: &[u8]| {
        let row = formats.row(line, bytes)?;
        let rendered = match formats.render(&row) {
            Err(DataError::NothingLearnt { .. }) => {
                notes.not_learnt += 1;
                return Ok(None);
            }
            rendered => rendered?,
        };
        let example = Example::of_turns(line, &rendered.turns, formats, Tokenizer::world())?;
        notes.add(&row, formats, &rendered);
        Ok(Some(example))
    };
    let context = || format!("cannot use the data in {}", path.display());
    let rows = bad_rows::read(path, formats.on_bad_row, example).with_context(context)?;
    ensure!(
        !rows.used.is_empty(),
        "{}: every row says that it is not to be learnt from",
        context()
    );
    notes.bad = rows.bad;
    notes.of_file = rows.notes;
    Ok(Dataset {
        examples: rows.used,
        blank: rows.blank,
        notes,
    })
}

#[cfg(test)]
mod tests;
