//! A run as one of several ranks: what a rank does with its options, and what all must have alike before
//! the first step.

use std::fs;

use anyhow::{Context, Result};
use tempfile::TempDir;

use super::checkpoint::path_beside;
use super::run_record::{Identity, PROGRAM};
use super::run_state::RunState;
use super::settings::RunSettings;
use super::{HeldOut, Options};
use crate::distributed::{Ranks, Role, Row, Stage};
use crate::setting::{
    CPU, DATA_PATH, DEVICE, EVAL_PATH, EVAL_SPLIT, INIT, LOG_FILE, MODEL_LOCATION, REPORT, RESUME,
    SAVE_FILENAME, Setting, TENSORBOARD, THREADS,
};

/// The settings that may differ from rank to rank: names of files, and what suits a machine.
const OF_A_RANK: [Setting; 12] = [
    MODEL_LOCATION,
    DATA_PATH,
    EVAL_PATH,
    // What it gives is compared.
    INIT,
    SAVE_FILENAME,
    LOG_FILE,
    REPORT,
    TENSORBOARD,
    DEVICE,
    Setting::new("dtype"),
    CPU,
    THREADS,
];

/// What this rank is to do, of what all were asked to do: the first one writes, and the others run as if
/// to a directory of their own, in which nothing is but the checkpoint that they go on from.
pub fn options_of(ranks: &Ranks, all: &Options) -> Result<(Options, Option<TempDir>)> {
    let mut options = all.clone();
    if ranks.count() == 1 {
        return Ok((options, None));
    }
    ranks.check_rows(DATA_PATH, &options.data)?;
    if let HeldOut::File(path) = &options.evaluation.examples {
        ranks.check_rows(EVAL_PATH, path)?;
    }
    options.device = options.device.of_rank(ranks.local_rank());
    let checkpoint = ranks.gather(Stage::Start, checkpoint(ranks, all))?;
    if ranks.role() == Role::First {
        return Ok((options, None));
    }
    let nowhere = tempfile::Builder::new()
        .prefix("state-tune-rank-")
        .tempdir();
    let nowhere = nowhere.context("cannot make a directory for what is not saved")?;
    options.save = nowhere.path().join("state.pth");
    if !checkpoint[0].is_empty() {
        let path = path_beside(&options.save);
        fs::write(&path, &checkpoint[0])
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    options.save_every = f64::INFINITY;
    options.log_file = None;
    options.report = None;
    options.tensorboard = None;
    Ok((options, Some(nowhere)))
}

/// The bytes of the checkpoint that the first rank goes on from; none where there is none.
fn checkpoint(ranks: &Ranks, options: &Options) -> Result<Vec<u8>> {
    let path = path_beside(&options.save);
    match ranks.role() {
        Role::First if options.resume && path.exists() => {
            fs::read(&path).with_context(|| format!("cannot {RESUME} from {}", path.display()))
        }
        _ => Ok(Vec::new()),
    }
}

/// Errors when the ranks have not all the same program, model, examples, settings and start; and has
/// them compute as much at once as the one with the least memory can. `all` is what was asked for.
pub fn begin(
    ranks: &Ranks,
    all: &Options,
    nowhere: Option<TempDir>,
    identity: &Identity,
    run: &mut RunState,
) -> Result<()> {
    if ranks.count() == 1 {
        return Ok(());
    }
    // Nothing is read there any more, and it may hold a large copy.
    drop(nowhere);
    let start = run.learner.checksum();
    let own = start.map(|start| {
        let Identity {
            model,
            examples,
            held_out,
        } = identity;
        let named = |what: &str, value: &str| (what.to_string(), value.to_string());
        let mut own = vec![
            named("program", PROGRAM),
            named(&format!("model ({MODEL_LOCATION})"), model),
            named(&format!("set of examples ({DATA_PATH})"), examples),
            named(
                &format!("set of held-out examples ({EVAL_PATH}, {EVAL_SPLIT})"),
                held_out,
            ),
        ];
        let of_all = RunSettings::of(all).shown().into_iter();
        let of_rank = OF_A_RANK.map(|setting| setting.to_string());
        own.extend(of_all.filter(|(setting, _)| !of_rank.contains(setting)));
        let what = format!("starting state ({INIT}, {RESUME})");
        own.push((what, format!("{start:08x}")));
        own
    });
    ranks.ensure_alike(Stage::Start, own)?;
    let mut row = Row::default();
    row[..2].copy_from_slice(&run.plan.told());
    let (rows, ()) = ranks.exchange(Stage::Start, Ok((row, ())))?;
    run.plan.restrict(rows.iter().map(|row| [row[0], row[1]]));
    // From here on it is the steps' time.
    ranks.waited();
    Ok(())
}
