//! What a file of rows is, by its first bytes.

use std::fmt;

use serde::de::IgnoredAny;
use serde_json::error::Category;

use super::error::ContainerError;
use super::scan;

/// How rows stand in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A JSON value on each line.
    Lines,
    /// JSON objects, each over several lines.
    Documents,
    /// A JSON array.
    Array,
    /// The JSON array under a key of an object.
    Object { key: String },
    /// Values between delimiters, under a line of names.
    Csv { delimiter: u8 },
    /// Apache Parquet.
    Parquet,
}

/// The beginning of a file.
pub struct Start {
    /// Its bytes, without a byte order mark.
    pub bytes: Vec<u8>,
    /// Whether these are all.
    pub is_whole: bool,
}

/// A file that holds no rows, or none that are read: how it begins, what it is, and what to do.
type Other = (&'static [u8], &'static str, &'static str);

/// Those whose bytes are no text: a text that begins so is something else.
const BINARIES: [Other; 16] = [
    (b"\xff\xfe\0\0", "UTF-32 text", "save it as UTF-8"),
    (b"\0\0\xfe\xff", "UTF-32 text", "save it as UTF-8"),
    (&[0xff, 0xfe], "UTF-16 text", "save it as UTF-8"),
    (&[0xfe, 0xff], "UTF-16 text", "save it as UTF-8"),
    (
        b"PK\x03\x04",
        "a zip archive (as spreadsheets and .pth files are)",
        "take the data out of it, or save them as CSV",
    ),
    (
        b"BZh",
        "compressed by bzip2",
        "unpack it, or compress it by gzip or zstd",
    ),
    (
        b"\xfd7zXZ\0",
        "compressed by xz",
        "unpack it, or compress it by gzip or zstd",
    ),
    (
        b"\x04\x22\x4d\x18",
        "compressed by lz4",
        "unpack it, or compress it by gzip or zstd",
    ),
    (
        b"7z\xbc\xaf\x27\x1c",
        "a 7z archive",
        "take the data out of it",
    ),
    (b"Rar!", "a RAR archive", "take the data out of it"),
    (
        b"ARROW1",
        "an Arrow file",
        "save the data as Parquet, such as by to_parquet of `datasets`",
    ),
    (b"Obj\x01", "an Avro file", "save the data as Parquet"),
    (b"ORC", "an ORC file", "save the data as Parquet"),
    (
        &[0xff; 4],
        "an Arrow stream (as `datasets` keeps them)",
        "save the data as Parquet, such as by to_parquet of `datasets`",
    ),
    (
        b"SQLite format 3\0",
        "an SQLite database",
        "write its rows to a CSV file",
    ),
    (
        b"MMIDIDX",
        "the index of tokenised data",
        "name the texts that it was made of",
    ),
];

/// Those that are texts. White space may stand before them, and letters may be large or small.
const TEXTS: [Other; 7] = [
    (b"<!", PAGE, LOG_IN),
    (b"<?", PAGE, LOG_IN),
    (b"<html", PAGE, LOG_IN),
    (b"---\n", "YAML", "save the data as JSON lines"),
    (b"%PDF-", "a PDF", "name a file of rows"),
    (
        b"\x1e",
        "a JSON text sequence (a sign 1E before each row)",
        "take the signs out, such as by tr -d '\\036', which leaves JSON lines",
    ),
    (
        b"version https://git-lfs.github.com",
        "Git LFS's note of where the data are",
        "fetch the data by `git lfs pull`, or give their address",
    ),
];

/// What a server may send instead of data.
const PAGE: &str = "HTML or XML";
const LOG_IN: &str = "name a file of rows; a page instead of data often asks to log in";

/// What separates values of a table, and what that is called.
const DELIMITERS: [(u8, &str); 3] = [(b',', "commas"), (b'\t', "tabs"), (b';', "semicolons")];

/// What begins a line of Excel's own above a table, which names the delimiter: `sep=;`.
pub const NAMES_DELIMITER: &[u8] = b"sep=";

/// Names of the only column of a table.
const LONE_COLUMNS: [&str; 9] = [
    "text",
    "prompt",
    "prompts",
    "input",
    "question",
    "query",
    "instruction",
    "messages",
    "conversations",
];

/// The name of a delimiter, such as "commas".
pub fn name_of(delimiter: u8) -> &'static str {
    let found = DELIMITERS.iter().find(|(sign, _)| *sign == delimiter);
    found.map_or("delimiters", |(_, name)| name)
}

