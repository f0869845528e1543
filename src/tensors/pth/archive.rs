//! The zip archive of a `.pth`: which entry is the pickle, and the bytes of each entry.
//!
//! The `zip` crate reads the directory and inflates; what is added here are checks against hostile
//! files. Entries may not overlap (or a few kilobytes could be unpacked a million times over), and
//! may not claim to unpack to more than deflate can produce.
//!
//! The checksums of stored entries are verified in files as small as states are. In a large model
//! that would read all of it from disk to use one tensor. PyTorch can be told to write none.

use std::io::{Cursor, Read};
use std::ops::Range;

use zip::{CompressionMethod, ZipArchive};

use super::error::{Error, shown};
use crate::files::Bytes;
use crate::system;

/// The pickles of large models have some hundred kilobytes; this bounds the work of running one.
const LONGEST_PICKLE: u64 = 4 << 20;
/// A note is a few lines.
const LONGEST_NOTE: u64 = 64 << 10;
/// Files up to this size are read whole, to verify their checksums: 256 MiB.
const VERIFIED: usize = 256 << 20;
/// Deflate's densest code spends 2 bits on 258 bytes.
const MOST_INFLATION: u64 = 1032;

/// The entries of a `.pth`, found by name.
pub struct Archive<'a> {
    file: &'a Bytes,
    zip: ZipArchive<Cursor<&'a [u8]>>,
    /// What stands before `data.pkl` in its entry's name, up to and including the slash.
    prefix: String,
}

impl<'a> Archive<'a> {
    /// Finds the archive's directory and its pickle. Errors for what is no `.pth`, or not
    /// little-endian.
    pub fn open(file: &'a Bytes) -> Result<Self, Error> {
        if !recognise(file) {
            return Err(what_else(file));
        }
        let mut zip = ZipArchive::new(Cursor::new(&file[..]))?;
        if zip.has_duplicate_names() || zip.has_overlapping_files()? {
            return Err(Error::Overlap);
        }
        let prefix = pickle_prefix(&zip)?;
        let mut archive = Self { file, zip, prefix };
        match archive.entry("byteorder", 16) {
            Ok(order) if &*order == b"little" => Ok(archive),
            Ok(order) => Err(Error::ByteOrder {
                order: shown(&String::from_utf8_lossy(&order)),
            }),
            // Files from before PyTorch 2.1 do not say; they were nearly all written on
            // little-endian machines.
            Err(Error::MissingEntry { .. }) => Ok(archive),
            Err(other) => Err(other),
        }
    }

    /// The program that builds the file's value.
    pub fn pickle(&mut self) -> Result<Bytes, Error> {
        self.entry("data.pkl", LONGEST_PICKLE)
    }

    /// The bytes of a storage. A deflated one is unpacked anew at every call.
    pub fn storage(&mut self, key: &str) -> Result<Bytes, Error> {
        self.entry(&format!("data/{key}"), u64::MAX)
    }

    /// The bytes of an entry that other programs do not look at.
    pub fn note(&mut self, name: &str) -> Result<Bytes, Error> {
        self.entry(name, LONGEST_NOTE)
    }

    /// The bytes of the entry `name` (without the prefix), which may have at most `most`.
    fn entry(&mut self, name: &str, most: u64) -> Result<Bytes, Error> {
        let name = format!("{}{name}", self.prefix);
        let entry = || shown(&name);
        let Some(index) = self.zip.index_for_name_raw(name.as_bytes()) else {
            return Err(Error::MissingEntry { entry: entry() });
        };
        let raw = self.zip.by_index_raw(index)?;
        let (size, packed, method) = (raw.size(), raw.compressed_size(), raw.compression());
        let checksum = raw.crc32();
        if raw.encrypted() {
            return Err(Error::Encrypted { entry: entry() });
        }
        if size > most {
            return Err(Error::EntryTooLong {
                entry: entry(),
                size,
                most,
            });
        }
        let damaged = |reason: String| Error::Unpack {
            entry: entry(),
            size,
            reason,
        };
        match method {
            CompressionMethod::Stored if size != packed => {
                Err(damaged(format!("it is stored in {packed} bytes")))
            }
            CompressionMethod::Stored => {
                let range = raw.data_start().and_then(|start| range(start, size));
                let bytes = range
                    .and_then(|range| self.file.slice(range))
                    .ok_or_else(|| damaged("it reaches past the end of the file".into()))?;
                // 0 is what stands there if PyTorch was told to write none.
                let is_verified = checksum != 0 && self.file.len() <= VERIFIED;
                if is_verified && crc32fast::hash(&bytes) != checksum {
                    return Err(damaged("its checksum does not agree with it".into()));
                }
                Ok(bytes)
            }
            CompressionMethod::Deflated if size > packed.saturating_mul(MOST_INFLATION) => {
                Err(Error::Inflation {
                    entry: entry(),
                    packed,
                    size,
                })
            }
            CompressionMethod::Deflated => {
                drop(raw);
                let mut unpacked = Vec::new();
                let wanted = usize::try_from(size).map_err(|e| damaged(e.to_string()))?;
                if let Some(free) = system::free().filter(|&free| size > free) {
                    return Err(damaged(format!("{free} bytes of memory are free")));
                }
                unpacked
                    .try_reserve_exact(wanted)
                    .map_err(|e| damaged(e.to_string()))?;
                let reader = self.zip.by_index(index)?;
                // One byte more than declared may come, to find out that there are more; the crate
                // checks the checksum.
                let mut reader = reader.take(size.saturating_add(1));
                reader
                    .read_to_end(&mut unpacked)
                    .map_err(|e| damaged(e.to_string()))?;
                if unpacked.len() != wanted {
                    return Err(damaged(format!("it unpacks to {} bytes", unpacked.len())));
                }
                Ok(Bytes::from(unpacked))
            }
            other => Err(Error::Packing {
                entry: entry(),
                method: other.to_string(),
            }),
        }
    }
}

