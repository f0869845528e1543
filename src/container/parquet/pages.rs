//! What the pages of a Parquet file take when they are unpacked, looked at before the reader, which
//! trusts them.
//!
//! A page is held whole while its rows are read, one of each column, and with it the column's
//! dictionary. Each begins with a header in Thrift's compact protocol that says how long it is,
//! packed and unpacked.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};

use flate2::read::MultiGzDecoder;
use parquet::basic::Compression;
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData};

use super::super::bounded::LONGEST_ROW;
use super::super::error::ContainerError;
use super::description::STATISTICS;
use super::thrift::{Fields, Kind, Thrift, odd, wire};
use super::{deltas, levels};

/// The most memory that the pages of a row group may take at once, in bytes: 1 GiB. Writers aim at
/// one MiB a page, and make larger ones of long texts.
const MOST: u64 = 1 << 30;

/// The memory of a value of a dictionary or of a list, beside its bytes.
const VALUE: u64 = 32;

/// How deep a header may be: its own structures are three levels.
const DEEPEST: usize = 16;

/// Refuses a file whose pages need more memory than rows should, or whose dictionaries hold more
/// than a row may: each row may repeat one.
pub fn check(file: &File, metadata: &ParquetMetaData) -> Result<(), ContainerError> {
    let groups = metadata.row_groups().iter();
    let columns = groups.clone().flat_map(|group| group.columns());
    let claimed = columns.map(|column| u128::from(column.byte_range().1));
    // Otherwise the same pages would be looked at again and again.
    if claimed.sum::<u128>() > u128::from(file.metadata()?.len()) {
        let what = "columns take more bytes than the file has; is it damaged?".to_owned();
        return Err(ContainerError::HostileParquet { what });
    }
    let mut with_deltas = Vec::new();
    for group in groups {
        // At the least, where no row goes on over several pages, and at the most.
        let (mut needed, mut most) = (0_u64, 0_u64);
        let mut lists = Vec::new();
        for column in group.columns() {
            let Needs {
                dictionary,
                dictionaries,
                pages,
                has_deltas,
            } = needs(file, column)?;
            if has_deltas {
                with_deltas.push((column, group.num_rows()));
            }
            if dictionary > LONGEST_ROW as u64 {
                let what = format!(
                    "column {} has a dictionary of {dictionary} bytes, which may repeat in every \
                     row; write the file again without dictionaries",
                    column.column_path()
                );
                return Err(ContainerError::HostileParquet { what });
            }
            needed = needed.saturating_add(dictionaries);
            most = most.saturating_add(dictionaries);
            let largest = pages.iter().copied().max().unwrap_or(0);
            if column.column_descr().max_rep_level() == 0 {
                needed = needed.saturating_add(largest);
                most = most.saturating_add(largest);
                continue;
            }
            let all = |sum: u64, page: &u64| sum.saturating_add(*page);
            most = pages.iter().fold(most, all);
            lists.push((column, pages));
        }
        // Rows are looked for in pages only where it matters: that unpacks them.
        if most > MOST && needed <= MOST {
            for (column, pages) in lists {
                let row = levels::most_of_a_row(file, column, group.num_rows(), &pages)?;
                needed = needed.saturating_add(row);
            }
        }
        if needed > MOST {
            let what = format!(
                "pages take {} MiB at once, where at most {} are read; write the file again with \
                 smaller pages",
                needed >> 20,
                MOST >> 20
            );
            return Err(ContainerError::HostileParquet { what });
        }
    }
    // Now that each page is known to go into memory.
    with_deltas
        .into_iter()
        .try_for_each(|(column, rows)| deltas::check(file, column, rows))
}

/// What a column of a row group takes.
#[derive(Default)]
struct Needs {
    /// The bytes of its largest dictionary.
    dictionary: u64,
    /// Its dictionaries as they lie in memory.
    dictionaries: u64,
    /// The same of each page of values.
    pages: Vec<u64>,
    /// Whether a page holds lengths as differences.
    has_deltas: bool,
}

