//! `--log_file`: one JSON object a line for each step and each evaluation, written through at once so that it can be followed.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use serde::Serialize;
use serde_json::json;

use super::{Eval, Step};

/// An open log.
pub struct Log(File);

impl Log {
    /// Opens a log, keeping what is in it: a further run's lines follow, from step 1 again.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self(
            OpenOptions::new().create(true).append(true).open(path)?,
        ))
    }

    pub fn step(&mut self, step: &Step) -> io::Result<()> {
        self.line(step)
    }

    pub fn eval(&mut self, eval: &Eval) -> io::Result<()> {
        self.line(
            &json!({ "step": eval.step, "eval_loss": eval.loss, "eval_accuracy": eval.accuracy }),
        )
    }

    fn line(&mut self, what: &impl Serialize) -> io::Result<()> {
        let mut line = serde_json::to_string(what)?;
        line.push('\n');
        self.0.write_all(line.as_bytes())
    }
}
