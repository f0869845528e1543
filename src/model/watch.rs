//! Whether a model's files are still as they were when the model was loaded: on a processor the
//! weights stay in the mapped files, which other programs can write to.

use std::path::PathBuf;
use std::sync::{Arc, Weak};

use anyhow::{Result, bail};

use super::{ModelFile, Rwkv};
use crate::files::{Fate, Mapping};

/// The files that a model's weights are in.
pub struct Files(Vec<Weak<Mapping>>);

impl Files {
    /// Those of a model's file, each once. What nothing points into any more, since it was copied,
    /// is no matter.
    pub fn of(file: &ModelFile) -> Self {
        let mut files: Vec<Weak<Mapping>> = Vec::new();
        for mapping in file.mappings() {
            if !files.iter().any(|known| known.ptr_eq(&mapping)) {
                files.push(mapping);
            }
        }
        Self(files)
    }

    fn used(&self) -> impl Iterator<Item = Arc<Mapping>> {
        self.0.iter().filter_map(Weak::upgrade)
    }
}

impl Rwkv {
    /// Errors when a file that weights are read from was written to, cut short or lost since the model
    /// was loaded: what was computed meanwhile may be wrong. Takes microseconds.
    pub fn check_files(&self) -> Result<()> {
        for file in self.files.used() {
            let path = file.path().display();
            match file.fate() {
                Fate::Same | Fate::Removed => {}
                Fate::Changed => bail!(
                    "the model's file {path} was written to by another program while it was used; give \
                     the model a file that nothing writes to"
                ),
                Fate::Unreadable => bail!(
                    "the model's file {path} was cut short, or its disk or network failed; copy it to a disk \
                     of this machine"
                ),
            }
        }
        Ok(())
    }

    /// A file that weights are read from and that has no name any more. They are as they were, and
    /// stay so.
    pub fn removed_file(&self) -> Option<PathBuf> {
        let mut files = self.files.used();
        let removed = files.find(|file| file.fate() == Fate::Removed)?;
        Some(removed.path().to_path_buf())
    }
}
