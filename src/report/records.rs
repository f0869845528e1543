//! Where each step and each evaluation is written down as it happens, for other programs to follow.

use std::path::Path;

use anyhow::{Context, Result};

use super::log::Log;
use super::{Eval, Step, TensorBoard};

/// The log file and TensorBoard's files, as far as they are asked for.
pub struct Records {
    log: Option<Log>,
    board: Option<TensorBoard>,
}

impl Records {
    /// Opens what is asked for, for a run of which so many steps are done.
    pub fn open(log_file: Option<&Path>, tensorboard: Option<&Path>, done: usize) -> Result<Self> {
        let board = tensorboard.map(|directory| {
            let opened = TensorBoard::open(directory, done);
            opened.with_context(|| format!("cannot write --tensorboard {}", directory.display()))
        });
        Ok(Self {
            log: log_file.map(Log::open).transpose()?,
            board: board.transpose()?,
        })
    }

    pub fn step(&mut self, step: &Step) -> Result<()> {
        if let Some(log) = &mut self.log {
            log.step(step)?;
        }
        if let Some(board) = &mut self.board {
            board.step(step).context("cannot write --tensorboard")?;
        }
        Ok(())
    }

    pub fn eval(&mut self, eval: &Eval) -> Result<()> {
        if let Some(log) = &mut self.log {
            log.eval(eval)?;
        }
        if let Some(board) = &mut self.board {
            board.eval(eval).context("cannot write --tensorboard")?;
        }
        Ok(())
    }
}
