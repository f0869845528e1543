//! The records of a run, its log, report and TensorBoard's files: whether they can be written, and
//! their beginning.

use std::fs;

use anyhow::{Context, Result, ensure};

use super::Options;
use super::outputs::kind;
use crate::console::Console;
use crate::files;
use crate::report::{Log, Page, Record, Records, TensorBoard};
use crate::setting::{LOG_FILE, REPORT, TENSORBOARD};

/// Errors when one of the records could not be written, or would be written in the place of
/// something that this program did not write.
pub fn check(options: &Options) -> Result<()> {
    if let Some(log) = &options.log_file {
        Log::check(log).with_context(|| format!("cannot write {LOG_FILE} {}", log.display()))?;
    }
    if let Some(directory) = &options.tensorboard {
        ensure!(
            directory.is_dir() || !directory.exists(),
            "cannot write {TENSORBOARD} {}: it is no directory; give another name",
            directory.display()
        );
    }
    let Some(report) = &options.report else {
        return Ok(());
    };
    let what = || format!("cannot write {REPORT} {}", report.display());
    if let Ok(found) = fs::metadata(report) {
        let advice = "it is not replaced; move it away or give another name";
        ensure!(
            found.is_file(),
            "{}: it is a {}; {advice}",
            what(),
            kind(&found)
        );
        ensure!(
            found.len() == 0 || Page::is_ours(report),
            "{}: what is there is no report of ours; {advice}",
            what()
        );
    }
    files::check_writable(report).with_context(what)
}

/// Opens the records that are asked for, for a run of which `done` steps are done. What goes wrong
/// with them later is said on `console`.
pub fn open(options: &Options, done: usize, console: Console) -> Result<Records> {
    let mut all: Vec<Box<dyn Record>> = Vec::new();
    if let Some(path) = &options.report {
        files::sweep(path, None);
        all.push(Box::new(Page::new(path)));
    }
    if let Some(path) = &options.log_file {
        all.push(Box::new(Log::open(path)?));
    }
    if let Some(directory) = &options.tensorboard {
        let board = TensorBoard::open(directory, done)
            .with_context(|| format!("cannot write {TENSORBOARD} {}", directory.display()))?;
        all.push(Box::new(board));
    }
    Ok(Records::new(all, console))
}