fn range(start: u64, size: u64) -> Option<Range<usize>> {
    let end = start.checked_add(size)?;
    Some(usize::try_from(start).ok()?..usize::try_from(end).ok()?)
}

/// PyTorch names the directory inside the archive after the file, and files get renamed: any prefix
/// will do.
fn pickle_prefix(zip: &ZipArchive<Cursor<&[u8]>>) -> Result<String, Error> {
    let names = zip
        .file_names_raw()
        .filter_map(|name| std::str::from_utf8(name).ok());
    let prefixes: Vec<&str> = names
        .filter_map(|name| name.strip_suffix("data.pkl"))
        .filter(|prefix| prefix.is_empty() || prefix.ends_with('/'))
        .collect();
    match prefixes[..] {
        [prefix] => Ok(prefix.to_owned()),
        [] => Err(Error::MissingEntry {
            entry: "data.pkl".into(),
        }),
        _ => Err(Error::ManyPickles {
            count: prefixes.len(),
        }),
    }
}

/// Whether a file is a zip archive, by how it begins.
pub fn recognise(file: &[u8]) -> bool {
    file.starts_with(b"PK\x03\x04")
}

/// How files begin that hold tensors in other programs' ways, or packed, and what they are.
const OTHERS: [(&[u8], &str); 9] = [
    (b"GGUF", "in llama.cpp's format, GGUF"),
    (b"fmgg", "in rwkv.cpp's format"),
    (b"tjgg", "in an old format of llama.cpp"),
    (b"lmgg", "in an old format of llama.cpp"),
    (b"\x1f\x8b", "packed by gzip"),
    (b"\x28\xb5\x2f\xfd", "packed by zstd"),
    (b"\xfd7zXZ\0", "packed by xz"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"\x89HDF\r\n", "in the format HDF5"),
];

/// The error for a file that is no zip archive. It names what the file is, for the kinds that
/// people really pass.
pub fn what_else(file: &[u8]) -> Error {
    // The old format starts with a pickle of the number 0x1950a86a20f9469cfc6c.
    const LEGACY: &[u8] = b"\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19";
    let start = &file[..file.len().min(64)];
    let text = String::from_utf8_lossy(start).trim_start().to_lowercase();
    let header = file.first_chunk().map(|length| u64::from_le_bytes(*length));
    let other = OTHERS.iter().find(|(mark, _)| file.starts_with(mark));
    if file.is_empty() {
        Error::Empty
    } else if let Some((_, what)) = other {
        Error::OtherFormat { what }
    } else if start.len() > 2 && start[0] == 0x80 && start[2..].starts_with(LEGACY) {
        Error::Legacy
    } else if text.starts_with("version https://git-lfs") {
        Error::LfsPointer
    } else if ["<!doctype", "<html", "<head", "<?xml"]
        .iter()
        .any(|tag| text.starts_with(tag))
    {
        Error::WebPage
    } else if file.get(8) == Some(&b'{') && header.is_some_and(|length| length <= file.len() as u64)
    {
        Error::Safetensors
    } else {
        let start = String::from_utf8_lossy(&file[..file.len().min(8)]);
        Error::NotZip {
            start: shown(&start),
        }
    }
}
