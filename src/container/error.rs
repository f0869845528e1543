//! What can be wrong with a file of rows, apart from what a row says.

use std::io;

use thiserror::Error;

use super::bounded::{LONGEST_ROW, MOST_COLUMNS, TooLong};

/// Why a file's rows cannot be read. The caller knows the path and adds it.
#[derive(Debug, Error)]
pub enum ContainerError {
    /// The file cannot be opened, or a read failed.
    #[error("the file cannot be read")]
    Read(#[from] io::Error),
    /// The file is of a kind that is known and holds no rows that could be read.
    #[error("the file is {what}; {advice}")]
    Other {
        /// What it is, with its article.
        what: &'static str,
        /// What to do instead.
        advice: &'static str,
    },
    /// A compressed file inside a compressed file.
    #[error("the file is {outer} of {inner}; unpack it once")]
    PackedTwice {
        /// The outer compression.
        outer: &'static str,
        /// The inner one.
        inner: &'static str,
    },
    /// A row has no end within [`LONGEST_ROW`].
    #[error("row {row} is longer than {} MiB; is its end missing?", LONGEST_ROW >> 20)]
    TooLong {
        /// Which row, from 1; of JSON lines, which line.
        row: usize,
    },
    /// JSON that is no sequence of lines does not parse.
    #[error("row {row}: not JSON: {reason} (line {line}, column {column} of the file)")]
    NotJson {
        /// The row that was read, from 1.
        row: usize,
        /// The file's line, from 1.
        line: usize,
        /// The byte of that line, from 1.
        column: usize,
        /// What the parser says.
        reason: String,
    },
    /// An object holds two arrays of objects, of which either could be the rows.
    #[error(
        "the JSON object holds more than one array of objects, under {first:?} and {second:?}; \
         put the one to be read into a file of its own"
    )]
    SeveralArrays {
        /// The key of the first.
        first: String,
        /// The key of the second.
        second: String,
    },
    /// Beside the rows of an object stands something as large as they may be.
    #[error(
        "the JSON object holds a value under {key:?} that is longer than {} MiB; put the rows into \
         a file of their own", LONGEST_ROW >> 20
    )]
    LongValue {
        /// The value's key.
        key: String,
    },
    /// The first line of a table names one column twice.
    #[error("the first line names the column {name:?} twice; rename one")]
    SameName {
        /// The name.
        name: String,
    },
    /// The first line of a table names more columns than rows have.
    #[error(
        "the first line names {columns} columns, where at most {MOST_COLUMNS} are read; is it a table?"
    )]
    ManyColumns {
        /// How many.
        columns: usize,
    },
    /// A row of a table has more values than columns, or fewer.
    #[error(
        "row {row} (near line {line} of the file): {found} where the first line names {columns} columns; \
         a value that holds {delimiter}, a quotation mark or a line break must stand in \
         \"quotation marks\""
    )]
    Ragged {
        /// The row, from 1, without the line of names.
        row: usize,
        /// The file's line, from 1, or that of blank lines before it.
        line: u64,
        /// How many values the row has.
        found: usize,
        /// The columns that have names.
        columns: usize,
        /// What separates values, in words.
        delimiter: &'static str,
    },
    /// Text follows a closing quotation mark.
    #[error(
        "row {row} (near line {line} of the file): a value goes on behind its closing quotation mark; \
         put the value into quotation marks and write each mark in it twice, \"\", not \\\""
    )]
    BehindMark {
        /// The row, from 1, without the line of names; 0 is that line.
        row: usize,
        /// The file's line, from 1, or that of blank lines before it.
        line: u64,
    },
    /// A table's value is in another encoding.
    #[error("row {row} (near line {line} of the file): not UTF-8; save the file as UTF-8")]
    NotUtf8 {
        /// The row, from 1, without the line of names; 0 is that line.
        row: usize,
        /// The file's line, from 1, or that of blank lines before it.
        line: u64,
    },
    /// The file ends inside a quoted value.
    #[error("the file ends inside a value in quotation marks, in row {row}; close it")]
    OpenQuote {
        /// The row, from 1, without the line of names; 0 is that line.
        row: usize,
    },
    /// The Parquet reader refuses the file.
    #[error("the Parquet file cannot be read: {0}")]
    Parquet(String),
    /// The Parquet reader panics.
    #[error("the Parquet file is damaged")]
    DamagedParquet,
    /// A Parquet file needs more memory than its rows should.
    #[error("the Parquet file's {what}")]
    HostileParquet {
        /// What is too large, with its size and what to do.
        what: String,
    },
    /// A Parquet file from a pipe, or unpacked, is too large to be copied.
    #[error(
        "the Parquet file is larger than 8 GiB, and can be read from an unpacked file only; write \
         it to one"
    )]
    LargeParquet,
}

impl ContainerError {
    /// The error of a read in the middle of a row.
    pub fn reading(error: io::Error, row: usize) -> Self {
        match error.get_ref().is_some_and(|inner| inner.is::<TooLong>()) {
            true => Self::TooLong { row },
            false => Self::Read(error),
        }
    }
}
