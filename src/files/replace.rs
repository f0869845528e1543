//! Files that appear whole or not at all: a state that took an hour to learn must not be
//! half-written.
//!
//! What is written goes to a temporary file beside its target, which is synced to disk and then
//! renamed.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::path::Path;

use tempfile::NamedTempFile;

use super::paths::directory_of;

/// Writes a file so that `path` holds either what it held before or all of the new content, never a
/// part.
///
/// `write` fills a temporary file in the same directory, which is synced to disk and then renamed
/// over `path`. When anything fails the temporary file is removed and `path` is as it was.
pub fn replace(path: &Path, write: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    let mut file = temporary_beside(path)?;
    write(file.as_file_mut())?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|e| e.error)?;
    sync_directory_of(path);
    Ok(())
}

/// Renames the complete file at `from`, open as `file`, to `to` in the same directory. It is synced
/// first.
pub fn publish(file: &File, from: &Path, to: &Path) -> io::Result<()> {
    file.sync_all()?;
    std::fs::rename(from, to)?;
    sync_directory_of(to);
    Ok(())
}

/// A rename outlives a power cut once its directory is synced too. Not every file system can do
/// that, and the content is whole either way, so a failure here is no error.
fn sync_directory_of(path: &Path) {
    if let Ok(directory) = File::open(directory_of(path)) {
        let _ = directory.sync_all();
    }
}

/// Whether [`replace`] could write `path` now: tries what it does, short of the rename.
pub fn check_writable(path: &Path) -> io::Result<()> {
    temporary_beside(path).map(drop)
}

/// An empty file in the directory of `path`, with the permissions that `File::create` would give
/// (tempfile's default is to let nobody but the owner read), removed when dropped. It is locked
/// meanwhile, for [`sweep`].
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
            // tempfile's message names the temporary file, which the user did not choose.
            io::ErrorKind::NotFound => io::Error::new(
                error.kind(),
                format!("there is no directory {}", directory_of(path).display()),
            ),
            kind => io::Error::from(kind),
        })?;
    // On a file system without locks `sweep` gets no lock either, and so removes nothing.
    let _ = file.as_file().lock();
    Ok(file)
}

fn temporary_prefix(path: &Path) -> OsString {
    let mut prefix = OsString::from(".state-tune-");
    prefix.push(path.file_name().unwrap_or_default());
    prefix.push("-");
    prefix
}

/// Removes what programs that were killed left of writing `path`: temporary files that nobody holds
/// a lock on.
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
            // A file that cannot be removed does no harm.
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::files::Bytes;

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
