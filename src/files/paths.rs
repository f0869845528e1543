//! Paths: the directory of a file, the place that a path leads to, and whether two lead to one.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// The directory that a file lies in, or will lie in.
pub fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Where a path leads, links followed, even if there is no file yet: two paths to one place become
/// equal.
pub fn resolved(path: &Path) -> PathBuf {
    /// As many links as Linux follows; a longer chain is a circle, which will fail when it is
    /// written.
    const LINKS: usize = 40;
    let mut links = LINKS;
    resolved_by(path, &mut links)
}

/// The same, by so many links at most.
fn resolved_by(path: &Path, links: &mut usize) -> PathBuf {
    let mut path = path.to_path_buf();
    loop {
        if let Ok(whole) = std::fs::canonicalize(&path) {
            return whole;
        }
        // The directories above it may not be there either.
        let parent = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => resolved_by(parent, links),
            _ => std::fs::canonicalize(".").unwrap_or_else(|_| ".".into()),
        };
        match (std::fs::read_link(&path), path.file_name()) {
            (Ok(link), _) if *links > 0 => {
                *links -= 1;
                path = parent.join(link);
            }
            (_, Some(name)) => return parent.join(name),
            (_, None) => return path,
        }
    }
}

/// The path of a file that is to be written: as it stands, unless it is a link, which is followed.
/// So a relative path stays one, whatever becomes of the directory's name.
pub fn followed(path: &Path) -> PathBuf {
    match path.is_symlink() {
        true => resolved(path),
        false => path.to_path_buf(),
    }
}

/// Whether two paths lead to one file: by their names, or since both are names of it.
pub fn is_same(one: &Path, other: &Path) -> bool {
    // To compare files is to open them, and who opens a pipe that nobody writes to waits for ever.
    let are_files = || [one, other].iter().all(|path| path.is_file());
    resolved(one) == resolved(other)
        || are_files() && same_file::is_same_file(one, other).unwrap_or(false)
}

/// Whether a path still leads to an open file, which another program may have removed or replaced.
pub fn leads_to(path: &Path, file: &File) -> io::Result<bool> {
    let ours = same_file::Handle::from_file(file.try_clone()?)?;
    match same_file::Handle::from_path(path) {
        Ok(there) => Ok(there == ours),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn paths_to_what_is_not_there_are_resolved_and_circles_end() {
        let directory = tempfile::tempdir().unwrap();
        let here = directory.path().canonicalize().unwrap();
        symlink("far/away", here.join("link")).unwrap();
        for (path, wanted) in [
            ("a", "a"),
            ("a/b/c", "a/b/c"),
            ("link", "far/away"),
            ("link/events", "far/away/events"),
        ] {
            assert_eq!(resolved(&here.join(path)), here.join(wanted), "{path}");
        }
        symlink("two/x", here.join("one")).unwrap();
        symlink("one/x", here.join("two")).unwrap();
        // Whatever it is, it comes at once.
        resolved(&here.join("one/a/b"));
    }

    #[test]
    fn what_cannot_be_looked_at_is_not_taken_for_removed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let file = File::create(&path).unwrap();
        assert!(leads_to(&path, &file).unwrap());
        std::fs::rename(&path, directory.path().join("other")).unwrap();
        assert!(!leads_to(&path, &file).unwrap());
        File::create(&path).unwrap();
        assert!(!leads_to(&path, &file).unwrap());
        std::fs::remove_file(&path).unwrap();
        symlink("file", &path).unwrap();
        leads_to(&path, &file).unwrap_err();
    }
}
