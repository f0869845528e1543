//! CSV: a line of names, and under it rows of values. Each row becomes a JSON object of texts, as
//! they stand: nothing is taken for a number, a date or a missing value, since what an answer looks
//! like is not ours to say ("None" is one, and so is "007").

use std::collections::HashSet;
use std::io::{self, BufRead, Cursor, Read};

use csv::{ByteRecord, ErrorKind, Reader, ReaderBuilder};

use super::Take;
use super::bounded::{Bounded, MOST_COLUMNS};
use super::error::ContainerError;
use super::kind;
use super::marks::Marks;

/// A row of our own behind the last one. It does not come where the file ends inside quotation
/// marks, which the reader lets pass.
const END: &str = "\u{1}end of the table\u{1}";

/// Gives each row to `take`, as JSON.
pub fn each<E: From<ContainerError>>(
    text: Box<dyn Read>,
    delimiter: u8,
    take: Take<'_, E>,
) -> Result<(), E> {
    let end = Cursor::new(format!("\n{END}\n"));
    let (mut text, budget) = Bounded::new(Box::new(text.chain(end)));
    let mut skipped = 0;
    if text
        .fill_buf()
        .map_err(ContainerError::Read)?
        .starts_with(kind::NAMES_DELIMITER)
    {
        let skip = text.skip_until(b'\n');
        skip.map_err(|error| ContainerError::reading(error, 0))?;
        skipped = 1;
    }
    let (text, strays) = Marks::new(text, delimiter);
    let mut reader = ReaderBuilder::new()
        .delimiter(delimiter)
        .has_headers(false)
        .flexible(true)
        .from_reader(text);
    let mut values = ByteRecord::new();
    let mut names = Vec::new();
    let mut json = Vec::new();
    // The line of names is row 0.
    for row in 0.. {
        budget.renew();
        let began = reader.position().line();
        if !read(&mut reader, &mut values, row)? {
            let row = usize::saturating_sub(row, 1);
            return Err(ContainerError::OpenQuote { row }.into());
        }
        let line = skipped + values.position().map_or(began, csv::Position::line);
        if values.iter().eq([END.as_bytes()]) {
            if read(&mut reader, &mut values, row)? {
                let what = "a table with a row of control characters";
                let advice = "remove it";
                return Err(ContainerError::Other { what, advice }.into());
            }
            break;
        }
        if row == 0 && values.len() > MOST_COLUMNS {
            let columns = values.len();
            return Err(ContainerError::ManyColumns { columns }.into());
        }
        let texts: Result<Vec<&str>, _> = values.iter().map(std::str::from_utf8).collect();
        let texts = texts.map_err(|_| ContainerError::NotUtf8 { row, line });
        let texts = match strays.take_before(reader.position().byte()) {
            true => Err(ContainerError::BehindMark { row, line }),
            false => texts,
        };
        if row == 0 {
            names = keys(&texts?)?;
            continue;
        }
        let (found, columns) = (values.len(), names.len());
        let texts = texts.and_then(|texts| match found == columns {
            true => Ok(texts),
            false => Err(ContainerError::Ragged {
                row,
                line,
                found,
                columns,
                delimiter: kind::name_of(delimiter),
            }),
        });
        let texts = match texts {
            Ok(texts) => texts,
            Err(error) => {
                take(row, Err(error))?;
                continue;
            }
        };
        json.clear();
        for (name, text) in names.iter().zip(texts) {
            json.push(if json.is_empty() { b'{' } else { b',' });
            json.extend_from_slice(name.as_bytes());
            json.push(b':');
            serde_json::to_writer(&mut json, text)
                .map_err(io::Error::from)
                .map_err(ContainerError::Read)?;
        }
        json.push(b'}');
        take(row, Ok(&json))?;
    }
    Ok(())
}

/// Reads the next row that is not blank; `false` where there is none.
fn read(
    reader: &mut Reader<impl Read>,
    values: &mut ByteRecord,
    row: usize,
) -> Result<bool, ContainerError> {
    reader
        .read_byte_record(values)
        .map_err(|error| match error.into_kind() {
            ErrorKind::Io(error) => ContainerError::reading(error, row),
            other => ContainerError::Read(io::Error::other(format!("{other:?}"))),
        })
}

/// The names of the columns, as JSON strings. One without a name, as pandas' index has none, is
/// `column` and its number.
fn keys(names: &[&str]) -> Result<Vec<String>, ContainerError> {
    let mut known = HashSet::new();
    let mut keys = Vec::new();
    for (number, name) in (1..).zip(names) {
        let name = match name.trim() {
            "" => format!("column {number}"),
            name => name.to_owned(),
        };
        keys.push(serde_json::Value::from(name.clone()).to_string());
        if !known.insert(name.clone()) {
            return Err(ContainerError::SameName { name });
        }
    }
    Ok(keys)
}
