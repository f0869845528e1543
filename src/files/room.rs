//! Whether there is room for what is to be written, found out before the work that it takes.

use std::io;
use std::path::Path;

use indicatif::DecimalBytes;

use super::paths::directory_of;

/// Errors when the disk of `path` lacks room for `needed` bytes, or this process may write no file
/// of `largest` bytes. What the system does not tell is left to writing.
pub fn check_room(path: &Path, needed: u64, largest: u64) -> io::Result<()> {
    if let Ok(free) = fs4::available_space(directory_of(path))
        && free < needed
    {
        return Err(io::Error::other(format!(
            "{} more are needed, and its disk has {} left; make room or name another place",
            DecimalBytes(needed),
            DecimalBytes(free)
        )));
    }
    if let Some(most) = largest_file()
        && most < largest
    {
        return Err(io::Error::other(format!(
            "a file of {} is needed, and this process may write none above {}; raise that limit \
             (ulimit -f)",
            DecimalBytes(largest),
            DecimalBytes(most)
        )));
    }
    Ok(())
}

/// The length beyond which the system lets this process write no file.
fn largest_file() -> Option<u64> {
    #[cfg(unix)]
    return rustix::process::getrlimit(rustix::process::Resource::Fsize).current;
    #[cfg(not(unix))]
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_that_no_disk_has_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        check_room(&path, 1, 1).unwrap();
        let error = check_room(&path, u64::MAX, 1).unwrap_err().to_string();
        assert!(error.contains("make room"), "{error}");
    }
}