fn needs(file: &File, column: &ColumnChunkMetaData) -> Result<Needs, ContainerError> {
    let damaged = |_| ContainerError::DamagedParquet;
    let mut needs = Needs::default();
    let (mut at, len) = column.byte_range();
    let end = at.saturating_add(len);
    let mut bytes = BufReader::new(file);
    bytes.seek(SeekFrom::Start(at))?;
    while at < end {
        let mut thrift = Thrift {
            bytes: (&mut bytes).take(end - at),
        };
        let page = header(&mut thrift).map_err(damaged)?;
        at = end - thrift.bytes.limit() + page.packed;
        needs.has_deltas |= deltas::ENCODINGS.contains(&page.encoding);
        let mut unpacked = page.unpacked;
        if may_lie(column.compression(), page.packed) {
            let body = (&mut bytes).take(page.packed);
            unpacked = unpacked.max(unpacked_gzip(page.levels, body)?);
            bytes.seek(SeekFrom::Start(at))?;
        } else {
            let packed = i64::try_from(page.packed).map_err(|_| ContainerError::DamagedParquet)?;
            bytes.seek_relative(packed)?;
        }
        let mut memory = page.packed.saturating_add(unpacked);
        // A row may have all that the page has.
        if column.column_descr().max_rep_level() > 0 {
            memory = memory.saturating_add(page.values.saturating_mul(VALUE));
        }
        match page.kind {
            DICTIONARY_PAGE => {
                needs.dictionary = needs.dictionary.max(unpacked);
                let values = page.values.saturating_mul(VALUE);
                let more = memory.saturating_add(values);
                needs.dictionaries = needs.dictionaries.saturating_add(more);
            }
            _ => needs.pages.push(memory),
        }
    }
    Ok(needs)
}

/// Whether so many packed bytes may unpack to more than is read, whatever the header says. The
/// reader unpacks gzip to its end; Snappy, zstd and LZ4 as writers have it now go into as much
/// memory as the header says.
fn may_lie(compression: Compression, packed: u64) -> bool {
    // The most bytes that one of gzip's stands for.
    const MOST_OF_ONE: u64 = 1032;
    matches!(compression, Compression::GZIP(_)) && packed.saturating_mul(MOST_OF_ONE) > MOST
}

/// What a page really unpacks to behind its levels, or a little more than is read.
fn unpacked_gzip(levels: u64, mut body: impl Read) -> io::Result<u64> {
    io::copy(&mut (&mut body).take(levels), &mut io::sink())?;
    let mut count = Count(levels);
    // What cannot be unpacked is the reader's to refuse, which gets no further than this.
    let _ = io::copy(&mut MultiGzDecoder::new(body).take(MOST + 1), &mut count);
    Ok(count.0)
}

/// Counts what is written.
struct Count(u64);

impl io::Write for Count {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What a page's header says of it.
#[derive(Default)]
struct Page {
    kind: i32,
    /// The bytes of its body, as they are in the file, and in memory.
    packed: u64,
    unpacked: u64,
    /// How many values it holds, and by which encoding.
    values: u64,
    encoding: u64,
    /// How many bytes at its beginning are not packed.
    levels: u64,
}

const DICTIONARY_PAGE: i32 = 2;

/// The fields of headers of data pages, of either version, and of dictionaries'.
const DATA: Fields = &[
    (1, Kind::I32),
    (2, Kind::I32),
    (3, Kind::I32),
    (4, Kind::I32),
    (5, Kind::Record(STATISTICS)),
];
const DICTIONARY: Fields = &[(1, Kind::I32), (2, Kind::I32), (3, Kind::Flag)];
const DATA_2: Fields = &[
    (1, Kind::I32),
    (2, Kind::I32),
    (3, Kind::I32),
    (4, Kind::I32),
    (5, Kind::I32),
    (6, Kind::I32),
    (7, Kind::Flag),
    (8, Kind::Record(STATISTICS)),
];

/// Reads a page's header.
fn header(thrift: &mut Thrift<impl BufRead>) -> io::Result<Page> {
    let mut page = Page::default();
    let (mut id, mut last) = (0, 0);
    while let Some(wire) = thrift.field(&mut id)? {
        let size = |number: i64| u64::try_from(i32::try_from(number).ok()?).ok();
        match (id, wire) {
            (1, wire::I32) => page.kind = i32::try_from(thrift.zigzag()?).map_err(|_| odd())?,
            (2, wire::I32) => page.unpacked = size(thrift.zigzag()?).ok_or_else(odd)?,
            (3, wire::I32) => page.packed = size(thrift.zigzag()?).ok_or_else(odd)?,
            (4, wire::I32) => thrift.skip(wire, DEEPEST)?,
            (5 | 7 | 8, wire::STRUCT) => {
                let (fields, encoding) = match id {
                    5 => (DATA, 2),
                    7 => (DICTIONARY, 2),
                    _ => (DATA_2, 4),
                };
                let mut is_odd = false;
                thrift.record(fields, DEEPEST, &mut |inner, number| {
                    let size = size(number);
                    is_odd |= size.is_none();
                    let size = size.unwrap_or(0);
                    match inner {
                        1 => page.values = size,
                        5 | 6 => page.levels += size,
                        inner if inner == encoding => page.encoding = size,
                        _ => {}
                    }
                })?;
                if is_odd {
                    return Err(odd());
                }
            }
            (6, wire::STRUCT) => thrift.skip(wire, DEEPEST)?,
            (1..=8, _) => return Err(odd()),
            (_, wire) => thrift.skip(wire, DEEPEST)?,
        }
        // Each once, and in their order: of two, the reader may take the other.
        if id <= last {
            return Err(odd());
        }
        last = id;
    }
    Ok(page)
}
