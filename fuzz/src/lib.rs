//! What the targets share: bytes as a file, and a pickle as a whole `.pth`.

use std::fs;
use std::io::{Cursor, Write};
use std::path::PathBuf;

use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

/// A file of this process in memory; `name` tells apart those in use at once.
pub fn path(name: &str) -> PathBuf {
    PathBuf::from(format!(
        "/dev/shm/state-tune-fuzz-{}-{name}",
        std::process::id()
    ))
}

/// The bytes as a file. What is no zip and no safetensors becomes a zip: so the fuzzer reaches the
/// pickle machine without having to keep an archive whole.
pub fn file(data: &[u8]) -> PathBuf {
    let path = path("in");
    let is_whole = data.starts_with(b"PK") || data.get(8) == Some(&b'{');
    let bytes = if is_whole {
        data.to_vec()
    } else {
        archive(data)
    };
    fs::write(&path, bytes).expect("there is room in /dev/shm");
    path
}

/// A `.pth` of the storages whose number and whose lengths are the first bytes, and of the pickle
/// that follows. The storages hold small numbers of either sign, whatever type they are of.
fn archive(data: &[u8]) -> Vec<u8> {
    let (count, rest) = data.split_first().unwrap_or((&0, &[]));
    let (lengths, pickle) = rest.split_at(rest.len().min((count % 10).into()));
    let byte = |at: usize| match (at % 2, at / 4 % 2) {
        (0, _) => at as u8,
        (_, sign) => 0x3c | (sign as u8) << 7,
    };
    let plain = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let mut entry = |name: String, bytes: &[u8]| {
        zip.start_file(name, plain).expect("a name");
        zip.write_all(bytes).expect("memory");
    };
    entry("archive/data.pkl".into(), pickle);
    for (key, &length) in lengths.iter().enumerate() {
        let bytes: Vec<u8> = (0..length.into()).map(byte).collect();
        entry(format!("archive/data/{key}"), &bytes);
    }
    zip.finish().expect("memory").into_inner()
}
