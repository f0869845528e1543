//! Paths: the directory of a file, and the place that a path leads to.

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
    let mut path = path.to_path_buf();
    for _ in 0..LINKS {
        if let Ok(whole) = std::fs::canonicalize(&path) {
            return whole;
        }
        let parent = directory_of(&path);
        let parent = std::fs::canonicalize(parent).unwrap_or_else(|_| parent.to_path_buf());
        match (std::fs::read_link(&path), path.file_name()) {
            (Ok(link), _) => path = parent.join(link),
            (Err(_), Some(name)) => return parent.join(name),
            (Err(_), None) => return path,
        }
    }
    path
}
