//! Whether a run's files can be written, found out before the run.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use super::Options;
use crate::files;
use crate::model::Config;
use crate::state_file;

/// Where the state goes, and whether a state lies there already.
pub struct Target {
    /// `--save_filename` with links followed, so that a link stays a link.
    pub path: PathBuf,
    pub replaces: bool,
}

impl Target {
    /// Errors when the state could not be written, or would take the place of something that is no state of this
    /// model: a model, notes, the state of a larger model.
    pub fn check(save: &Path, config: &Config) -> Result<Self> {
        let path = fs::canonicalize(save).unwrap_or_else(|_| save.to_path_buf());
        let what = || format!("cannot write --save_filename {}", save.display());
        ensure!(save.file_name().is_some(), "{}: it names no file", what());
        let mut replaces = false;
        if let Ok(found) = fs::metadata(&path) {
            ensure!(
                found.is_file(),
                "{}: it is a {}",
                what(),
                if found.is_dir() {
                    "directory"
                } else {
                    "special file"
                }
            );
            if found.len() > 0 {
                let advice = "the file there is not replaced; move it away or give another name";
                state_file::read(&path, config).with_context(|| format!("{}: {advice}", what()))?;
                replaces = true;
            }
        }
        files::check_writable(&path).with_context(what)?;
        Ok(Self { path, replaces })
    }

    /// The loss curve's place: `state.loss.svg` beside `state.pth`.
    pub fn curve(&self) -> PathBuf {
        self.path.with_extension("loss.svg")
    }
}

/// Errors when the log would be written into one of the run's other files.
pub fn check_log(log: &Path, options: &Options) -> Result<()> {
    let same = |other: &Path| match (fs::canonicalize(log), fs::canonicalize(other)) {
        (Ok(log), Ok(other)) => log == other,
        _ => log == other,
    };
    for (flag, other) in [
        ("--model_location", &options.model),
        ("--data_path", &options.data),
        ("--save_filename", &options.save),
    ] {
        if same(other) {
            bail!(
                "--log_file {} is also {flag}; give it a name of its own",
                log.display()
            );
        }
    }
    Ok(())
}
