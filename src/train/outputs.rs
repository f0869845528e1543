//! Whether a run's files can be written, found out before the run.

use std::cell::{Cell, RefCell};
use std::path::{Path, PathBuf};
use std::{fs, io};

use anyhow::{Context, Result, bail, ensure};

use super::{Init, Options, checkpoint};
use crate::console::Console;
use crate::files::{self, Found, Lock, Taken, Target};
use crate::model::Rwkv;
use crate::report::Curve;
use crate::setting::{INIT, RESUME, SAVE_FILENAME};
use crate::state_file::{self, Error, Format, OtherModel};

/// Where a run's own files go.
pub struct Outputs {
    /// `--save_filename`.
    pub state: Target,
    /// The loss curve: `state.loss.svg` beside `state.pth`, as the user named it.
    pub curve: Target,
    /// The checkpoint, beside the state.
    pub checkpoint: Target,
    /// Where a state that is there already is kept, beside the new one.
    pub old_state: Target,
    /// Whether the state that is there is an earlier run's, and not kept yet.
    has_old_state: Cell<bool>,
    /// What was in the state's place before the run.
    found: RefCell<Option<Found>>,
}

impl Outputs {
    /// The files of a run that saves to `save`.
    pub fn of(save: &Path) -> Self {
        Self {
            state: Target::new(save),
            curve: Target::new(&save.with_extension("loss.svg")),
            checkpoint: Target::new(&checkpoint::path_beside(save)),
            old_state: Target::new(&old(save)),
            has_old_state: Cell::new(false),
            found: RefCell::default(),
        }
    }

    /// Errors when one of the files could not be written, as far as that shows without a model and
    /// without writing.
    pub fn check_places(&self) -> Result<()> {
        let save = self.state.named();
        let ends_in_a_slash = save.as_os_str().as_encoded_bytes().ends_with(b"/");
        let what = || format!("cannot write {SAVE_FILENAME} {}", save.display());
        ensure!(
            save.file_name().is_some() && !ends_in_a_slash,
            "{}: it names no file",
            what()
        );
        if let Ok(found) = fs::metadata(save) {
            ensure!(found.is_file(), "{}: it is a {}", what(), kind(&found));
        }
        files::check_writable(save).with_context(what)?;
        self.check_curve()?;
        self.check_checkpoint()
    }

    /// Errors when a file would take the place of something else: of a model, of notes, of the
    /// state of a larger model, or of the state that the run starts from. Returns whether a state
    /// is there already.
    pub fn check(&self, model: &Rwkv, options: &Options) -> Result<bool> {
        let save = self.state.named();
        let what = || format!("cannot write {SAVE_FILENAME} {}", save.display());
        let replaces = fs::metadata(save).is_ok_and(|found| found.len() > 0);
        self.found.replace(Found::at(save));
        if replaces {
            let advice = "the file there is not replaced; move it away or give another name";
            match state_file::open_for(model, save, Some(Format::STATE), OtherModel::Refuse) {
                // Its own advice is for one that is read.
                Err(Error::OtherModel { .. } | Error::OtherGeneration { .. }) => {
                    bail!("{}: {advice}: it was tuned on another model", what())
                }
                found => found.with_context(|| format!("{}: {advice}", what()))?,
            };
            self.check_old_state()?;
            self.check_init(options)?;
            self.has_old_state.set(!self.resumes(options));
        }
        let [state, checkpoint] = checkpoint::least_bytes(model.config(), options.tune);
        files::check_room(save, state + checkpoint, checkpoint).with_context(what)?;
        Ok(replaces)
    }

    /// Takes the right to write these files for as long as the lock lives, and removes what runs
    /// that were killed left of writing them. Errors when another run has it: for the state, or for
    /// the curve, which states of several endings share.
    pub fn lock(&self) -> Result<Vec<Lock>> {
        let save = self.state.named();
        let mut locks = Vec::new();
        for (place, what) in [
            (save, String::new()),
            (
                self.curve.named(),
                format!(", or the loss curve {}", self.curve.named().display()),
            ),
        ] {
            let taken = Lock::take(place)
                .with_context(|| format!("cannot write {SAVE_FILENAME} {}", save.display()))?;
            match taken {
                Taken::Held(lock) => locks.push(lock),
                Taken::Unsupported => {}
                Taken::ByAnother(process) => bail!(
                    "{SAVE_FILENAME} {}{what} is being written by another run{}; wait for it to \
                     end, or give another name",
                    save.display(),
                    Taken::shown(process)
                ),
            }
        }
        let killed = locks.iter().find_map(|lock| lock.killed);
        for written in [&self.state, &self.curve, &self.checkpoint, &self.old_state] {
            files::sweep(written.named(), killed);
        }
        Ok(locks)
    }

    /// Errors when what lies where the state of an earlier run is kept is none.
    fn check_old_state(&self) -> Result<()> {
        let old = self.old_state.named();
        let is_free = fs::metadata(old).map_or(true, |found| found.is_file() && found.len() == 0);
        ensure!(
            is_free || state_file::open(old, None).is_ok(),
            "{} is no state, and in the way of keeping {} under that name; move it away, or give another \
             {SAVE_FILENAME}",
            old.display(),
            self.state.named().display()
        );
        files::check_writable(old)
            .with_context(|| format!("cannot keep the earlier state as {}", old.display()))
    }

    fn check_init(&self, options: &Options) -> Result<()> {
        if let Some(Init::File(path)) = &options.init {
            ensure!(
                !files::is_same(path, self.old_state.named()),
                "{INIT} {} is where the state in {} will be kept when it is replaced; give it \
                 another name",
                path.display(),
                self.state.named().display()
            );
        }
        Ok(())
    }

