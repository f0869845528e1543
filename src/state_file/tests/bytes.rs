//! The bytes of every format, held against files of an earlier version: what other programs read
//! changes only where that is meant.

use std::fs;

use super::*;

#[test]
fn every_format_has_the_bytes_that_it_had() {
    let directory = tempfile::tempdir().unwrap();
    for (name, format) in PYTHON {
        let content = if format == Format::MODEL {
            model::content(&state(true), &from_python(name))
        } else {
            format.content(&state(true), Element::Bf16, None)
        };
        let path = directory.path().join(name);
        // The tag itself names the version.
        tensors::write(&path, &content.unwrap(), (tag::NAME, "{}")).unwrap();
        let golden = from_python("written").join(name);
        if fs::read(&path).unwrap() != fs::read(&golden).unwrap_or_default() {
            let new = directory.keep().join(name);
            panic!(
                "{format}: not the bytes of {}; if that is meant, replace it by {}",
                golden.display(),
                new.display()
            );
        }
    }
}
