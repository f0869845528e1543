//! Files that appear whole or not at all: a state that took an hour to learn must not be
//! half-written.
//!
//! What is written goes to a temporary file beside its target, which is synced to disk and then
//! renamed. A file that is replaced keeps its permissions, and a link leads where it led.

use std::ffi::OsString;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

use tempfile::NamedTempFile;

use super::paths::{directory_of, followed};

/// A temporary file that nobody has written to for so long is left over.
const OLD: Duration = Duration::from_secs(3600);

/// Writes a file so that `path` holds either what it held before or all of the new content, never a
/// part.
///
/// `write` fills a temporary file in the same directory, which is synced to disk and then renamed
/// over `path`, or over what `path` links to. It has the permissions of what is there, or those of
/// a new file, unless `write` gives it others. When anything fails the temporary file is removed
/// and `path` is as it was.
pub fn replace(path: &Path, write: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    let path = &followed(path);
    let mut file = temporary_beside(path)?;
    if let Ok(there) = fs::metadata(path) {
        liken(file.as_file(), &there)?;
    }
    write(file.as_file_mut())?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|e| e.error)?;
    sync_directory_of(path);
    Ok(())
}

/// Gives a file the permissions of another, and its owner where that is allowed.
fn liken(file: &File, other: &Metadata) -> io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::{MetadataExt, fchown};
        // Only root may, and who may not has the file, as after `mv`.
        let _ = fchown(file, Some(other.uid()), Some(other.gid()));
    }
    file.set_permissions(other.permissions())
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

/// Whether [`replace`] could write `path` now, as far as that shows without writing anything. A
/// file that is write-protected is not to be replaced, though the system would allow it.
pub fn check_writable(path: &Path) -> io::Result<()> {
    let path = &followed(path);
    let directory = directory_of(path);
    if !directory.is_dir() {
        return Err(no_directory(directory));
    }
    check_directory(directory)?;
    // The temporary file's name is longer than the file's.
    let mut longest = temporary_prefix_of(path, std::process::id());
    longest.push("xxxxxx");
    match fs::symlink_metadata(directory.join(longest)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(plain(error)),
        _ => {}
    }
    match fs::metadata(path) {
        Ok(there) if there.is_file() => check_replaceable(path, &there),
        _ => Ok(()),
    }
}

#[cfg(unix)]
fn check_directory(directory: &Path) -> io::Result<()> {
    use rustix::fs::{Access, access};
    access(directory, Access::WRITE_OK | Access::EXEC_OK).map_err(|error| plain(error.into()))
}

#[cfg(not(unix))]
fn check_directory(_: &Path) -> io::Result<()> {
    Ok(())
}

/// Errors when a file that is there could not be replaced, or is protected.
fn check_replaceable(path: &Path, there: &Metadata) -> io::Result<()> {
    let refuse = |why: &str| Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
    if there.permissions().readonly() {
        return refuse("it is write-protected");
    }
    OpenOptions::new().write(true).open(path).map_err(plain)?;
    if is_mount_point(path) {
        return refuse(
            "it is mounted by itself and cannot be replaced; mount its directory instead",
        );
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        const STICKY: u32 = 0o1000;
        let directory = fs::metadata(directory_of(path))?;
        // Where the system does not tell who runs the program, writing will.
        let user = fs::metadata("/proc/self").map_or(0, |process| process.uid());
        let is_allowed = user == 0 || user == there.uid() || user == directory.uid();
        if directory.mode() & STICKY != 0 && !is_allowed {
            return refuse(
                "it belongs to another user, and its directory lets only owners replace",
            );
        }
    }
    Ok(())
}

/// Whether something is mounted at a file's place, as containers mount single files. `false` where
/// the system does not tell: only Linux does.
fn is_mount_point(path: &Path) -> bool {
    let mounts = fs::read_to_string("/proc/self/mountinfo");
    let (Ok(mounts), Ok(path)) = (mounts, fs::canonicalize(path)) else {
        return false;
    };
    // Blanks and backslashes are written as numbers there.
    let name = path.to_string_lossy();
    let name = name.replace('\\', "\\134").replace(' ', "\\040");
    mounts
        .lines()
        .any(|line| line.split(' ').nth(4) == Some(&name))
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
        .prefix(&temporary_prefix_of(path, std::process::id()))
        .tempfile_in(directory_of(path))
        .map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => no_directory(directory_of(path)),
            _ => plain(error),
        })?;
    // On a file system without locks `sweep` gets no lock either, and so removes nothing.
    let _ = file.as_file().lock();
    Ok(file)
}

/// The error without the name of the temporary file, which the user did not choose, but with its
/// reason.
fn plain(error: io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(code) => io::Error::from_raw_os_error(code),
        None => io::Error::from(error.kind()),
    }
}

fn no_directory(directory: &Path) -> io::Error {
    io::Error::new(
        io::ErrorKind::NotFound,
        format!("there is no directory {}", directory.display()),
    )
}

fn temporary_prefix(path: &Path) -> OsString {
    let mut prefix = OsString::from(".state-tune-");
    prefix.push(path.file_name().unwrap_or_default());
    prefix.push("-");
    prefix
}

/// Of the temporary files that a process makes.
fn temporary_prefix_of(path: &Path, process: u32) -> OsString {
    let mut prefix = temporary_prefix(path);
    prefix.push(format!("{process}-"));
    prefix
}

/// Removes what programs that were killed left of writing `path`: temporary files that nobody holds
/// a lock on, and that are old or were made by the process `killed`. Another young one may be a
/// program's that has not locked it yet.
pub fn sweep(path: &Path, killed: Option<u32>) {
    let path = &followed(path);
    let prefix = temporary_prefix(path);
    let killed = killed.map(|process| temporary_prefix_of(path, process));
    let starts_with = |name: &OsString, prefix: &OsString| {
        name.as_encoded_bytes()
            .starts_with(prefix.as_encoded_bytes())
    };
    let Ok(entries) = std::fs::read_dir(directory_of(path)) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let is_left = |found: Metadata| {
            let written = found.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            let is_old = written.elapsed().is_ok_and(|age| age > OLD);
            let is_of_killed = killed
                .as_ref()
                .is_some_and(|prefix| starts_with(&name, prefix));
            found.is_file() && (is_old || is_of_killed)
        };
        if starts_with(&name, &prefix)
            && entry.metadata().is_ok_and(is_left)
            && let Ok(file) = File::open(entry.path())
            && file.try_lock().is_ok()
        {
            // A file that cannot be removed does no harm.
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

#[cfg(test)]
mod tests;
