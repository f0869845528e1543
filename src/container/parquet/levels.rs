//! Rows that go on over pages: how much memory the pages of one row take together.
//!
//! A list's values stand one after another, each with its repetition level, and one of level 0
//! begins a row.

use std::fs::File;
use std::sync::Arc;

use parquet::basic::Encoding;
use parquet::column::page::Page;
use parquet::file::metadata::ColumnChunkMetaData;
use parquet::file::serialized_reader::SerializedPageReader;

use super::super::error::ContainerError;
use super::thrift::Thrift;

/// The most memory that the pages of one row take, of those that each take `memory`: the pages of
/// values in a column of a row group, in their order.
pub fn most_of_a_row(
    file: &File,
    column: &ColumnChunkMetaData,
    rows: i64,
    memory: &[u64],
) -> Result<u64, ContainerError> {
    let rows = usize::try_from(rows).map_err(|_| ContainerError::DamagedParquet)?;
    let file = Arc::new(file.try_clone()?);
    let (mut most, mut of_row) = (0, 0_u64);
    let mut memory = memory.iter();
    for page in SerializedPageReader::new(file, column, rows, None)? {
        let page = page?;
        if matches!(page, Page::DictionaryPage { .. }) {
            continue;
        }
        let own = *memory.next().ok_or(ContainerError::DamagedParquet)?;
        of_row = of_row.saturating_add(own);
        most = of_row.max(most);
        if begins_row(&page, column) {
            of_row = own;
        }
    }
    Ok(most)
}

/// Whether a row begins in a page. What cannot be read of its levels begins none.
fn begins_row(page: &Page, column: &ColumnChunkMetaData) -> bool {
    match page {
        Page::DataPage {
            buf,
            num_values,
            rep_level_encoding: Encoding::RLE,
            ..
        } => {
            let width = u16::BITS - column.column_descr().max_rep_level().leading_zeros();
            let levels = buf.split_first_chunk().and_then(|(len, rest)| {
                let len = usize::try_from(u32::from_le_bytes(*len)).ok()?;
                rest.get(..len)
            });
            levels.is_some_and(|levels| holds_zero(levels, width, u64::from(*num_values)))
        }
        Page::DataPage { .. } | Page::DictionaryPage { .. } => false,
        // Such a page begins with one.
        Page::DataPageV2 { .. } => true,
    }
}

/// Whether one of `count` numbers is 0, which are written in so many bits each: in runs of one number,
/// and in groups of eight.
fn holds_zero(bytes: &[u8], width: u32, count: u64) -> bool {
    let mut runs = Thrift { bytes };
    let mut left = count;
    while left > 0 {
        let Ok(head) = runs.varint() else {
            return false;
        };
        let (numbers, taken, is_zero) = if head & 1 == 0 {
            let taken = width.div_ceil(8) as usize;
            let number = runs.bytes.get(..taken);
            (
                head >> 1,
                taken,
                number.map(|bytes| bytes.iter().all(|&byte| byte == 0)),
            )
        } else {
            let numbers = (head >> 1).saturating_mul(8);
            let taken = (head >> 1).saturating_mul(u64::from(width));
            let taken = usize::try_from(taken).unwrap_or(usize::MAX);
            let packed = runs.bytes.get(..taken);
            let is_zero = |packed| has_packed_zero(packed, width, numbers.min(left));
            (numbers, taken, packed.map(is_zero))
        };
        match is_zero {
            Some(true) if numbers > 0 => return true,
            Some(_) if numbers > 0 => {}
            _ => return false,
        }
        runs.bytes = &runs.bytes[taken..];
        left = left.saturating_sub(numbers);
    }
    false
}

/// Whether one of the first `count` numbers is 0, of which each takes so many bits, the lowest first.
fn has_packed_zero(bytes: &[u8], width: u32, count: u64) -> bool {
    let is_set = |bit: u64| bytes[(bit / 8) as usize] >> (bit % 8) & 1 == 1;
    let width = u64::from(width);
    (0..count).any(|number| !(0..width).any(|bit| is_set(number * width + bit)))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::container::parquet::{metadata, pages};

    /// Forty million numbers in forty pages, written by pyarrow: the list of one row, and those of
    /// forty.
    #[test]
    fn a_row_over_pages_is_refused_and_as_many_rows_are_not() {
        let check = |bytes: &[u8]| {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(bytes).unwrap();
            let metadata = metadata(&file).unwrap();
            pages::check(&file, &metadata).map_err(|error| error.to_string())
        };
        let one = include_bytes!("../../../tests/data/row_over_pages.parquet");
        let error = check(one).unwrap_err();
        assert!(error.contains("MiB at once"), "{error}");
        let rows = include_bytes!("../../../tests/data/rows_over_pages.parquet");
        assert_eq!(check(rows), Ok(()));
    }

    #[test]
    fn a_zero_is_found_in_runs_and_in_groups() {
        // The format's own example: 0 to 7 in three bits.
        let zero_to_seven = [0b11, 0b1000_1000, 0b1100_0110, 0b1111_1010];
        assert!(holds_zero(&zero_to_seven, 3, 8));
        // 1 to 7, and what fills the group up.
        let mut ones = zero_to_seven;
        ones[1] |= 1;
        assert!(!holds_zero(&ones, 3, 8));
        assert!(holds_zero(&[0b11, 0b1111_1110], 1, 8));
        assert!(!holds_zero(&[0b11, 0b0111_1111], 1, 7));
        // Runs: 100 ones, then 3 zeros.
        let runs = [200, 1, 1, 6, 0];
        assert!(holds_zero(&runs, 1, 103));
        assert!(!holds_zero(&runs, 1, 100));
        // Cut, empty, or endless.
        for bytes in [&[][..], &[200], &[200, 1], &[0, 0], &[1], &[0xff; 12], &[3]] {
            assert!(!holds_zero(bytes, 1, 5), "{bytes:?}");
        }
    }
}
