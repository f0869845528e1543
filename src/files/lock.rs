//! The right to write a file, which one program has at a time. Files are replaced, so the lock is on
//! a file of its own, hidden beside them. The system gives it back when the program ends, however
//! that happens.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use super::paths::{directory_of, leads_to, resolved};
use super::target::Target;

/// A lock that is held for as long as this lives.
#[derive(Debug)]
pub struct Lock {
    target: Target,
    _file: File,
    /// The process that had it before and did not give it back, if there is one: it was killed.
    pub killed: Option<u32>,
}

/// What came of asking for a lock.
#[derive(Debug)]
pub enum Taken {
    /// It is this program's.
    Held(Lock),
    /// Another program has it: the process with this number, if that is known.
    ByAnother(Option<u32>),
    /// This file system has no locks.
    Unsupported,
}

impl Taken {
    /// The number of a process, as it follows what has a lock.
    pub fn shown(process: Option<u32>) -> String {
        process.map_or_else(String::new, |id| format!(", process {id}"))
    }
}

impl Lock {
    /// Asks for the lock on writing `path`, or what it links to. Errors when the directory cannot
    /// be written.
    pub fn take(path: &Path) -> io::Result<Taken> {
        let path = place(path);
        loop {
            let mut file = open(&path)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    // Whoever holds it may not have written its number yet.
                    return Ok(Taken::ByAnother(owner(&mut file)));
                }
                Err(TryLockError::Error(error)) if has_no_locks(&error) => {
                    // Where there are none, nobody has one on it.
                    if error.kind() == io::ErrorKind::Unsupported {
                        let _ = fs::remove_file(&path);
                    }
                    return Ok(Taken::Unsupported);
                }
                Err(TryLockError::Error(error)) => return Err(error),
            }
            // Whoever held it before may have removed what was opened here.
            if leads_to(&path, &file)? {
                let killed = owner(&mut file);
                // It may fail where another user made the file.
                let _ = file
                    .rewind()
                    .and_then(|()| file.set_len(0))
                    .and_then(|()| write!(file, "{}", std::process::id()));
                return Ok(Taken::Held(Self {
                    target: Target::new(&path),
                    _file: file,
                    killed,
                }));
            }
        }
    }
}

impl Lock {
    /// Removes the lock's file, though nobody else can have the lock before the program ends.
    pub fn clean_up(&self) {
        // A file that stays does no harm: the next run takes the lock on it.
        let _ = fs::remove_file(self.target.path());
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        self.clean_up();
    }
}

/// Whether a file system has no locks: some network file systems say that they do not know them, others
/// that nobody keeps them.
pub fn has_no_locks(error: &io::Error) -> bool {
    #[cfg(unix)]
    if error.raw_os_error() == Some(libc::ENOLCK) {
        return true;
    }
    error.kind() == io::ErrorKind::Unsupported
}

/// The process that wrote its number into a lock's file.
fn owner(file: &mut File) -> Option<u32> {
    let mut number = String::new();
    file.take(20).read_to_string(&mut number).ok()?;
    number.trim().parse().ok()
}

/// The lock's own file.
fn place(path: &Path) -> PathBuf {
    let path = resolved(path);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    directory_of(&path).join(format!(".state-tune-{name}.lock"))
}

/// Opens the lock's file, which is made if need be. A link is not followed.
fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
        options.custom_flags(flags.bits() as i32);
    }
    let made = options
        .clone()
        .write(true)
        .create(true)
        .truncate(false)
        .open(path);
    match made {
        // A lock can be held on what can only be read.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            options.open(path).map_err(|_| error)
        }
        made => made,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_has_it_at_a_time_whatever_the_file_is_called() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state.pth");
        let link = directory.path().join("link.pth");
        #[cfg(unix)]
        std::os::unix::fs::symlink("state.pth", &link).unwrap();
        let Taken::Held(first) = Lock::take(&path).unwrap() else {
            panic!("nobody has it")
        };
        for name in [&path, &link] {
            let second = Lock::take(name).unwrap();
            let us = std::process::id();
            assert!(
                matches!(second, Taken::ByAnother(Some(owner)) if owner == us),
                "{second:?}"
            );
        }
        drop(first);
        assert!(matches!(Lock::take(&link).unwrap(), Taken::Held(_)));
        assert_eq!(
            fs::read_dir(directory.path()).unwrap().count(),
            1,
            "the link"
        );
    }
}
