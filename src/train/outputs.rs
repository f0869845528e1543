//! Whether a run's files can be written, found out before the run.

use std::path::{Path, PathBuf};
use std::{fs, io};

use anyhow::{Context, Result, bail, ensure};

use super::{HeldOut, Init, Options, checkpoint};
use crate::console::Console;
use crate::files;
use crate::model::Rwkv;
use crate::report::{Curve, Log, Page, Record, Records, TensorBoard};
use crate::setting::{
    DATA_PATH, EVAL_PATH, INIT, LOG_FILE, MODEL_LOCATION, REPORT, RESUME, SAVE_FILENAME, Setting,
    TENSORBOARD,
};
use crate::state_file::{self, Format, OtherModel};

/// Where a run's own files go.
pub struct Outputs {
    /// `--save_filename` with links followed, so that a link stays a link.
    pub path: PathBuf,
    /// The loss curve: `state.loss.svg` beside `state.pth`, as the user named it.
    pub curve: PathBuf,
    /// The checkpoint, beside the state.
    pub checkpoint: PathBuf,
    /// Where a state that is there already is kept, beside the new one.
    pub old_state: PathBuf,
    /// Whether a state is there already.
    pub replaces: bool,
}

impl Outputs {
    /// Errors when one of the files could not be written, or would take the place of something
    /// else: of a model, of notes, of the state of a larger model.
    pub fn check(save: &Path, model: &Rwkv) -> Result<Self> {
        let outputs = Self {
            path: files::resolved(save),
            curve: save.with_extension("loss.svg"),
            checkpoint: checkpoint::path_beside(save),
            old_state: old(save),
            replaces: false,
        };
        let replaces = outputs.check_state(save, model)?;
        outputs.check_curve()?;
        outputs.check_checkpoint()?;
        let Self {
            path,
            curve,
            checkpoint,
            old_state,
            ..
        } = &outputs;
        for written in [path, curve, checkpoint, old_state] {
            files::sweep(written);
        }
        Ok(Self {
            replaces,
            ..outputs
        })
    }

    /// Returns whether a state is there already.
    fn check_state(&self, save: &Path, model: &Rwkv) -> Result<bool> {
        let path = &self.path;
        let what = || format!("cannot write {SAVE_FILENAME} {}", save.display());
        let ends_in_a_slash = save.as_os_str().as_encoded_bytes().ends_with(b"/");
        ensure!(
            save.file_name().is_some() && !ends_in_a_slash,
            "{}: it names no file",
            what()
        );
        let mut replaces = false;
        if let Ok(found) = fs::metadata(path) {
            ensure!(found.is_file(), "{}: it is a {}", what(), kind(&found));
            if found.len() > 0 {
                let advice = "the file there is not replaced; move it away or give another name";
                state_file::open_for(model, path, Some(Format::STATE), OtherModel::Refuse)
                    .with_context(|| format!("{}: {advice}", what()))?;
                replaces = true;
                self.check_old_state()?;
            }
        }
        files::check_writable(path).with_context(what)?;
        Ok(replaces)
    }

    /// Errors when what lies where the state of an earlier run is kept is none.
    fn check_old_state(&self) -> Result<()> {
        let old = &self.old_state;
        let is_free = fs::metadata(old).map_or(true, |found| found.is_file() && found.len() == 0);
        ensure!(
            is_free || state_file::open(old, None).is_ok(),
            "{} is no state, and in the way of keeping {} under that name; move it away, or give another \
             {SAVE_FILENAME}",
            old.display(),
            self.path.display()
        );
        Ok(())
    }

    fn check_curve(&self) -> Result<()> {
        let curve = self.curve.display();
        let Ok(found) = fs::metadata(&self.curve) else {
            return Ok(());
        };
        ensure!(
            found.is_file(),
            "cannot write the loss curve {curve}: it is a {}; move it away or give another {SAVE_FILENAME}",
            kind(&found)
        );
        ensure!(
            found.len() == 0 || Curve::is_ours(&self.curve),
            "cannot write the loss curve {curve}: the file there is no SVG picture and is not replaced; move it away or \
             give another {SAVE_FILENAME}"
        );
        Ok(())
    }

    fn check_checkpoint(&self) -> Result<()> {
        let found = fs::metadata(&self.checkpoint);
        let is_free = found.map_or(true, |found| found.is_file() && found.len() == 0);
        ensure!(
            is_free || checkpoint::is_checkpoint(&self.checkpoint),
            "cannot write the checkpoint {}: what is there is no checkpoint, or a damaged one, and is not replaced; \
             move it away or give another {SAVE_FILENAME}",
            self.checkpoint.display()
        );
        Ok(())
    }

