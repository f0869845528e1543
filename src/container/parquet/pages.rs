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

/// The most memory that the pages of a row group may take at once, in bytes: 1 GiB. Writers aim at
/// one MiB a page, and make larger ones of long texts.
const MOST: u64 = 1 << 30;

/// The memory of a value of a dictionary, beside its bytes.
const VALUE: u64 = 32;

/// How deep a header may be: its own structures are three levels.
const DEEPEST: usize = 16;

/// Refuses a file whose pages need more memory than rows should, or whose dictionaries hold more
/// than a row may: each row may repeat one.
pub fn check(file: &File, metadata: &ParquetMetaData) -> Result<(), ContainerError> {
    for group in metadata.row_groups() {
        let mut needed = 0_u64;
        for column in group.columns() {
            let Needs { dictionary, page } = needs(file, column)?;
            if dictionary > LONGEST_ROW as u64 {
                let what = format!(
                    "column {} has a dictionary of {dictionary} bytes, which may repeat in every \
                     row; write the file again without dictionaries",
                    column.column_path()
                );
                return Err(ContainerError::HostileParquet { what });
            }
            needed = needed.saturating_add(page);
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
    Ok(())
}

/// What a column of a row group takes.
#[derive(Default)]
struct Needs {
    /// The bytes of its largest dictionary.
    dictionary: u64,
    /// Its dictionaries and its largest page, as they lie in memory.
    page: u64,
}

fn needs(file: &File, column: &ColumnChunkMetaData) -> Result<Needs, ContainerError> {
    let damaged = |_| ContainerError::DamagedParquet;
    let (mut needs, mut largest) = (Needs::default(), 0);
    let (mut at, len) = column.byte_range();
    let end = at.saturating_add(len);
    let mut bytes = BufReader::new(file);
    bytes.seek(SeekFrom::Start(at))?;
    while at < end {
        let mut header = Header {
            bytes: (&mut bytes).take(end - at),
        };
        let page = header.page().map_err(damaged)?;
        at = end - header.bytes.limit() + page.packed;
        let mut unpacked = page.unpacked;
        if may_lie(column.compression(), page.packed) {
            let body = (&mut bytes).take(page.packed);
            unpacked = unpacked.max(unpacked_gzip(page.levels, body)?);
            bytes.seek(SeekFrom::Start(at))?;
        } else {
            let packed = i64::try_from(page.packed).map_err(|_| ContainerError::DamagedParquet)?;
            bytes.seek_relative(packed)?;
        }
        let memory = page.packed.saturating_add(unpacked);
        match page.kind {
            DICTIONARY_PAGE => {
                needs.dictionary = needs.dictionary.max(unpacked);
                let values = page.values.saturating_mul(VALUE);
                needs.page = needs.page.saturating_add(memory).saturating_add(values);
            }
            _ => largest = memory.max(largest),
        }
    }
    needs.page = needs.page.saturating_add(largest);
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
    /// How many values it holds.
    values: u64,
    /// How many bytes at its beginning are not packed.
    levels: u64,
}

const DICTIONARY_PAGE: i32 = 2;

/// Kinds of fields in Thrift's compact protocol.
const STOP: u8 = 0;
const TRUE: u8 = 1;
const FALSE: u8 = 2;
const BYTE: u8 = 3;
const I16: u8 = 4;
const I32: u8 = 5;
const I64: u8 = 6;
const DOUBLE: u8 = 7;
const BINARY: u8 = 8;
const LIST: u8 = 9;
const SET: u8 = 10;
const STRUCT: u8 = 12;

/// A page's header, as it is read.
struct Header<R> {
    bytes: io::Take<R>,
}

impl<R: BufRead> Header<R> {
    fn page(&mut self) -> io::Result<Page> {
        let mut page = Page::default();
        let (mut id, mut last) = (0, 0);
        while let Some(kind) = self.field(&mut id)? {
            match (id, kind) {
                (1, I32) => page.kind = self.int()?,
                (2, I32) => page.unpacked = self.size()?,
                (3, I32) => page.packed = self.size()?,
                // Of data, of a dictionary, and of data in the second version.
                (5 | 7 | 8, STRUCT) => {
                    let mut inner = 0;
                    while let Some(kind) = self.field(&mut inner)? {
                        match (inner, kind) {
                            (1, I32) => page.values = self.size()?,
                            (5 | 6, I32) if id == 8 => page.levels += self.size()?,
                            (1, _) => return Err(odd()),
                            (_, kind) => self.skip(kind, DEEPEST)?,
                        }
                    }
                }
                (1..=3 | 5 | 7 | 8, _) => return Err(odd()),
                (_, kind) => self.skip(kind, DEEPEST)?,
            }
            // Each once, and in their order: of two, the reader may take the other.
            if id <= last {
                return Err(odd());
            }
            last = id;
        }
        Ok(page)
    }

    /// The kind of the next field, with its number in `id`; `None` at the structure's end.
    fn field(&mut self, id: &mut i32) -> io::Result<Option<u8>> {
        let byte = self.byte()?;
        let (kind, further) = (byte & 0xf, i32::from(byte >> 4));
        if kind == STOP {
            return Ok(None);
        }
        // The long way to write a number is for fields far apart, of which there are none.
        if further == 0 {
            return Err(odd());
        }
        *id += further;
        Ok(Some(kind))
    }

    fn byte(&mut self) -> io::Result<u8> {
        let mut byte = [0];
        self.bytes.read_exact(&mut byte)?;
        Ok(byte[0])
    }

    /// A number in groups of seven bits, of 64 at most.
    fn varint(&mut self) -> io::Result<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(odd())
    }

    fn int(&mut self) -> io::Result<i32> {
        let number = self.varint()?;
        // Signs alternate: 0, -1, 1, -2, ...
        i32::try_from((number >> 1) as i64 ^ -((number & 1) as i64)).map_err(|_| odd())
    }

    fn size(&mut self) -> io::Result<u64> {
        u64::try_from(self.int()?).map_err(|_| odd())
    }

    /// Passes over a value of this kind.
    fn skip(&mut self, kind: u8, depth: usize) -> io::Result<()> {
        let depth = depth.checked_sub(1).ok_or_else(odd)?;
        match kind {
            TRUE | FALSE => Ok(()),
            BYTE => self.byte().map(drop),
            I16 | I32 | I64 => self.varint().map(drop),
            DOUBLE => self.pass_by(8),
            BINARY => {
                let len = self.varint()?;
                self.pass_by(len)
            }
            LIST | SET => {
                let byte = self.byte()?;
                let count = match byte >> 4 {
                    15 => self.varint()?,
                    few => u64::from(few),
                };
                // A truth value is a byte here.
                let kind = match byte & 0xf {
                    TRUE | FALSE => BYTE,
                    kind => kind,
                };
                (0..count).try_for_each(|_| self.skip(kind, depth))
            }
            STRUCT => {
                let mut id = 0;
                while let Some(kind) = self.field(&mut id)? {
                    self.skip(kind, depth)?;
                }
                Ok(())
            }
            _ => Err(odd()),
        }
    }

    fn pass_by(&mut self, count: u64) -> io::Result<()> {
        let passed = io::copy(&mut (&mut self.bytes).take(count), &mut io::sink())?;
        match passed == count {
            true => Ok(()),
            false => Err(odd()),
        }
    }
}

fn odd() -> io::Error {
    io::ErrorKind::InvalidData.into()
}
