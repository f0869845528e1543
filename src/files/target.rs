//! Where a file goes that is written later on. A run may take days, and meanwhile its directory may
//! be renamed, or a link on the way to it may lead elsewhere: then its files still go to the directory
//! that they were to go to at first, wherever that is now, all of them.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::paths::{directory_of, resolved};

/// A file that will be written, in a directory that is found again.
#[derive(Debug)]
pub struct Target {
    named: PathBuf,
    /// Where that led at first, links followed.
    place: PathBuf,
    /// The directory there.
    directory: Option<File>,
}

impl Target {
    /// The file of this name, in the directory that it leads to now.
    pub fn new(path: &Path) -> Self {
        let place = resolved(path);
        Self {
            named: path.to_path_buf(),
            directory: File::open(directory_of(&place)).ok(),
            place,
        }
    }

    /// The path that the user named.
    pub fn named(&self) -> &Path {
        &self.named
    }

    /// Where the file is now, or is to be written: as it was named, if that still leads there; in its
    /// directory's new place; or where the directory was, if it is gone.
    pub fn path(&self) -> PathBuf {
        let Some(name) = self.place.file_name() else {
            return self.named.clone();
        };
        let moved = self.directory.as_ref().and_then(place_of);
        let now = moved.map_or_else(|| self.place.clone(), |directory| directory.join(name));
        match resolved(&self.named) == now {
            true => self.named.clone(),
            false => now,
        }
    }
}

/// Where an open directory is, if it still has a name. Only Linux tells.
fn place_of(directory: &File) -> Option<PathBuf> {
    #[cfg(unix)]
    {
        use std::os::fd::AsRawFd;
        let place = fs::read_link(format!("/proc/self/fd/{}", directory.as_raw_fd())).ok()?;
        place.is_dir().then_some(place)
    }
    #[cfg(not(unix))]
    {
        let _ = directory;
        None
    }
}

/// What was found at a place, to tell later whether that is still what lies there.
#[derive(Debug, PartialEq, Eq)]
pub struct Found {
    length: u64,
    modified: Option<SystemTime>,
    /// The device and the number of the file on it.
    #[cfg(unix)]
    file: (u64, u64),
}

impl Found {
    /// What a path leads to, if there is anything.
    pub fn at(path: &Path) -> Option<Self> {
        let found = fs::metadata(path).ok()?;
        Some(Self {
            length: found.len(),
            modified: found.modified().ok(),
            #[cfg(unix)]
            file: {
                use std::os::unix::fs::MetadataExt;
                (found.dev(), found.ino())
            },
        })
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_file_follows_its_directory() {
        let directory = tempfile::tempdir().unwrap();
        let place = |name: &str| directory.path().canonicalize().unwrap().join(name);
        fs::create_dir(place("old")).unwrap();
        let target = Target::new(&place("old/state.pth"));
        assert_eq!(target.path(), place("old/state.pth"));
        fs::rename(place("old"), place("new")).unwrap();
        assert_eq!(target.path(), place("new/state.pth"));
        // Another directory may have taken its name.
        fs::create_dir(place("old")).unwrap();
        assert_eq!(target.path(), place("new/state.pth"));
        fs::remove_dir(place("new")).unwrap();
        fs::remove_dir(place("old")).unwrap();
        assert_eq!(target.path(), place("old/state.pth"));
    }

    #[test]
    fn links_lead_where_they_led_at_first() {
        use std::os::unix::fs::symlink;
        let directory = tempfile::tempdir().unwrap();
        let place = |name: &str| directory.path().canonicalize().unwrap().join(name);
        fs::create_dir(place("one")).unwrap();
        fs::create_dir(place("two")).unwrap();
        // Of a directory, and of the file itself.
        symlink("one", place("current")).unwrap();
        symlink("one/state.pth", place("link.pth")).unwrap();
        let targets = ["current/state.pth", "link.pth"].map(|name| Target::new(&place(name)));
        for target in &targets {
            assert_eq!(target.path(), target.named());
        }
        fs::remove_file(place("current")).unwrap();
        symlink("two", place("current")).unwrap();
        assert_eq!(targets[0].path(), place("one/state.pth"));
        assert_eq!(targets[1].path(), place("link.pth"));
        fs::rename(place("one"), place("three")).unwrap();
        for target in &targets {
            assert_eq!(target.path(), place("three/state.pth"));
        }
    }

    #[test]
    fn another_file_is_told_from_the_one_that_was_found() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        assert_eq!(Found::at(&path), None);
        fs::write(&path, "one").unwrap();
        let found = Found::at(&path);
        assert_eq!(Found::at(&path), found);
        fs::write(directory.path().join("other"), "two").unwrap();
        fs::rename(directory.path().join("other"), &path).unwrap();
        assert_ne!(Found::at(&path), found);
    }
}