    /// Whether a run left a checkpoint.
    pub fn has_checkpoint(&self) -> bool {
        fs::metadata(&self.checkpoint).is_ok_and(|found| found.len() > 0)
    }

    /// Where the checkpoint of an earlier run is kept.
    pub fn old_checkpoint(&self) -> PathBuf {
        old(&self.checkpoint)
    }

    /// Copies the state of an earlier run aside, if there is one, before it is replaced.
    pub fn keep_old_state(&self) -> Result<()> {
        if !self.replaces {
            return Ok(());
        }
        let copy = |old: &mut fs::File| io::copy(&mut fs::File::open(&self.path)?, old).map(drop);
        files::replace(&files::resolved(&self.old_state), copy).with_context(|| {
            format!(
                "cannot keep the earlier state as {}",
                self.old_state.display()
            )
        })
    }

    /// Moves the checkpoint of an earlier run aside, if there is one, and says so on `console`. A
    /// user who forgot `--resume` so loses nothing, and a later `--resume` does not find the
    /// checkpoint of another run.
    pub fn move_old_checkpoint(&self, console: &Console) -> Result<()> {
        if !self.has_checkpoint() {
            return Ok(());
        }
        let (path, old) = (self.checkpoint.display(), self.old_checkpoint());
        ensure!(
            !old.exists() || checkpoint::is_checkpoint(&old),
            "{} is no checkpoint, and in the way of moving {path} aside; move it away, or give {RESUME}",
            old.display()
        );
        fs::rename(&self.checkpoint, &old)
            .with_context(|| format!("cannot move the checkpoint {path} aside"))?;
        console.line(&format!(
            "note   {path} is of an earlier run and is now {path}.old; {RESUME} would have gone on from it"
        ));
        Ok(())
    }
}

/// Errors when one of the records would be written into another file of the run, or in the place of
/// something that this program did not write.
pub fn check_records(options: &Options, outputs: &Outputs) -> Result<()> {
    let mut others = vec![
        (
            format!("is also {MODEL_LOCATION}"),
            files::resolved(&options.model),
        ),
        (
            format!("is also {DATA_PATH}"),
            files::resolved(&options.data),
        ),
        (format!("is also {SAVE_FILENAME}"), outputs.path.clone()),
        (
            format!("is where {SAVE_FILENAME} puts its loss curve"),
            files::resolved(&outputs.curve),
        ),
        (
            format!("is where {SAVE_FILENAME} puts its checkpoint"),
            files::resolved(&outputs.checkpoint),
        ),
        (
            "is where an earlier checkpoint is kept".to_string(),
            files::resolved(&outputs.old_checkpoint()),
        ),
        (
            "is where an earlier state is kept".to_string(),
            files::resolved(&outputs.old_state),
        ),
    ];
    if let Some(Init::File(path)) = &options.init {
        ensure!(
            !outputs.replaces || files::resolved(path) != files::resolved(&outputs.old_state),
            "{INIT} {} is where the state in {} will be kept when it is replaced; give it another name",
            path.display(),
            options.save.display()
        );
        others.push((format!("is also {INIT}"), files::resolved(path)));
    }
    if let HeldOut::File(path) = &options.evaluation.examples {
        others.push((format!("is also {EVAL_PATH}"), files::resolved(path)));
    }
    if let Some(log) = &options.log_file {
        check_distinct(LOG_FILE, log, &others)?;
        others.push((format!("is also {LOG_FILE}"), files::resolved(log)));
    }
    let Some(report) = &options.report else {
        return Ok(());
    };
    check_distinct(REPORT, report, &others)?;
    if let Ok(found) = fs::metadata(report) {
        let advice = "it is not replaced; move it away or give another name";
        let what = || format!("cannot write {REPORT} {}", report.display());
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
    files::sweep(&files::resolved(report));
    Ok(())
}

/// Opens the records that are asked for, for a run of which `done` steps are done. What goes wrong
/// with them later is said on `console`.
pub fn open_records(options: &Options, done: usize, console: Console) -> Result<Records> {
    let mut all: Vec<Box<dyn Record>> = Vec::new();
    if let Some(path) = &options.report {
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

fn check_distinct(setting: Setting, path: &Path, others: &[(String, PathBuf)]) -> Result<()> {
    let resolved = files::resolved(path);
    match others.iter().find(|(_, other)| *other == resolved) {
        Some((whose, _)) => bail!(
            "{setting} {} {whose}; give it a name of its own",
            path.display()
        ),
        None => Ok(()),
    }
}

/// Where an earlier file of this name is kept.
fn old(path: &Path) -> PathBuf {
    let mut old = path.as_os_str().to_os_string();
    old.push(".old");
    old.into()
}

fn kind(found: &fs::Metadata) -> &'static str {
    if found.is_dir() {
        "directory"
    } else {
        "special file"
    }
}
