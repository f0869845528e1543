//! Where each step and each evaluation is written down as it happens, for other programs to follow.

use std::io;
use std::path::Path;

use anyhow::{Context, Result};

use super::log::Log;
use super::{Eval, Step, TensorBoard};
use crate::console::Console;
use crate::setting::TENSORBOARD;

/// The log file and TensorBoard's files, as far as they are asked for.
///
/// A run is worth more than its records: when they cannot be written any more, that is said, and the run goes on.
pub struct Records {
    log: Option<Log>,
    board: Option<TensorBoard>,
    console: Console,
    failed: Option<anyhow::Error>,
}

impl Records {
    /// Opens what is asked for, for a run of which `done` steps are done. What goes wrong later is said
    /// on `console`.
    pub fn open(
        log_file: Option<&Path>,
        tensorboard: Option<&Path>,
        done: usize,
        console: Console,
    ) -> Result<Self> {
        let board = tensorboard.map(|directory| {
            let opened = TensorBoard::open(directory, done);
            opened.with_context(|| format!("cannot write {TENSORBOARD} {}", directory.display()))
        });
        Ok(Self {
            log: log_file.map(Log::open).transpose()?,
            board: board.transpose()?,
            console,
            failed: None,
        })
    }

    pub fn step(&mut self, step: &Step) {
        self.write(|log| log.step(step), |board| board.step(step));
    }

    pub fn eval(&mut self, eval: &Eval) {
        self.write(|log| log.eval(eval), |board| board.eval(eval));
    }

    /// What could not be written, if so.
    pub fn failure(self) -> Option<anyhow::Error> {
        self.failed
    }

    fn write(
        &mut self,
        log: impl FnOnce(&mut Log) -> Result<()>,
        board: impl FnOnce(&mut TensorBoard) -> io::Result<()>,
    ) {
        if self.failed.is_some() {
            return;
        }
        let logged = self.log.as_mut().map_or(Ok(()), log);
        let shown = self.board.as_mut().map_or(Ok(()), board);
        if let Err(error) = logged.and(shown.with_context(|| format!("cannot write {TENSORBOARD}")))
        {
            self.console.line(&format!(
                "note   {error:#}; the run goes on without its records"
            ));
            self.failed = Some(error);
        }
    }
}
