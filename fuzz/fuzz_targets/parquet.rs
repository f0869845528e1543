//! Any Parquet file is rows or an error. The rows are objects of JSON, numbered upwards without gaps.

#![no_main]

use std::io::Cursor;

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use state_tune::container::{Container, ContainerError};

const MARK: &[u8] = b"PAR1";

fuzz_target!(|data: &[u8]| {
    let Ok(file) = Container::from_reader(Cursor::new(whole(data))) else {
        return;
    };
    let mut last = 0;
    let _ = file.each(|number, row| {
        assert_eq!(number, last + 1);
        last = number;
        let row = row.expect("a row of Parquet is read or ends the reading");
        let row: Value = serde_json::from_slice(row).expect("it is JSON");
        assert!(row.is_object());
        Ok::<(), ContainerError>(())
    });
});

/// A file as it stands; or the length of its description, the description and the pages, which
/// become one.
fn whole(data: &[u8]) -> Vec<u8> {
    if data.starts_with(MARK) {
        return data.to_vec();
    }
    let (length, rest) = data.split_at(data.len().min(2));
    let length = length
        .iter()
        .fold(0, |length, &byte| length << 8 | usize::from(byte));
    let (description, pages) = rest.split_at(rest.len().min(length));
    let end = (description.len() as u32).to_le_bytes();
    [MARK, pages, description, &end, MARK].concat()
}
