//! Files the program reads by mapping and writes by replacing.
//!
//! A checkpoint of several gigabytes must not be copied to be read, and a state that took an hour to learn must not
//! be half-written. Both needs are met here: [`Bytes`] is a slice of a mapped file (or of memory that a deflated zip
//! entry was unpacked to), and [`replace`] writes beside its target, syncs, and renames.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::ops::{Deref, Range};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use memmap2::Mmap;
use tempfile::NamedTempFile;

/// Read-only bytes with cheap clones and slices: a window into a mapped file, or owned memory.
#[derive(Clone)]
pub struct Bytes {
    source: Source,
    range: Range<usize>,
}

#[derive(Clone)]
enum Source {
    Mapped(Arc<Mmap>),
    Owned(Arc<Vec<u8>>),
}

impl Bytes {
    /// Maps a file. Its pages are read when they are touched, and are shared with every other process that maps it.
    pub fn map(path: &Path) -> io::Result<Self> {
        // Asked before opening: to open a pipe would wait for its other end.
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
        let file = File::open(path)?;
        // SAFETY: the map is private to reading. If another process truncates the file meanwhile, touching the lost
        // pages ends the program, as with every tool that maps its model; no Rust reference sees freed memory.
        let map = unsafe { Mmap::map(&file)? };
        let range = 0..map.len();
        Ok(Self {
            source: Source::Mapped(Arc::new(map)),
            range,
        })
    }

    /// The window `range` of these bytes, sharing their memory; `None` when it does not lie inside them.
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

    /// Lets go of the memory that a mapped file's window takes; whoever looks at it again has it read again. No more
    /// than a hint: what cannot be let go of stays.
    pub fn leave_memory(&self) {
        #[cfg(unix)]
        if let Source::Mapped(map) = &self.source {
            let (start, len) = (self.range.start, self.range.len());
            // SAFETY: pages of a file that is mapped for reading come back as they were.
            let _ = unsafe {
                map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, start, len)
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
            Source::Mapped(map) => map,
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

/// Writes a file so that `path` holds either what it held before or all of the new content, never a part.
///
/// `write` fills a temporary file in the same directory, which is synced to disk and then renamed over `path`. When
/// anything fails the temporary file is removed and `path` is as it was.
pub fn replace(path: &Path, write: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    let mut file = temporary_beside(path)?;
    write(file.as_file_mut())?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|e| e.error)?;
    sync_directory_of(path);
    Ok(())
}

/// Gives the whole file at `from`, open as `file`, its name `to` in the same directory: synced first, then renamed.
pub fn publish(file: &File, from: &Path, to: &Path) -> io::Result<()> {
    file.sync_all()?;
    std::fs::rename(from, to)?;
    sync_directory_of(to);
    Ok(())
}

/// A rename outlives a power cut once its directory is synced too. Not every file system can do that, and the content
/// is whole either way, so a failure here is none of the caller's business.
fn sync_directory_of(path: &Path) {
    if let Ok(directory) = File::open(directory_of(path)) {
        let _ = directory.sync_all();
    }
}

/// Whether [`replace`] could write `path` now: tries what it does, short of the rename.
pub fn check_writable(path: &Path) -> io::Result<()> {
    temporary_beside(path).map(drop)
}

/// Where a file lies, or will.
pub fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Where a path leads, links followed, even if there is no file yet: two paths to one place become equal.
pub fn settled(path: &Path) -> PathBuf {
    /// As many links as Linux follows; a longer chain is a circle, which will fail when it is written.
    const LINKS: usize = 40;
    let mut path = path.to_path_buf();
    for _ in 0..LINKS {
        if let Ok(whole) = std::fs::canonicalize(&path) {
            return whole;
        }
        let parent = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
            _ => PathBuf::from("."),
        };
        let parent = std::fs::canonicalize(&parent).unwrap_or(parent);
        match (std::fs::read_link(&path), path.file_name()) {
            (Ok(link), _) => path = parent.join(link),
            (Err(_), Some(name)) => return parent.join(name),
            (Err(_), None) => return path,
        }
    }
    path
}

/// An empty file in the directory of `path`, with the permissions that `File::create` would give (tempfile's default
/// is to let nobody but the owner read), removed when dropped. It is locked meanwhile, for [`sweep`].
fn temporary_beside(path: &Path) -> io::Result<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    let file = builder
        .prefix(&temporary_prefix(path))
        .tempfile_in(directory_of(path))
        .map_err(|error| match error.kind() {
            // tempfile names the temporary file, which nobody asked for.
            io::ErrorKind::NotFound => io::Error::new(
                error.kind(),
                format!("there is no directory {}", directory_of(path).display()),
            ),
            kind => io::Error::from(kind),
        })?;
    // Where a file system has no locks, `sweep` gets none either.
    let _ = file.as_file().lock();
    Ok(file)
}

fn temporary_prefix(path: &Path) -> OsString {
    let mut prefix = OsString::from(".state-tune-");
    prefix.push(path.file_name().unwrap_or_default());
    prefix.push("-");
    prefix
}

/// Removes what programs that were killed left of writing `path`: temporary files that nobody holds a lock on.
pub fn sweep(path: &Path) {
    let prefix = temporary_prefix(path);
    let Ok(entries) = std::fs::read_dir(directory_of(path)) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let is_ours = name
            .as_encoded_bytes()
            .starts_with(prefix.as_encoded_bytes());
        if is_ours
            && let Ok(file) = File::open(entry.path())
            && file.try_lock().is_ok()
        {
            // What cannot be removed does no harm.
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

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

    #[test]
    fn a_failed_write_leaves_the_old_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state.pth");
        replace(&path, |f| f.write_all(b"old")).unwrap();
        let failed = replace(&path, |f| {
            f.write_all(b"ne")?;
            Err(io::Error::other("disk full"))
        });
        assert!(failed.is_err());
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        assert_eq!(
            std::fs::read_dir(directory.path()).unwrap().count(),
            1,
            "no temporary file stays behind"
        );
        assert_eq!(&*Bytes::map(&path).unwrap(), b"old");
    }

    #[test]
    fn what_a_killed_program_left_is_swept_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state.pth");
        let names = || {
            let mut names: Vec<_> = std::fs::read_dir(directory.path())
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect();
            names.sort();
            names
        };
        let in_use = temporary_beside(&path).unwrap();
        let used = in_use
            .path()
            .file_name()
            .unwrap()
            .to_str()
            .unwrap()
            .to_string();
        for name in [
            ".state-tune-state.pth-abc",
            ".state-tune-other.pth-abc",
            "state.pth-abc",
        ] {
            std::fs::write(directory.path().join(name), "half").unwrap();
        }
        sweep(&path);
        let mut left = vec![
            ".state-tune-other.pth-abc".to_string(),
            used,
            "state.pth-abc".to_string(),
        ];
        left.sort();
        assert_eq!(names(), left);
    }
}
