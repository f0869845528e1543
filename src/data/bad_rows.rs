//! Rows that cannot be used: all of a file's are found before it is refused, or they are left out.

use std::error::Error;
use std::fmt;
use std::path::Path;

use anyhow::Result;

use super::error::DataError;
use super::jsonl;
use super::words::{counted, shortened};
use crate::setting::SKIP_BAD;
use crate::{console, container};

/// How many are named.
const NAMED: usize = 10;

/// The most characters of a reason.
const LONGEST: usize = 300;

/// What becomes of a file with rows that cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnBadRow {
    /// It is refused, and the rows are named.
    Refuse,
    /// The rows are left out, which is told.
    Skip,
}

/// How many rows cannot be used, and the first of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BadRows {
    count: usize,
    /// How many can be.
    others: usize,
    /// Lines with what is wrong with them.
    named: Vec<(usize, String)>,
}

/// What the rows of a file came to.
pub struct Rows<T> {
    /// One for each row that is used.
    pub used: Vec<T>,
    /// Those that cannot be.
    pub bad: BadRows,
    /// Blank lines.
    pub blank: usize,
    /// What a user should be told of the file, a line each.
    pub notes: Vec<String>,
}

/// Reads a file row by row with `parse`, which gives `None` for a row that is left out on purpose.
/// Errors when the file cannot be read, when there are bad rows that are not to be skipped, or when
/// there are no others.
pub fn read<T>(
    path: &Path,
    on_bad_row: OnBadRow,
    mut parse: impl FnMut(usize, &[u8]) -> Result<Option<T>, DataError>,
) -> Result<Rows<T>> {
    let mut rows = Rows {
        used: Vec::new(),
        bad: BadRows::default(),
        blank: 0,
        notes: Vec::new(),
    };
    let (mut count, mut last) = (0, 0);
    let take = |line: usize, row: container::Row<'_>| {
        (count, last) = (count + 1, line);
        match row
            .map_err(DataError::from)
            .and_then(|bytes| parse(line, bytes))
        {
            Ok(row) => rows.used.extend(row),
            Err(error) => rows.bad.add(line, &error),
        }
        Ok(())
    };
    rows.notes = jsonl::each(path, take)?;
    rows.blank = last - count;
    rows.bad.others = count - rows.bad.count;
    if rows.bad.must_refuse(on_bad_row) {
        let error = anyhow::Error::from(rows.bad);
        return Err(match rows.notes.into_iter().next() {
            Some(note) => error.context(note),
            None => error,
        });
    }
    Ok(rows)
}

impl BadRows {
    /// Those with these faults on their lines, beside others that have none.
    pub fn of(mut faults: Vec<(usize, DataError)>, others: usize) -> Self {
        faults.sort_by_key(|(line, _)| *line);
        let mut bad = Self {
            others,
            ..Self::default()
        };
        for (line, error) in &faults {
            bad.add(*line, error);
        }
        bad
    }

    /// Whether they are reason to refuse the file: leaving them out was not asked for, or there
    /// are no others.
    pub fn must_refuse(&self, on_bad_row: OnBadRow) -> bool {
        self.count > 0 && (on_bad_row == OnBadRow::Refuse || self.others == 0)
    }

    /// How many.
    pub fn count(&self) -> usize {
        self.count
    }

    fn add(&mut self, line: usize, error: &DataError) {
        self.count += 1;
        if self.named.len() < NAMED {
            // The line is told once, for all rows that have the same fault. A row of a table is a
            // line here.
            let reason = error.to_string();
            let mut numbers = ["line", "row"]
                .map(|word| format!("{word} {line}"))
                .into_iter();
            let reason = numbers
                .find_map(|number| reason.strip_prefix(&number))
                .unwrap_or(&reason);
            self.named.push((line, reason.to_owned()));
        }
    }

    /// What is said where they were left out.
    pub fn left_out(&self) -> String {
        let rows = counted(self.count, "row");
        format!("{rows} left out ({SKIP_BAD}): {}", self.faults())
    }

    /// Lines with the same fault together.
    fn faults(&self) -> String {
        let mut faults: Vec<(&str, Vec<String>)> = Vec::new();
        for (line, reason) in &self.named {
            match faults.iter_mut().find(|(known, _)| known == reason) {
                Some((_, lines)) => lines.push(line.to_string()),
                None => faults.push((reason, vec![line.to_string()])),
            }
        }
        let fault = |(reason, lines): &(&str, Vec<String>)| {
            let word = if lines.len() == 1 { "line" } else { "lines" };
            let reason = console::harmless(&shortened(reason, LONGEST));
            format!("{word} {}{reason}", lines.join(", "))
        };
        let mut text = faults.iter().map(fault).collect::<Vec<_>>().join("; ");
        if self.count > self.named.len() {
            text += &format!("; and {} more", self.count - self.named.len());
        }
        text
    }
}

/// The error that they are. Where no row can be used, leaving rows out is no help.
impl fmt::Display for BadRows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.named.as_slice(), self.others) {
            ([(line, reason)], 0) => write!(f, "line {line}{reason}"),
            ([(line, reason)], _) => {
                write!(f, "line {line}{reason}; {SKIP_BAD} leaves such rows out")
            }
            (_, 0) => write!(
                f,
                "none of {} rows can be used: {}",
                self.count,
                self.faults()
            ),
            _ => write!(
                f,
                "{} rows cannot be used ({SKIP_BAD} leaves them out): {}",
                self.count,
                self.faults()
            ),
        }
    }
}

impl Error for BadRows {}

#[cfg(test)]
mod tests;
