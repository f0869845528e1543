//! Where a run's files go, found out before the run; and that none that it writes is another that it
//! writes or reads.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use super::outputs::{self, Outputs};
use super::{HeldOut, Init, Options};
use crate::files::{is_same, resolved};
use crate::setting::{
    DATA_PATH, EVAL_PATH, INIT, LOG_FILE, MODEL_LOCATION, REPORT, SAVE_FILENAME, Setting,
    TENSORBOARD,
};

/// A place that is taken, and by what, as it follows the name of another.
struct Taken {
    by: String,
    place: PathBuf,
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
    outputs::check_records(options)?;
    Ok(outputs)
}

/// Errors when two of the run's files, or one of them and the directory of TensorBoard's, are at one
/// place.
fn check_distinct(options: &Options, outputs: &Outputs) -> Result<()> {
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
    let mut taken = Vec::new();
    let mut take = |by: String, place: &Path| {
        let place = place.to_path_buf();
        taken.push(Taken { by, place });
    };
    take(format!("is also {MODEL_LOCATION}"), model);
    take(format!("is also {DATA_PATH}"), data);
    if let Some(Init::File(path)) = init {
        take(format!("is also {INIT}"), path);
    }
    if let HeldOut::File(path) = &evaluation.examples {
        take(format!("is also {EVAL_PATH}"), path);
    }
    take(format!("is also {SAVE_FILENAME}"), save);
    let own = [
        ("puts its loss curve", outputs.curve.named()),
        ("puts its checkpoint", outputs.checkpoint.named()),
        ("keeps an earlier checkpoint", &outputs.old_checkpoint()),
        ("keeps an earlier state", outputs.old_state.named()),
    ];
    for (what, place) in own {
        take(format!("is where {SAVE_FILENAME} {what}"), place);
    }
    for (setting, path) in [(LOG_FILE, log_file), (REPORT, report)] {
        if let Some(path) = path {
            refuse(
                setting,
                path,
                taken.iter().find(|taken| is_same(&taken.place, path)),
            )?;
            taken.push(Taken {
                by: format!("is also {setting}"),
                place: path.clone(),
            });
        }
    }
    if let Some(directory) = tensorboard {
        // A file can neither be a directory nor hold one.
        let inside = resolved(directory);
        let in_the_way = |taken: &&Taken| inside.starts_with(resolved(&taken.place));
        let files = taken.iter().filter(|taken| !taken.place.is_dir());
        refuse(TENSORBOARD, directory, files.clone().find(in_the_way))?;
    }
    Ok(())
}

fn refuse(setting: Setting, path: &Path, taken: Option<&Taken>) -> Result<()> {
    match taken {
        Some(Taken { by, .. }) => bail!(
            "{setting} {} {by}; give it a name of its own",
            path.display()
        ),
        None => Ok(()),
    }
}
