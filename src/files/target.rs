//! Where a file goes that is written later on. A run may take days, and meanwhile its directory may
//! be renamed: then its files go to where the directory is now, all of them.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use super::paths::directory_of;

/// A file that will be written, in a directory that is found again.
#[derive(Debug)]
pub struct Target {
    named: PathBuf,
    /// The open directory, and where it was at first.
    directory: Option<(File, PathBuf)>,
}

impl Target {
    /// The file of this name, in the directory that it leads to now.
    pub fn new(path: &Path) -> Self {
        let directory = File::open(directory_of(path)).ok();
        let directory = directory.and_then(|open| Some((place_of(&open)?, open)));
        Self {
            named: path.to_path_buf(),
            directory: directory.map(|(place, open)| (open, place)),
        }
    }

    /// The path that the user named.
    pub fn named(&self) -> &Path {
        &self.named
    }

    /// Where the file is now, or is to be written: as it was named, or in its directory's new place.
    pub fn path(&self) -> PathBuf {
        let directory = self.directory.as_ref();
        let moved = directory.and_then(|(open, was)| place_of(open).filter(|now| now != was));
        match (moved, self.named.file_name()) {
            (Some(now), Some(name)) => now.join(name),
            _ => self.named.clone(),
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
}