    fn check_curve(&self) -> Result<()> {
        let path = self.curve.named();
        let what = || format!("cannot write the loss curve {}", path.display());
        if let Ok(found) = fs::metadata(path) {
            ensure!(
                found.is_file(),
                "{}: it is a {}; move it away or give another {SAVE_FILENAME}",
                what(),
                kind(&found)
            );
            ensure!(
                found.len() == 0 || Curve::is_ours(path),
                "{}: the file there is no SVG picture and is not replaced; move it away or give \
                 another {SAVE_FILENAME}",
                what()
            );
        }
        files::check_writable(path).with_context(what)
    }

    fn check_checkpoint(&self) -> Result<()> {
        let path = self.checkpoint.named();
        let what = || format!("cannot write the checkpoint {}", path.display());
        let found = fs::metadata(path);
        let is_free = found.map_or(true, |found| found.is_file() && found.len() == 0);
        ensure!(
            is_free || checkpoint::is_checkpoint(path),
            "{}: what is there is no checkpoint, or a damaged one, and is not replaced; move it \
             away or give another {SAVE_FILENAME}",
            what()
        );
        files::check_writable(path).with_context(what)
    }

    /// Whether a run goes on from a checkpoint: it has the state that it starts from, and what is
    /// there already is its own.
    pub fn resumes(&self, options: &Options) -> bool {
        options.resume && self.has_checkpoint()
    }

    /// Whether a run left a checkpoint.
    pub fn has_checkpoint(&self) -> bool {
        fs::metadata(self.checkpoint.named()).is_ok_and(|found| found.len() > 0)
    }

    /// Where the checkpoint of an earlier run is kept: beside it, where it is linked.
    pub fn old_checkpoint(&self) -> PathBuf {
        old(&files::followed(self.checkpoint.named()))
    }

    /// Makes the directory of these files again if it is gone, and names it then. If that fails,
    /// writing says why.
    pub fn make_directory(&self) -> Option<PathBuf> {
        let path = self.state.path();
        let directory = files::directory_of(&path);
        let is_made = !directory.exists() && fs::create_dir_all(directory).is_ok();
        is_made.then(|| directory.to_path_buf())
    }

    /// Copies the state of an earlier run aside, with its permissions, unless that is done: before
    /// anything is written by which the run, or one that goes on with it, would replace it.
    pub fn keep_old_state(&self) -> Result<()> {
        if !self.has_old_state.get() {
            return Ok(());
        }
        let (path, old) = (self.state.path(), self.old_state.path());
        let copy = |old: &mut fs::File| {
            let mut state = fs::File::open(&path)?;
            old.set_permissions(state.metadata()?.permissions())?;
            io::copy(&mut state, old).map(drop)
        };
        files::replace(&old, copy)
            .with_context(|| format!("cannot keep the earlier state as {}", old.display()))?;
        self.has_old_state.set(false);
        Ok(())
    }

    /// Errors when the state must not be written in its place: what lies there came during the run,
    /// or is an earlier run's state that cannot be kept.
    pub fn make_way(&self) -> Result<()> {
        let path = self.state.path();
        let found = Found::at(&path);
        ensure!(
            found.is_none() || found == *self.found.borrow(),
            "{} is not what it was when the run began",
            path.display()
        );
        self.keep_old_state()
    }

    /// Where the state goes that must not, or cannot, be written in its place: beside it, or to the
    /// directory for temporary files; by names that nothing has.
    pub fn other_places(&self) -> [PathBuf; 2] {
        let beside = self.state.path();
        let name = beside.file_name().unwrap_or_default();
        [free(&beside), free(&std::env::temp_dir().join(name))]
    }

    /// Moves the checkpoint of an earlier run aside, if there is one, and says so on `console`. A
    /// user who forgot `--resume` so loses nothing, and a later `--resume` does not find the
    /// checkpoint of another run.
    pub fn move_old_checkpoint(&self, console: &Console) -> Result<()> {
        if !self.has_checkpoint() {
            return Ok(());
        }
        let (path, old) = (self.checkpoint.named().display(), self.old_checkpoint());
        ensure!(
            !old.exists() || checkpoint::is_checkpoint(&old),
            "{} is no checkpoint, and in the way of moving {path} aside; move it away, or give {RESUME}",
            old.display()
        );
        let instead = match old.exists() {
            true => ", in place of the one there",
            false => "",
        };
        // A link stays, and leads to the new one.
        fs::rename(files::followed(self.checkpoint.named()), &old)
            .with_context(|| format!("cannot move the checkpoint {path} aside"))?;
        console.line(&format!(
            "note   {path} is of an earlier run and is now {}{instead}; {RESUME} would have gone on from it",
            old.display()
        ));
        Ok(())
    }
}

/// A name that nothing has, made of this one.
fn free(path: &Path) -> PathBuf {
    let named = |number: usize| {
        let mut path = path.as_os_str().to_os_string();
        path.push(match number {
            1 => ".new".to_string(),
            _ => format!(".new{number}"),
        });
        PathBuf::from(path)
    };
    let mut paths = (1..).map(named);
    let free = paths.find(|path| fs::symlink_metadata(path).is_err());
    free.unwrap_or_else(|| named(1))
}

/// Where an earlier file of this name is kept.
fn old(path: &Path) -> PathBuf {
    let mut old = path.as_os_str().to_os_string();
    old.push(".old");
    old.into()
}

/// What lies where a file should, in words.
pub fn kind(found: &fs::Metadata) -> &'static str {
    if found.is_dir() {
        "directory"
    } else {
        "special file"
    }
}
