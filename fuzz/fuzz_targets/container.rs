//! Any file is rows or an error. Rows are numbered upwards, without gaps unless by lines, and none
//! is blank or holds a newline.

#![no_main]

use std::io::Cursor;

use libfuzzer_sys::fuzz_target;
use state_tune::container::{Container, ContainerError};

fuzz_target!(|data: &[u8]| {
    let Ok(file) = Container::from_reader(Cursor::new(data.to_vec())) else {
        return;
    };
    let is_by_line = file.is_numbered_by_line();
    let mut last = 0;
    let _ = file.each(|number, row| {
        assert!(number > last && (is_by_line || number == last + 1));
        last = number;
        if let Ok(row) = row {
            assert!(!row.contains(&b'\n') && !row.is_empty());
        }
        Ok::<(), ContainerError>(())
    });
});
