//! A file's examples, read row by row: of a row no more is kept than its tokens.

use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::bad_rows::{self, BadRows};
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

/// Takes the examples of a file out of their lists that have a fault, and returns what there is to
/// say of them.
pub fn sift<const N: usize>(
    lists: [&mut Vec<Example>; N],
    fault: impl Fn(&Example) -> Option<DataError>,
) -> BadRows {
    let (mut faults, mut others) = (Vec::new(), 0);
    for list in lists {
        list.retain(|example| {
            let found = fault(example);
            let is_sound = found.is_none();
            faults.extend(found.map(|error| (example.line, error)));
            is_sound
        });
        others += list.len();
    }
    BadRows::of(faults, others)
}

#[cfg(test)]
mod tests;