impl Kind {
    /// What a file that begins so is. Errors name what cannot be read; what is no known kind is
    /// taken for JSON lines, whose first line is then an error of its own.
    pub fn of(start: &Start) -> Result<Self, ContainerError> {
        let bytes = &start.bytes[..];
        if bytes.starts_with(b"PAR1") {
            return Ok(Self::Parquet);
        }
        let text = bytes.trim_ascii_start();
        let is_binary = !is_text(bytes);
        let binary = BINARIES
            .iter()
            .filter(|(mark, ..)| is_binary && bytes.starts_with(mark));
        let mut others = binary.chain(TEXTS.iter().filter(|(mark, ..)| begins(text, mark)));
        if let Some(&(_, what, advice)) = others.next() {
            return Err(ContainerError::Other { what, advice });
        }
        not_binary(bytes)?;
        Ok(match text.first() {
            Some(b'{') => of_objects(text, start.is_whole),
            Some(b'[') => of_arrays(text),
            Some(first) => match of_table(text) {
                Some(table) => table,
                // Such as a part of a page.
                None if *first == b'<' => {
                    let (what, advice) = (PAGE, LOG_IN);
                    return Err(ContainerError::Other { what, advice });
                }
                None => Self::Lines,
            },
            None => Self::Lines,
        })
    }
}

/// Whether bytes are characters, of which the last may be cut, and none a control code but those of
/// white space.
fn is_text(bytes: &[u8]) -> bool {
    let valid = std::str::from_utf8(bytes);
    valid.map_or_else(|error| error.error_len().is_none(), |_| true)
        && !bytes
            .iter()
            .any(|byte| byte.is_ascii_control() && !byte.is_ascii_whitespace())
}

/// Whether a text begins so, in large or small letters.
fn begins(text: &[u8], mark: &[u8]) -> bool {
    let start = text.get(..mark.len());
    start.is_some_and(|start| start.eq_ignore_ascii_case(mark))
}

fn not_binary(bytes: &[u8]) -> Result<(), ContainerError> {
    let zeros = |from: usize| {
        bytes
            .iter()
            .skip(from)
            .step_by(2)
            .filter(|&&b| b == 0)
            .count()
    };
    let (even, odd) = (zeros(0), zeros(1));
    if even + odd == 0 {
        return Ok(());
    }
    // Of UTF-16 that is mostly ASCII every second byte is 0.
    let (few, many) = (even.min(odd), even.max(odd));
    let (what, advice) = match () {
        () if bytes.get(257..262) == Some(b"ustar") => ("a tar archive", "take the data out of it"),
        () if many > bytes.len() / 4 && few <= many / 8 => ("UTF-16 text", "save it as UTF-8"),
        () => (
            "binary (it holds zero bytes)",
            "name a file of JSON lines, a JSON array, CSV or Parquet, or one of these compressed \
             by gzip or zstd",
        ),
    };
    Err(ContainerError::Other { what, advice })
}

/// A text that begins with an object: one on each line, or over several lines, or one around the
/// rows.
fn of_objects(text: &[u8], is_whole: bool) -> Kind {
    let mut objects = serde_json::Deserializer::from_slice(text).into_iter::<IgnoredAny>();
    let is_complete = matches!(objects.next(), Some(Ok(_)));
    let (object, rest) = text.split_at(if is_complete {
        objects.byte_offset()
    } else {
        0
    });
    if is_complete && !rest.trim_ascii().is_empty() {
        return match object.contains(&b'\n') {
            true => Kind::Documents,
            false => Kind::Lines,
        };
    }
    let is_laid_out = is_laid_out(text);
    let is_one_line = !text.trim_ascii_end().contains(&b'\n');
    // Only a text that goes on may be an object around more rows than are seen here.
    let may_be_around_rows = is_complete || is_laid_out || (is_one_line && !is_whole);
    if may_be_around_rows && let Some(key) = scan::key_of_rows(text) {
        return Kind::Object { key };
    }
    match is_laid_out {
        true => Kind::Documents,
        false => Kind::Lines,
    }
}

