//! The log file: one JSON object a line for each step and each evaluation, written at once so that
//! it can be followed.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Serialize;
use serde_json::json;

use super::{Eval, Record, Step};
use crate::files::Target;
use crate::setting::LOG_FILE;

/// An open log.
pub struct Log {
    target: Target,
    file: File,
}

impl Log {
    /// Opens a log and keeps what is in it: the lines of another run follow, from step 1 again.
    pub fn open(path: &Path) -> Result<Self> {
        let is_torn = ends_inside_a_line(path);
        let file = OpenOptions::new().create(true).append(true).open(path);
        let mut file = file.with_context(|| cannot_write(path))?;
        if is_torn {
            file.write_all(b"\n").with_context(|| cannot_write(path))?;
        }
        Ok(Self {
            file,
            target: Target::new(path),
        })
    }

    fn line(&mut self, what: &impl Serialize) -> Result<()> {
        let mut line = serde_json::to_string(what)?;
        line.push('\n');
        let written = self.file.write_all(line.as_bytes());
        written.with_context(|| cannot_write(&self.path()))
    }
}

impl Record for Log {
    fn name(&self) -> &'static str {
        "log"
    }

    fn path(&self) -> PathBuf {
        self.target.path()
    }

    fn step(&mut self, step: &Step) -> Result<()> {
        self.line(step)
    }

    fn eval(&mut self, eval: &Eval) -> Result<()> {
        let Eval {
            step,
            loss,
            accuracy,
        } = eval;
        self.line(&json!({ "step": step, "eval_loss": loss, "eval_accuracy": accuracy }))
    }
}

/// Whether a run that was killed left a part of a line. A pipe is not opened for reading: with its
/// own writer as a reader, it would never tell that nobody else reads it.
fn ends_inside_a_line(path: &Path) -> bool {
    let last = || -> io::Result<u8> {
        let mut last = [0];
        let mut file = File::open(path)?;
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
        Ok(last[0])
    };
    path.is_file() && last().is_ok_and(|last| last != b'\n')
}

fn cannot_write(path: &Path) -> String {
    format!("cannot write {LOG_FILE} {}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_line_is_ended_before_the_next() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let eval = Eval {
            step: 1,
            loss: 0.5,
            accuracy: 1.0,
        };
        for (before, lines) in [("", 1), ("{}\n", 2), ("{}\n{\"st", 3)] {
            std::fs::write(&path, before).unwrap();
            Log::open(&path).unwrap().eval(&eval).unwrap();
            let text = std::fs::read_to_string(&path).unwrap();
            assert_eq!(text.lines().count(), lines, "{text}");
            assert!(text.starts_with(before) && text.ends_with("}\n"), "{text}");
        }
    }
}
