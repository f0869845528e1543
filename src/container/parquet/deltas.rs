//! Pages of texts whose lengths are written as differences: how many lengths there are stands in the
//! page itself, and the reader makes place for as many before it reads them.

use std::fs::File;
use std::sync::Arc;

use parquet::basic::Encoding;
use parquet::column::page::Page;
use parquet::file::metadata::ColumnChunkMetaData;
use parquet::file::serialized_reader::SerializedPageReader;

use super::super::error::ContainerError;
use super::thrift::Thrift;

/// The numbers of the encodings with lengths, as a page's header has them.
pub const ENCODINGS: [u64; 2] = [6, 7];

/// Refuses a column of a row group with a page of more lengths than values.
pub fn check(file: &File, column: &ColumnChunkMetaData, rows: i64) -> Result<(), ContainerError> {
    let rows = usize::try_from(rows).map_err(|_| ContainerError::DamagedParquet)?;
    let file = Arc::new(file.try_clone()?);
    for page in SerializedPageReader::new(file, column, rows, None)? {
        let page = page?;
        let is_sound = match page.encoding() {
            Encoding::DELTA_LENGTH_BYTE_ARRAY => lengths(&page, column, 1),
            // Of what each shares with the one before it, and of the rest.
            Encoding::DELTA_BYTE_ARRAY => lengths(&page, column, 2),
            _ => Some(()),
        };
        is_sound.ok_or(ContainerError::DamagedParquet)?;
    }
    Ok(())
}

/// Passes over so many sequences of lengths behind a page's levels. `None` where one claims more of
/// them than the page has values, or is cut.
fn lengths(page: &Page, column: &ColumnChunkMetaData, sequences: usize) -> Option<()> {
    let mut thrift = Thrift {
        bytes: values(page, column)?,
    };
    (0..sequences).try_for_each(|_| {
        let (block, parts) = (thrift.varint().ok()?, thrift.varint().ok()?);
        let (count, _first) = (thrift.varint().ok()?, thrift.zigzag().ok()?);
        if count > u64::from(page.num_values()) {
            return None;
        }
        let parts = usize::try_from(parts).ok().filter(|parts| *parts > 0)?;
        let in_part = block / parts as u64;
        // The first one stands before the blocks.
        let mut left = count.saturating_sub(1);
        while left > 0 {
            let _least = thrift.zigzag().ok()?;
            let (widths, rest) = thrift.bytes.split_at_checked(parts)?;
            let mut bytes = 0_u64;
            for width in widths.iter().map(|width| u64::from(*width)) {
                if left > 0 {
                    bytes = bytes.checked_add(width.checked_mul(in_part)? / 8)?;
                }
                left = left.saturating_sub(in_part.max(1));
            }
            thrift.bytes = rest.get(usize::try_from(bytes).ok()?..)?;
        }
        Some(())
    })
}

/// The values of a page, which stand behind its levels.
fn values<'a>(page: &'a Page, column: &ColumnChunkMetaData) -> Option<&'a [u8]> {
    let bytes: &[u8] = page.buffer();
    match page {
        Page::DataPage {
            num_values,
            rep_level_encoding,
            def_level_encoding,
            ..
        } => {
            let schema = column.column_descr();
            let levels = [
                (schema.max_rep_level(), rep_level_encoding),
                (schema.max_def_level(), def_level_encoding),
            ];
            let written = levels.into_iter().filter(|(most, _)| *most > 0);
            written
                .into_iter()
                .try_fold(bytes, |rest, (most, encoding)| {
                    match encoding {
                        Encoding::RLE => {
                            let (len, rest) = rest.split_first_chunk()?;
                            rest.get(u32::from_le_bytes(*len) as usize..)
                        }
                        // All with as many bits as the largest takes.
                        _ => {
                            let width = u64::from(u16::BITS - most.leading_zeros());
                            let bits = width * u64::from(*num_values);
                            rest.get(usize::try_from(bits.div_ceil(8)).ok()?..)
                        }
                    }
                })
        }
        Page::DataPageV2 {
            rep_levels_byte_len,
            def_levels_byte_len,
            ..
        } => {
            let levels = rep_levels_byte_len.checked_add(*def_levels_byte_len)?;
            bytes.get(levels as usize..)
        }
        Page::DictionaryPage { .. } => Some(bytes),
    }
}
