//! Tables as JSON lines: Parquet, CSV, JSON arrays and JSON lines, a few rows at a time, whatever
//! their size.

use std::cell::Cell;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Arc, Once};

use anyhow::{Context, Result, anyhow, bail};
use arrow_array::{RecordBatch, RecordBatchReader};
use arrow_json::writer::{LineDelimited, WriterBuilder};
use arrow_schema::{ArrowError, DataType, Field, FieldRef, Schema};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde::de::{DeserializeSeed, IgnoredAny, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// Rows held in memory at once.
const BATCH: usize = 32;

/// What pandas, and so the hub's own reader of CSV, takes for no value.
const CSV_NULLS: &str = "^(|#N/A|#N/A N/A|#NA|-1\\.#IND|-1\\.#QNAN|-NaN|-nan|1\\.#IND|1\\.#QNAN|<NA>|N/A|NA|NULL|NaN|None|n/a|nan|null)$";

/// A kind of table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableFormat {
    /// Columns with types, which become JSON of the same types.
    Parquet,
    /// Lines or an array; the first character tells.
    Json,
    /// Values between commas, under a line of names.
    Csv,
}

impl TableFormat {
    /// The format that a file's name tells.
    pub fn of(path: &str) -> Option<Self> {
        let name = path.rsplit('/').next().unwrap_or(path);
        match name.rsplit_once('.')?.1.to_ascii_lowercase().as_str() {
            "parquet" => Some(Self::Parquet),
            "jsonl" | "ndjson" | "json" => Some(Self::Json),
            "csv" | "tsv" => Some(Self::Csv),
            _ => None,
        }
    }
}

/// Writes each row of `file` as a line, a JSON object with all of its columns. Returns how many
/// there were.
pub fn to_lines(format: TableFormat, file: File, out: &mut impl Write) -> Result<u64> {
    match format {
        TableFormat::Parquet => guarded(|| {
            let rows = ParquetRecordBatchReaderBuilder::try_new(file)?
                .with_batch_size(BATCH)
                .build()?;
            tables(rows, out)
        }),
        TableFormat::Json => json(BufReader::new(file), out),
        TableFormat::Csv => csv(file, out),
    }
}

thread_local! {
    /// Whether a panic on this thread is expected, and says nothing.
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Does `work` with the Parquet reader, which panics on some damaged files: that is an error here.
fn guarded<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !QUIET.get() {
                before(info);
            }
        }));
    });
    QUIET.set(true);
    // Nothing of what `work` held is used again but the lines written, which are thrown away with
    // the error.
    let done = panic::catch_unwind(AssertUnwindSafe(work));
    QUIET.set(false);
    done.unwrap_or_else(|_| bail!("the Parquet file is damaged"))
}

fn tables(rows: impl RecordBatchReader, out: &mut impl Write) -> Result<u64> {
    let schema = Arc::new(widened(&rows.schema()));
    let mut count = 0;
    let mut writer = WriterBuilder::new()
        .with_explicit_nulls(true)
        .build::<_, LineDelimited>(out);
    for batch in rows {
        let batch = widen(&batch?, &schema)?;
        count += batch.num_rows() as u64;
        writer.write(&batch)?;
    }
    writer.finish()?;
    Ok(count)
}

/// Floats of 16 and 32 bits as 64 bits, as Python reads them: 0.1 of 32 bits is
/// 0.10000000149011612. Dictionaries as their values.
fn widened(schema: &Schema) -> Schema {
    let fields: Vec<FieldRef> = schema.fields().iter().map(wide_field).collect();
    Schema::new(fields)
}

fn wide_field(field: &FieldRef) -> FieldRef {
    let wide = wide(field.data_type());
    Arc::new(Field::new(field.name(), wide, true))
}

fn wide(kind: &DataType) -> DataType {
    match kind {
        DataType::Float16 | DataType::Float32 => DataType::Float64,
        DataType::Dictionary(_, values) => wide(values),
        // As texts: then an impossible date becomes null, and not the text of an error.
        DataType::Timestamp(_, _) | DataType::Date32 | DataType::Date64 => DataType::Utf8,
        DataType::List(item) => DataType::List(wide_field(item)),
        DataType::LargeList(item) => DataType::LargeList(wide_field(item)),
        DataType::FixedSizeList(item, n) => DataType::FixedSizeList(wide_field(item), *n),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(wide_field).collect()),
        other => other.clone(),
    }
}

