//! How the rows of a file were read, for a person to see before it counts.

use std::collections::BTreeMap;
use std::fmt;

use super::format::DataFormat;
use super::formats::Rendered;

/// What there is to say of a file's rows.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Notes {
    /// How many rows are of each format, and the line of the first.
    formats: BTreeMap<DataFormat, (usize, usize)>,
}

impl Notes {
    /// Takes in the row on a line.
    pub fn add(&mut self, line: usize, row: &Rendered) {
        let (count, _) = self.formats.entry(row.format).or_insert((0, line));
        *count += 1;
    }
}

/// One line or more, without the last one's end.
impl fmt::Display for Notes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lines = Vec::new();
        for (format, (count, first)) in &self.formats {
            let mut from = String::new();
            if self.formats.len() > 1 {
                from = format!(" of {count} rows, from line {first} on");
            }
            lines.push(format!("format {format}{from}: {}", format.meaning()));
        }
        f.write_str(&lines.join("\n"))
    }
}
