//! Files of rows, whatever they are: JSON lines, JSON objects one after another, a JSON array, a
//! JSON object around one, CSV, Parquet, and gzip or zstd of any of these.
//!
//! A file is recognised by what it holds, not by its name, and read from its beginning to its end
//! once, so that it may be a pipe. A row is handed on as the bytes of one JSON value as soon as it
//! is read; no more than one (of Parquet a few) is held at a time, and none may be longer than
//! [`LONGEST_ROW`].

mod bounded;
mod csv;
mod error;
mod json;
mod kind;
mod lines;
mod marks;
mod parquet;
mod scan;
mod unpack;

use std::fmt;
use std::fs::File;
use std::io::{self, Cursor, Read, Seek};
use std::path::Path;

pub use bounded::LONGEST_ROW;
pub use error::ContainerError;
use kind::{Kind, Start};
use unpack::Packing;

/// What is looked at to recognise a file, in bytes.
const HEAD: u64 = 1 << 20;

/// The largest Parquet file that is unpacked to a temporary file, since Parquet is read from its
/// end: 8 GiB. A small compressed file may unpack to anything.
const LARGEST_COPY: u64 = 8 << 30;

const BYTE_ORDER_MARK: &[u8] = "\u{FEFF}".as_bytes();

/// A row's JSON, or what is wrong with it where the rows behind it can be read all the same.
pub type Row<'a> = Result<&'a [u8], ContainerError>;

/// Who takes each row: its number and the row.
type Take<'a, E> = &'a mut dyn FnMut(usize, Row<'_>) -> Result<(), E>;

/// An open file whose kind is known, and of which no row is read yet.
pub struct Container {
    kind: Kind,
    packing: Option<Packing>,
    /// All of its text, unpacked.
    text: Box<dyn Read>,
    /// The file itself, if it can be read at any place.
    file: Option<File>,
}

/// What was found beside the rows.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Beside {
    /// The keys of an object around the rows, but for the rows' own.
    pub keys: Vec<String>,
}

impl Container {
    /// Opens a file or a pipe.
    pub fn open(path: &Path) -> Result<Self, ContainerError> {
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        if metadata.is_dir() {
            let (what, advice) = ("a directory", "name a file of rows in it");
            return Err(ContainerError::Other { what, advice });
        }
        let again = match metadata.is_file() {
            true => Some(file.try_clone()?),
            false => None,
        };
        Self::recognise(Box::new(file), again)
    }

    /// Takes bytes that come from elsewhere.
    pub fn from_reader(bytes: impl Read + 'static) -> Result<Self, ContainerError> {
        Self::recognise(Box::new(bytes), None)
    }

    fn recognise(bytes: Box<dyn Read>, file: Option<File>) -> Result<Self, ContainerError> {
        let (start, bytes) = head(bytes)?;
        let Some(packing) = Packing::of(&start.bytes) else {
            let kind = Kind::of(&start)?;
            return Ok(Self {
                kind,
                packing: None,
                text: bytes,
                file,
            });
        };
        let (start, text) = head(packing.unpack(bytes)?)?;
        if let Some(inner) = Packing::of(&start.bytes) {
            return Err(ContainerError::PackedTwice {
                outer: packing.name(),
                inner: inner.name(),
            });
        }
        Ok(Self {
            kind: Kind::of(&start)?,
            packing: Some(packing),
            text,
            file: None,
        })
    }

    /// Whether a row's number is that of its line.
    pub fn is_numbered_by_line(&self) -> bool {
        self.kind == Kind::Lines
    }

    /// Whether it is what most files are, JSON lines as they stand.
    pub fn is_plain(&self) -> bool {
        self.kind == Kind::Lines && self.packing.is_none()
    }

    /// Gives each row to `take`: its number, from 1, and its JSON. Of JSON lines the number is the
    /// line's, and blank lines are left out. JSON lines come as they are, JSON or not; what else
    /// comes is one JSON value without a newline, or what is wrong with a row of a table. Ends at
    /// the first error, that of `take` or one of the file.
    pub fn each<E: From<ContainerError>>(
        self,
        mut take: impl FnMut(usize, Row<'_>) -> Result<(), E>,
    ) -> Result<Beside, E> {
        let take = &mut take;
        match self.kind {
            Kind::Lines => lines::each(self.text, take)?,
            Kind::Documents => json::each_document(self.text, take)?,
            Kind::Array => json::each_element(self.text, take)?,
            Kind::Object { key } => {
                return Ok(Beside {
                    keys: json::each_element_under(self.text, &key, take)?,
                });
            }
            Kind::Csv { delimiter } => csv::each(self.text, delimiter, take)?,
            Kind::Parquet => {
                let file = match self.file {
                    Some(file) => file,
                    None => copy(self.text)?,
                };
                parquet::each(file, take)?;
            }
        }
        Ok(Beside::default())
    }
}

/// What the file is, such as "gzip of CSV".
impl fmt::Display for Container {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.packing {
            Some(packing) => write!(f, "{} of {}", packing.name(), self.kind),
            None => self.kind.fmt(f),
        }
    }
}

/// The beginning of a text, and a reader of all of it without its byte order mark.
fn head(mut bytes: Box<dyn Read>) -> Result<(Start, Box<dyn Read>), ContainerError> {
    let mut start = Vec::new();
    bytes.by_ref().take(HEAD).read_to_end(&mut start)?;
    let is_whole = (start.len() as u64) < HEAD;
    if start.starts_with(BYTE_ORDER_MARK) {
        start.drain(..BYTE_ORDER_MARK.len());
    }
    let text = Cursor::new(start.clone()).chain(bytes);
    let start = Start {
        bytes: start,
        is_whole,
    };
    Ok((start, Box::new(text)))
}

/// The bytes as a temporary file without a name.
fn copy(text: Box<dyn Read>) -> Result<File, ContainerError> {
    let mut file = tempfile::tempfile()?;
    if io::copy(&mut text.take(LARGEST_COPY + 1), &mut file)? > LARGEST_COPY {
        return Err(ContainerError::LargeParquet);
    }
    file.rewind()?;
    Ok(file)
}

#[cfg(test)]
mod tests;