fn widen(batch: &RecordBatch, schema: &Arc<Schema>) -> Result<RecordBatch, ArrowError> {
    let columns = batch.columns().iter().zip(schema.fields());
    let columns: Result<Vec<_>, _> = columns
        .map(|(column, field)| arrow_cast::cast(column, field.data_type()))
        .collect();
    RecordBatch::try_new(Arc::clone(schema), columns?)
}

/// The first line names the columns. A column is of numbers or booleans if all of its values are.
fn csv(mut file: File, out: &mut impl Write) -> Result<u64> {
    let mut start = [0; 4096];
    let n = file.read(&mut start)?;
    let first = start[..n].split(|&b| b == b'\n').next().unwrap_or(&[]);
    let count = |sign: u8| first.iter().filter(|&&b| b == sign).count();
    let delimiter = if count(b'\t') > count(b',') {
        b'\t'
    } else {
        b','
    };
    let nulls = regex::Regex::new(CSV_NULLS)?;
    let format = arrow_csv::reader::Format::default()
        .with_header(true)
        .with_delimiter(delimiter)
        .with_null_regex(nulls.clone());
    file.seek(SeekFrom::Start(0))?;
    let (schema, _) = format.infer_schema(BufReader::new(&file), None)?;
    let fields: Vec<Field> = schema
        .fields()
        .iter()
        .map(|field| {
            let kind = match field.data_type() {
                kind @ (DataType::Int64 | DataType::Float64 | DataType::Boolean) => kind.clone(),
                // What looks like a date stays the text it is.
                _ => DataType::Utf8,
            };
            Field::new(field.name().trim_start_matches('\u{FEFF}'), kind, true)
        })
        .collect();
    file.seek(SeekFrom::Start(0))?;
    let rows = arrow_csv::ReaderBuilder::new(Arc::new(Schema::new(fields)))
        .with_format(format)
        .with_null_regex(nulls)
        .with_batch_size(BATCH)
        .build(file)?;
    tables(rows, out)
}

fn json(mut reader: impl BufRead, out: &mut impl Write) -> Result<u64> {
    let is_array = loop {
        let bytes = reader.fill_buf()?;
        let Some(&first) = bytes.first() else {
            return Ok(0);
        };
        match first {
            b'[' => break true,
            // White space and a byte order mark.
            b' ' | b'\t' | b'\r' | b'\n' | 0xEF | 0xBB | 0xBF => reader.consume(1),
            _ => break false,
        }
    };
    if is_array {
        let mut rows = Rows { out, count: 0 };
        let mut json = serde_json::Deserializer::from_reader(reader);
        (&mut rows)
            .deserialize(&mut json)
            .and_then(|()| json.end())?;
        return Ok(rows.count);
    }
    let mut count = 0;
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        if reader.read_until(b'\n', &mut line)? == 0 {
            break;
        }
        let text = line.trim_ascii();
        if text.is_empty() {
            continue;
        }
        if text[0] != b'{' {
            bail!("line {number} is no JSON object");
        }
        serde_json::from_slice::<IgnoredAny>(text)
            .map_err(|error| anyhow!(error))
            .with_context(|| format!("line {number}"))?;
        out.write_all(text)?;
        out.write_all(b"\n")?;
        count += 1;
    }
    Ok(count)
}

/// Writes an array's elements one by one, each on a line.
struct Rows<'a, W> {
    out: &'a mut W,
    count: u64,
}

impl<'de, W: Write> DeserializeSeed<'de> for &mut Rows<'_, W> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_seq(self)
    }
}

impl<'de, W: Write> Visitor<'de> for &mut Rows<'_, W> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an array of objects")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut rows: A) -> Result<(), A::Error> {
        use serde::de::Error;
        while let Some(row) = rows.next_element::<Box<RawValue>>()? {
            if !row.get().starts_with('{') {
                return Err(A::Error::custom("an element is no JSON object"));
            }
            // Inside a string a newline is escaped, so every newline here lies between values.
            let line = row.get().replace(['\n', '\r'], " ");
            writeln!(self.out, "{line}").map_err(A::Error::custom)?;
            self.count += 1;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
