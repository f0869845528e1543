//! Files that are something else, and zip archives with something wrong, each matched to its error.

use super::*;

const NOTHING: &[u8] = b"\x80\x02N.";

/// Overwrites bytes of the last entry's record in the archive's directory.
fn patched(mut file: Vec<u8>, field: usize, bytes: &[u8]) -> Vec<u8> {
    let record = file
        .windows(4)
        .rposition(|four| four == b"PK\x01\x02")
        .unwrap();
    file[record + field..][..bytes.len()].copy_from_slice(bytes);
    file
}

// Where the fields of such a record lie.
const FLAGS: usize = 8;
const METHOD: usize = 10;
const CHECKSUM: usize = 16;
const PACKED: usize = 20;
const SIZE: usize = 24;
const HEADER: usize = 42;

fn one_tensor(method: CompressionMethod) -> Vec<u8> {
    let pickle = tensor::rebuild("FloatStorage", 4, 0, &[4], &[1]);
    pth(&pickle, &[7; 16], method)
}

#[test]
fn files_of_another_kind_are_named() {
    assert!(matches!(parsed(b""), Err(Error::Empty)));
    let legacy = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.";
    assert!(matches!(parsed(legacy), Err(Error::Legacy)));
    let safetensors = [&2u64.to_le_bytes()[..], b"{}"].concat();
    assert!(matches!(parsed(&safetensors), Err(Error::Safetensors)));
    let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n";
    assert!(matches!(parsed(pointer), Err(Error::LfsPointer)));
    assert!(matches!(
        parsed(b"\n<!DOCTYPE html>\n<html>"),
        Err(Error::WebPage)
    ));
    let Err(Error::NotZip { start }) = parsed(b"\x1b[2Jred herring") else {
        panic!("accepted noise")
    };
    assert_eq!(
        start, "\\u{1b}[2Jred ",
        "control characters do not reach the terminal"
    );
    assert!(matches!(
        parsed(b"PK\x03\x04 and no more"),
        Err(Error::Zip(_))
    ));
}

#[test]
fn a_missing_file_and_a_directory_are_io_errors() {
    let directory = tempfile::tempdir().unwrap();
    assert!(matches!(
        read(&directory.path().join("no.pth")),
        Err(Error::Io(_))
    ));
    assert!(matches!(read(directory.path()), Err(Error::Io(_))));
}

#[test]
fn any_prefix_will_do_but_one_pickle_must_be_there() {
    for name in ["data.pkl", "x/data.pkl", "a/b c/data.pkl"] {
        assert_eq!(
            parsed(&zip(&[(name, NOTHING)], Stored)).unwrap(),
            Value::None
        );
    }
    assert!(matches!(
        parsed(&zip(&[("a/notdata.pkl", NOTHING)], Stored)),
        Err(Error::MissingEntry { .. })
    ));
    let two = zip(&[("a/data.pkl", NOTHING), ("b/data.pkl", NOTHING)], Stored);
    assert!(matches!(parsed(&two), Err(Error::ManyPickles { count: 2 })));
}

#[test]
fn only_little_endian_files_are_read() {
    let order = |order: &[u8]| {
        parsed(&zip(
            &[("a/data.pkl", NOTHING), ("a/byteorder", order)],
            Stored,
        ))
    };
    assert!(order(b"little").is_ok());
    assert!(matches!(order(b"big"), Err(Error::ByteOrder { order }) if order == "big"));
    assert!(matches!(
        order(&[b' '; 17]),
        Err(Error::EntryTooLong { size: 17, .. })
    ));
}

#[test]
fn deflated_entries_are_unpacked() {
    let expected = Value::Tensor(super::tensor(Dtype::F32, &[4], [7; 16]));
    assert_eq!(parsed(&one_tensor(Deflated)).unwrap(), expected);
    assert_eq!(parsed(&one_tensor(Stored)).unwrap(), expected);
}

#[test]
fn a_missing_storage_is_named() {
    let file = zip(
        &[(
            "a/data.pkl",
            &tensor::rebuild("FloatStorage", 4, 0, &[4], &[1]),
        )],
        Stored,
    );
    assert!(matches!(parsed(&file), Err(Error::MissingEntry { entry }) if entry == "a/data/0"));
}

#[test]
fn entries_must_be_stored_or_deflated_and_not_encrypted() {
    let encrypted = patched(one_tensor(Stored), FLAGS, &[1]);
    assert!(matches!(parsed(&encrypted), Err(Error::Encrypted { entry }) if entry == "a/data/0"));
    let bzip2 = patched(one_tensor(Stored), METHOD, &[12]);
    assert!(matches!(parsed(&bzip2), Err(Error::Packing { .. })));
}

#[test]
fn sizes_and_checksums_of_entries_are_checked() {
    let stored = patched(one_tensor(Stored), SIZE, &[15]);
    assert!(matches!(
        parsed(&stored),
        Err(Error::Unpack { size: 15, .. })
    ));
    let checksum = patched(one_tensor(Deflated), CHECKSUM, &[1, 2, 3, 4]);
    assert!(matches!(parsed(&checksum), Err(Error::Unpack { .. })));
    for size in [15, 17] {
        let deflated = patched(one_tensor(Deflated), SIZE, &[size]);
        assert!(matches!(parsed(&deflated), Err(Error::Unpack { .. })));
    }
}

#[test]
fn impossible_inflation_is_refused_before_memory_is_asked_for() {
    let bomb = patched(
        one_tensor(Deflated),
        SIZE,
        &u32::MAX.wrapping_sub(1).to_le_bytes(),
    );
    assert!(matches!(
        parsed(&bomb),
        Err(Error::Inflation {
            size: 0xffff_fffe,
            ..
        })
    ));
}

#[test]
fn a_pickle_longer_than_any_file_has_is_refused() {
    let file = zip(&[("a/data.pkl", &vec![b'N'; (4 << 20) + 1])], Deflated);
    assert!(matches!(parsed(&file), Err(Error::EntryTooLong { .. })));
}

#[test]
fn entries_may_not_share_bytes_or_names_or_leave_the_file() {
    // The storage's record is made to point at the pickle's header.
    assert!(matches!(
        parsed(&patched(one_tensor(Stored), HEADER, &[0; 4])),
        Err(Error::Overlap)
    ));
    assert!(matches!(
        parsed(&patched(one_tensor(Stored), PACKED, &[255, 255])),
        Err(Error::Overlap)
    ));
    let twice = zip(&[("a/data.pkl", NOTHING), ("a/data.pkx", NOTHING)], Stored);
    assert!(matches!(
        parsed(&patched(twice, 46, b"a/data.pkl")),
        Err(Error::Overlap)
    ));
}

#[test]
fn a_zip64_archive_is_read() {
    use std::io::Write;
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    zip.start_file(
        "a/data.pkl",
        SimpleFileOptions::default()
            .compression_method(Stored)
            .large_file(true),
    )
    .unwrap();
    zip.write_all(NOTHING).unwrap();
    assert_eq!(
        parsed(&zip.finish().unwrap().into_inner()).unwrap(),
        Value::None
    );
}
