//! A file's bytes, mapped: a model of several gigabytes must not be copied to be read.

use std::io;
use std::ops::{Deref, Range};
use std::path::Path;
use std::sync::{Arc, Weak};

use super::mapping::Mapping;

/// Read-only bytes with cheap clones and slices: a window into a mapped file, or owned memory.
#[derive(Clone)]
pub struct Bytes {
    source: Source,
    range: Range<usize>,
}

#[derive(Clone)]
enum Source {
    Mapped(Arc<Mapping>),
    Owned(Arc<Vec<u8>>),
}

impl Bytes {
    /// Maps a file. Its pages are read when they are touched, and are shared with every other
    /// process that maps it.
    pub fn map(path: &Path) -> io::Result<Self> {
        // Checked before the file is opened: opening a pipe would wait for its other end.
        let metadata = std::fs::metadata(path)?;
        if !metadata.is_file() {
            let what = if metadata.is_dir() {
                "a directory"
            } else {
                "a special file"
            };
            return Err(io::Error::other(format!("it is {what}, not a file")));
        }
        if metadata.len() == 0 {
            return Ok(Self::from(Vec::new())); // an empty file cannot be mapped
        }
        let mapping = Mapping::new(path)?;
        let range = 0..mapping.bytes().len();
        Ok(Self {
            source: Source::Mapped(Arc::new(mapping)),
            range,
        })
    }

    /// The mapped file that these bytes are a window of, for as long as any of it is used; `None`
    /// for owned memory.
    pub fn mapping(&self) -> Option<Weak<Mapping>> {
        match &self.source {
            Source::Mapped(mapping) => Some(Arc::downgrade(mapping)),
            Source::Owned(_) => None,
        }
    }

    /// The window `range` of these bytes, sharing their memory; `None` when it does not lie inside
    /// them.
    pub fn slice(&self, range: Range<usize>) -> Option<Self> {
        if range.start > range.end || range.end > self.len() {
            return None;
        }
        let start = self.range.start;
        Some(Self {
            source: self.source.clone(),
            range: start + range.start..start + range.end,
        })
    }

    /// Frees the memory that this window of a mapped file takes. The pages are read from the file
    /// again when they are used again. This is a hint: the system may keep them.
    pub fn leave_memory(&self) {
        #[cfg(unix)]
        if let Source::Mapped(mapping) = &self.source {
            let (start, len) = (self.range.start, self.range.len());
            // SAFETY: pages of a file that is mapped for reading come back as they were.
            let _ = unsafe {
                mapping.bytes().unchecked_advise_range(
                    memmap2::UncheckedAdvice::DontNeed,
                    start,
                    len,
                )
            };
        }
    }
}

impl From<Vec<u8>> for Bytes {
    fn from(bytes: Vec<u8>) -> Self {
        let range = 0..bytes.len();
        Self {
            source: Source::Owned(Arc::new(bytes)),
            range,
        }
    }
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        let whole: &[u8] = match &self.source {
            Source::Mapped(mapping) => mapping.bytes(),
            Source::Owned(bytes) => bytes,
        };
        &whole[self.range.clone()]
    }
}

impl std::fmt::Debug for Bytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = match self.source {
            Source::Mapped(_) => "mapped",
            Source::Owned(_) => "owned",
        };
        write!(f, "Bytes({kind}, {} bytes)", self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn bytes_that_are_lost_read_as_zeros_and_are_known() {
        use std::fs::{self, File};

        use crate::files::{Fate, Survival};

        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        fs::write(&path, vec![7; 100_000]).unwrap();
        let whole = Bytes::map(&path).unwrap();
        let mapping = whole.mapping().unwrap().upgrade().unwrap();
        let _survival = Survival::begin();
        let file = File::options().write(true).open(&path).unwrap();
        file.set_len(10_000).unwrap();
        assert_eq!(whole[9_999], 7);
        assert!(whole[50_000..].iter().all(|&byte| byte == 0));
        assert_eq!(whole[9_999], 7, "what is left is as it was");
        assert_eq!(mapping.fate(), Fate::Changed);
    }

    #[test]
    fn slices_share_and_stay_inside() {
        let bytes = Bytes::from(vec![1, 2, 3, 4, 5]);
        let middle = bytes.slice(1..4).unwrap();
        assert_eq!(&*middle, [2, 3, 4]);
        assert_eq!(&*middle.slice(1..2).unwrap(), [3]);
        assert!(
            middle.slice(0..4).is_none(),
            "a slice must not reach what its parent does not hold"
        );
    }
}
