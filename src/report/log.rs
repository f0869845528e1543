//! `--log_file`: one JSON object a line for each step and each evaluation, written through at once so that it can be followed.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Serialize;
use serde_json::json;

use super::{Eval, Step};

/// An open log.
pub struct Log {
    path: PathBuf,
    file: File,
}

impl Log {
    /// Opens a log, keeping what is in it: a further run's lines follow, from step 1 again.
    pub fn open(path: &Path) -> Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path);
        Ok(Self {
            file: file.with_context(|| cannot_write(path))?,
            path: path.to_path_buf(),
        })
    }

    pub fn step(&mut self, step: &Step) -> Result<()> {
        self.line(step)
    }

    pub fn eval(&mut self, eval: &Eval) -> Result<()> {
        self.line(
            &json!({ "step": eval.step, "eval_loss": eval.loss, "eval_accuracy": eval.accuracy }),
        )
    }

    fn line(&mut self, what: &impl Serialize) -> Result<()> {
        let mut line = serde_json::to_string(what)?;
        line.push('\n');
        let written = self.file.write_all(line.as_bytes());
        written.with_context(|| cannot_write(&self.path))
    }
}

fn cannot_write(path: &Path) -> String {
    format!("cannot write --log_file {}", path.display())
}
