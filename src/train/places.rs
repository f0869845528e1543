//! Where a run's files go, found out before the run; and that none that it writes is another that it
//! writes or reads.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use super::outputs::Outputs;
use super::{HeldOut, Init, Options, records};
use crate::files::{is_same, resolved};
use crate::setting::{
    DATA_PATH, EVAL_PATH, INIT, LOG_FILE, MODEL_LOCATION, REPORT, SAVE_FILENAME, Setting,
    TENSORBOARD,
};
use crate::tensors;

/// A place that is taken, and by what, as it follows the name of another.
#[derive(Clone)]
struct Taken {
    by: String,
    place: PathBuf,
}

impl Taken {
    fn new(by: String, place: &Path) -> Self {
        let place = place.to_path_buf();
        Self { by, place }
    }
}

/// Where the run's files go. Errors when they could not be written, as far as that can be told
/// before the model is there, which may take a long download. Writes nothing.
pub fn outputs(options: &Options) -> Result<Outputs> {
    let outputs = Outputs::of(&options.save);
    if let Some(init) = &options.init
        && !outputs.resumes(options)
    {
        init.check()?;
    }
    check_distinct(options, &outputs)?;
    outputs.check_places()?;
    records::check(options)?;
    Ok(outputs)
}

/// Errors when two of the run's files, or one of them and the directory of TensorBoard's, are at one
/// place.
pub fn check_distinct(options: &Options, outputs: &Outputs) -> Result<()> {
    let Options {
        model,
        data,
        init,
        evaluation,
        save,
        log_file,
        report,
        tensorboard,
        ..
    } = options;
    let mut taken = vec![
        Taken::new(format!("is also {MODEL_LOCATION}"), model),
        Taken::new(format!("is also {DATA_PATH}"), data),
    ];
    // What is wrong with a model is told when it is opened.
    for file in tensors::files_of(model).unwrap_or_default() {
        if !is_same(&file, model) {
            taken.push(Taken::new(format!("is a file of {MODEL_LOCATION}"), &file));
        }
    }
    if let HeldOut::File(path) = &evaluation.examples {
        taken.push(Taken::new(format!("is also {EVAL_PATH}"), path));
    }
    let old_checkpoint = outputs.old_checkpoint();
    let own = [
        ("puts its loss curve", outputs.curve.named()),
        ("puts its checkpoint", outputs.checkpoint.named()),
        ("keeps an earlier checkpoint", &old_checkpoint),
        ("keeps an earlier state", outputs.old_state.named()),
    ];
    let find = |taken: &[Taken], path: &Path| {
        let mut taken = taken.iter();
        taken.find(|taken| is_same(&taken.place, path)).cloned()
    };
    refuse(SAVE_FILENAME, save, find(&taken, save))?;
    for (what, place) in own {
        if let Some(Taken { by, .. }) = find(&taken, place) {
            bail!(
                "{}, where {SAVE_FILENAME} {} {what}, {by}; give another {SAVE_FILENAME}",
                place.display(),
                save.display()
            );
        }
    }
    // The state may take the place of the one that the run starts from, which is then kept.
    if let Some(Init::File(path)) = init {
        taken.push(Taken::new(format!("is also {INIT}"), path));
    }
    taken.push(Taken::new(format!("is also {SAVE_FILENAME}"), save));
    for (what, place) in own {
        taken.push(Taken::new(
            format!("is where {SAVE_FILENAME} {what}"),
            place,
        ));
    }
    for (setting, path) in [(LOG_FILE, log_file), (REPORT, report)] {
        if let Some(path) = path {
            refuse(setting, path, find(&taken, path))?;
            taken.push(Taken::new(format!("is also {setting}"), path));
        }
    }
    if let Some(directory) = tensorboard {
        // A file can neither be a directory nor hold one.
        let inside = resolved(directory);
        let in_the_way = |taken: &&Taken| inside.starts_with(resolved(&taken.place));
        let mut files = taken.iter().filter(|taken| !taken.place.is_dir());
        refuse(TENSORBOARD, directory, files.find(in_the_way).cloned())?;
    }
    Ok(())
}

fn refuse(setting: Setting, path: &Path, taken: Option<Taken>) -> Result<()> {
    match taken {
        Some(Taken { by, .. }) => bail!(
            "{setting} {} {by}; give it a name of its own",
            path.display()
        ),
        None => Ok(()),
    }
}
