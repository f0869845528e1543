//! A mapped file, and whether it is still as it was when it was mapped. Another program may write to
//! it meanwhile, and then the bytes here change, too; or cut it short, and then some of them are
//! gone ([`super::lost`]).

use std::fs::{File, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use memmap2::Mmap;

use super::lost::Region;

/// A file that is mapped for reading.
pub struct Mapping {
    // Forgotten before the memory may be used for something else.
    region: Region,
    map: Mmap,
    file: File,
    path: PathBuf,
    /// Its length and when it was last written to, as it was mapped.
    written: (u64, Option<SystemTime>),
}

/// What became of a mapped file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Nothing.
    Same,
    /// It was written to, or cut short.
    Changed,
    /// Its disk or network gave an error in place of some of it.
    Unreadable,
    /// It has no name any more. Its bytes are as they were.
    Removed,
}

impl Mapping {
    /// Maps a file that is not empty.
    pub fn new(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let written = written(&file.metadata()?);
        // SAFETY: the map is private to reading. Bytes that another process writes to the file are
        // read as numbers, of which any is valid; pages that it cuts off are seen to by `lost`. No
        // Rust reference sees freed memory.
        let map = unsafe { Mmap::map(&file)? };
        Ok(Self {
            region: Region::new(&map, path)?,
            map,
            file,
            path: path.to_path_buf(),
            written,
        })
    }

    /// All bytes of the file.
    pub fn bytes(&self) -> &Mmap {
        &self.map
    }

    /// The path that it was opened by.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What became of the file so far. Takes a microsecond.
    pub fn fate(&self) -> Fate {
        let Ok(found) = self.file.metadata() else {
            return Fate::Unreadable; // a network file system has lost it
        };
        if written(&found) != self.written {
            return Fate::Changed;
        }
        if self.region.is_lost() {
            return Fate::Unreadable;
        }
        match is_removed(&found) {
            true => Fate::Removed,
            false => Fate::Same,
        }
    }
}

fn written(found: &Metadata) -> (u64, Option<SystemTime>) {
    (found.len(), found.modified().ok())
}

#[cfg(unix)]
fn is_removed(found: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    found.nlink() == 0
}

#[cfg(not(unix))]
fn is_removed(_: &Metadata) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_becomes_of_a_file_is_seen() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let open = || {
            fs::write(&path, "some bytes").unwrap();
            Mapping::new(&path).unwrap()
        };
        let mapping = open();
        assert_eq!(mapping.fate(), Fate::Same);
        let later = SystemTime::now() + Duration::from_secs(2);
        let file = File::options().write(true).open(&path).unwrap();
        file.set_modified(later).unwrap();
        assert_eq!(mapping.fate(), Fate::Changed);
        let mapping = open();
        fs::write(&path, "some").unwrap();
        assert_eq!(mapping.fate(), Fate::Changed);
        let mapping = open();
        fs::rename(&path, directory.path().join("other")).unwrap();
        assert_eq!(mapping.fate(), Fate::Same);
        fs::write(&path, "another").unwrap();
        assert_eq!(mapping.fate(), Fate::Same);
        fs::remove_file(directory.path().join("other")).unwrap();
        #[cfg(unix)]
        assert_eq!(mapping.fate(), Fate::Removed);
        assert_eq!(&mapping.bytes()[..], b"some bytes");
    }
}
