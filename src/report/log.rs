//! `--log_file`: one JSON object a line for each step, written through at once so that it can be followed.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use super::Step;

/// An open log.
pub struct Log(File);

impl Log {
    /// Opens a log, keeping what is in it: a further run's lines follow, from step 1 again.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self(
            OpenOptions::new().create(true).append(true).open(path)?,
        ))
    }

    pub fn write(&mut self, step: &Step) -> io::Result<()> {
        let mut line = serde_json::to_string(step)?;
        line.push('\n');
        self.0.write_all(line.as_bytes())
    }
}