/// A text that begins with an array: one of rows, or one that is a row, as a conversation is.
fn of_arrays(text: &[u8]) -> Kind {
    let mut arrays = serde_json::Deserializer::from_slice(text).into_iter::<IgnoredAny>();
    let is_complete = matches!(arrays.next(), Some(Ok(_)));
    let (first, rest) = text.split_at(if is_complete { arrays.byte_offset() } else { 0 });
    let is_followed = is_complete && rest.trim_ascii_start().starts_with(b"[");
    if !is_followed && !scan::is_conversation(text) {
        return Kind::Array;
    }
    // An array that does not end here goes on over lines only if it begins so.
    let seen = if is_complete { first } else { text };
    match seen.contains(&b'\n') {
        true => Kind::Documents,
        false => Kind::Lines,
    }
}

/// Whether the first line breaks off as JSON does that is laid out over several: between values.
/// A line of JSON lines that was cut off ends anywhere.
fn is_laid_out(text: &[u8]) -> bool {
    let mut ends = (0..text.len()).filter(|&at| text[at] == b'\n');
    let first = ends.next().unwrap_or(text.len());
    let (line, rest) = text.split_at(first);
    if rest.trim_ascii().is_empty() || !matches!(parse(line), Err(Category::Eof)) {
        return false;
    }
    match line.trim_ascii_end().last() {
        Some(b'{' | b'[') => true,
        // The next line goes on, instead of beginning anew.
        Some(b',') => {
            let second = ends.next().unwrap_or(text.len());
            !matches!(parse(&text[..second]), Err(Category::Syntax))
        }
        _ => false,
    }
}

fn parse(json: &[u8]) -> Result<IgnoredAny, Category> {
    serde_json::from_slice(json).map_err(|error| error.classify())
}

/// A table, if the first line can be its columns' names and is no JSON.
fn of_table(text: &[u8]) -> Option<Kind> {
    let mut lines = text.splitn(2, |&b| b == b'\n');
    let first = lines.next()?;
    // A tab is a delimiter, too.
    let named = first
        .strip_suffix(b"\r")
        .unwrap_or(first)
        .strip_prefix(NAMES_DELIMITER);
    if let Some(&[delimiter]) = named {
        return Some(Kind::Csv { delimiter });
    }
    let first = first.trim_ascii_end();
    // JSON lines of which the first is broken.
    let rest = lines.next().unwrap_or_default().trim_ascii_start();
    if rest.starts_with(b"{") {
        return None;
    }
    if !matches!(parse(first), Err(Category::Syntax)) {
        return None;
    }
    let mut is_quoted = false;
    let mut counts = [0_usize; DELIMITERS.len()];
    for byte in first {
        is_quoted ^= *byte == b'"';
        let at = DELIMITERS.iter().position(|(sign, _)| sign == byte);
        if let Some(at) = at.filter(|_| !is_quoted) {
            counts[at] += 1;
        }
    }
    // Of equal counts the first.
    let (most, at) = (0..counts.len())
        .rev()
        .map(|at| (counts[at], at))
        .max_by_key(|&(n, _)| n)?;
    if most > 0 {
        return Some(Kind::Csv {
            delimiter: DELIMITERS[at].0,
        });
    }
    // A single column must have a name that texts have: any word could be the first line of a text.
    let name = std::str::from_utf8(first).ok()?.trim();
    let is_named = LONE_COLUMNS.contains(&name) && !rest.is_empty();
    is_named.then_some(Kind::Csv { delimiter: b',' })
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lines => f.write_str("JSON lines"),
            Self::Documents => f.write_str("JSON objects over several lines"),
            Self::Array => f.write_str("a JSON array"),
            Self::Object { key } => write!(f, "the array {key:?} of a JSON object"),
            Self::Csv { delimiter: b',' } => f.write_str("CSV"),
            Self::Csv { delimiter } => write!(f, "CSV with {}", name_of(*delimiter)),
            Self::Parquet => f.write_str("Parquet"),
        }
    }
}
