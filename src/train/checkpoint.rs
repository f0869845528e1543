//! `state.pth.ckpt`: the state of a run, from which a later one goes on as if there had been no
//! interruption.
//!
//! One safetensors file: what is learnt and Adam's moments in full precision, the best state so
//! far, and under `run` the bytes of a JSON object with everything else ([`RunRecord`]). Random
//! state is a seed and how much was drawn with it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use candle_core::{Device, Tensor};

use super::learner::named;
use super::options::MOST_EXAMPLES;
use super::run_record::{self, Identity, PROGRAM, RunRecord};
use super::run_state::{Best, RunState};
use super::settings::{Change, RunSettings};
use super::{Init, Options, Tune};
use crate::files::{Bytes, Target};
use crate::model::{self, Config, Group, State};
use crate::setting::{INIT, RESUME, SEED, TUNE};
use crate::tensors::{Dtype, Element, Stored, TensorFile, safetensors, shown};

/// The key of the file's note, which tells a checkpoint from other safetensors files; its value
/// names the program that wrote it.
const TAG: &str = "state-tune-checkpoint";

/// A checkpoint that was read: what a run needs to go on from it.
#[derive(Debug)]
pub struct Checkpoint {
    record: RunRecord,
    tensors: BTreeMap<String, Tensor>,
}

/// Where the checkpoint of a run lies that writes `state`.
pub fn path_beside(state: &Path) -> PathBuf {
    let mut path = OsString::from(state);
    path.push(".ckpt");
    path.into()
}

/// Writes the checkpoints of a run, each in the place of the one before.
pub struct Checkpoints<'a> {
    target: &'a Target,
    identity: &'a Identity,
    options: &'a Options,
    last: Instant,
    /// The step of the last one.
    written: usize,
}

impl<'a> Checkpoints<'a> {
    pub fn new(target: &'a Target, identity: &'a Identity, options: &'a Options) -> Self {
        Self {
            target,
            identity,
            options,
            last: Instant::now(),
            written: 0,
        }
    }

    /// Writes one if the last one, or the last attempt, is long enough ago; `keep` first keeps the
    /// state of an earlier run, which one that goes on from here would take for its own.
    pub fn when_due(&mut self, run: &RunState, keep: impl FnOnce() -> Result<()>) -> Result<()> {
        let is_due = self.last.elapsed().as_secs_f64() >= self.options.save_every;
        if is_due && run.learner.steps() > self.written {
            self.last = Instant::now();
            keep().and_then(|()| self.write(run)).with_context(|| {
                let path = self.target.path();
                format!("cannot write the checkpoint {}", path.display())
            })?;
            self.written = run.learner.steps();
        }
        Ok(())
    }

    /// Writes where a run stands, atomically.
    pub fn write(&self, run: &RunState) -> Result<()> {
        write(&self.target.path(), run, self.identity, self.options)
    }
}

fn write(path: &Path, run: &RunState, identity: &Identity, options: &Options) -> Result<()> {
    let Options { init, .. } = options;
    let record = RunRecord {
        identity: identity.clone(),
        settings: RunSettings::of(options),
        steps: run.learner.steps(),
        drawn: run.drawn,
        seconds: run.seconds(),
        plan: run.plan,
        computed_by: run.computed_by.clone(),
        ranks: run.ranks,
        best: run.best.as_ref().map(|best| (best.step, best.loss)),
        history: run.history.clone(),
        is_of_first_version: false,
    };
    let record = serde_json::to_vec(&record)?;
    let record = Stored {
        dtype: Dtype::U8,
        shape: vec![record.len()],
        bytes: record.into(),
    };
    let mut tensors = BTreeMap::from([("run".to_string(), record)]);
    let best = run.best.iter().flat_map(|best| best.state.groups());
    let best = best.map(|(group, tensor)| (format!("best.{group}"), tensor.clone()));
    // Words say again what they said; a file may be another by then, as when the state replaces it.
    let start = matches!(init, Some(Init::File(_))).then_some(&run.start);
    let start = start.into_iter().flat_map(State::groups);
    let start = start.map(|(group, tensor)| (format!("start.{group}"), tensor.clone()));
    let aside = best.chain(start);
    for (name, tensor) in run.learner.tensors().into_iter().chain(aside) {
        let numbers: Vec<f32> = tensor.flatten_all()?.to_vec1()?;
        let stored = Stored::new(Element::F32, tensor.dims().to_vec(), &numbers);
        tensors.insert(name, stored);
    }
    Ok(safetensors::write_with_checksum(
        path,
        &tensors,
        (TAG, PROGRAM),
    )?)
}

/// Bytes of a state and of a checkpoint, without what surrounds their numbers.
pub fn least_bytes(config: &Config, tune: Tune) -> [u64; 2] {
    let shapes = State::shapes(config);
    let (mut state, mut moments) = (0, 0);
    for (group, shape) in shapes.iter() {
        let bytes = 4 * shape.iter().product::<usize>() as u64;
        if tune[group] {
            moments += 2 * bytes;
        }
        if tune[group] || group != Group::SoftPrompt {
            state += bytes;
        }
    }
    [state, state + moments]
}

/// Whether a file is a checkpoint of ours, by its tag.
pub fn is_checkpoint(path: &Path) -> bool {
    Bytes::map(path).is_ok_and(|bytes| safetensors::note(&bytes, TAG).is_some())
}

impl Checkpoint {
    /// Reads a checkpoint. Errors when the file is none, or not whole.
    pub fn read(path: &Path) -> Result<Self> {
        let read = || -> Result<Self> {
            let file = TensorFile::open_with_note(path, TAG)?;
            if let Some(program) = &file.note {
                run_record::check_version(&String::from_utf8_lossy(program))?;
            }
            let mut stored = file.content.into_tensors()?;
            let run = stored
                .remove("run")
                .context("it is no checkpoint of a run")?;
            let record = RunRecord::read(&run.bytes)?;
            ensure!(
                record.is_of_first_version || safetensors::has_checksum(&Bytes::map(path)?),
                "it has no checksum, so that damage would not show; use the file that the run \
                 wrote, or leave out {RESUME}"
            );
            let mut tensors = BTreeMap::new();
            for (name, stored) in stored {
                ensure!(
                    stored.dtype == Dtype::F32,
                    "{name} is of type {:?}, not f32",
                    stored.dtype
                );
                let numbers = Element::F32.decode(&stored.bytes);
                tensors.insert(name, Tensor::from_vec(numbers, stored.shape, &Device::Cpu)?);
            }
            Ok(Self { record, tensors })
        };
        read().with_context(|| format!("cannot use the checkpoint {}", path.display()))
    }

    /// Steps done.
    pub fn steps(&self) -> usize {
        self.record.steps
    }

    /// What computed it, in words; nothing where that was not written down.
    pub fn computed_by(&self) -> &str {
        &self.record.computed_by
    }

    /// How many ranks wrote it.
    pub fn ranks(&self) -> usize {
        self.record.ranks
    }

    /// Settings that are not as they were.
    pub fn changes(&self, now: &RunSettings) -> Vec<Change> {
        self.record.settings.changes(now)
    }

    /// Sets a run that has not begun to where this checkpoint was written. Errors when it is the
    /// checkpoint of another run.
    pub(super) fn restore(
        self,
        run: &mut RunState,
        identity: &Identity,
        settings: &RunSettings,
    ) -> Result<()> {
        let Self { record, tensors } = self;
        let (then, now) = (&record.identity, identity);
        ensure!(
            model::is_same_model(&then.model, &now.model),
            "the model is not the same (it says {}, here it is {}); give what that run had, or leave \
             out {RESUME}",
            then.model,
            now.model
        );
        for (what, then, now) in [
            (
                "the training examples are not the same",
                &then.examples,
                &now.examples,
            ),
            (
                "the held-out examples are not the same",
                &then.held_out,
                &now.held_out,
            ),
            (
                &format!("{TUNE}, {INIT} and {SEED} are not the same"),
                &record.settings.start(),
                &settings.start(),
            ),
        ] {
            ensure!(
                then == now,
                "{what} (it says {then}, here it is {now}); give what that run had, or leave out \
                 {RESUME}"
            );
        }
        ensure!(
            record.steps == record.history.steps.len(),
            "it tells of {} steps and holds {}",
            record.steps,
            record.history.steps.len()
        );
        ensure!(
            record.drawn <= record.steps.saturating_mul(MOST_EXAMPLES) && record.seconds >= 0.0,
            "it tells of {} examples drawn in {} steps of {} seconds",
            record.drawn,
            record.steps,
            record.seconds
        );
        run.learner.restore(&tensors, record.steps)?;
        let own = run.learner.tensors();
        let is_aside = |part: &str, name: &str| {
            let group = name.strip_prefix(part);
            group.is_some_and(|name| Group::ALL.iter().any(|group| group.name() == name))
        };
        let is_known = |name: &str| {
            own.iter().any(|(own, _)| own == name)
                || record.best.is_some() && is_aside("best.", name)
                || is_aside("start.", name)
        };
        if let Some(name) = tensors.keys().find(|name| !is_known(name)) {
            bail!(
                "it holds the tensor {}, which this version does not know",
                shown(name)
            );
        }
        if tensors.keys().any(|name| is_aside("start.", name)) {
            let start = &run.start;
            run.start =
                start.try_map(|group, like| named(&tensors, &format!("start.{group}"), like))?;
        }
        run.walker.skip(record.drawn);
        run.drawn = record.drawn;
        if let Some((step, loss)) = record.best {
            let like = run.learner.state();
            let state =
                like.try_map(|group, like| named(&tensors, &format!("best.{group}"), like))?;
            run.best = Some(Best { step, loss, state });
        }
        // Another device has other memory.
        let is_here = [run.computed_by.as_str(), ""].contains(&record.computed_by.as_str());
        if is_here && record.settings.has_same_plan(settings) {
            run.plan = record.plan;
        }
        run.before = record.seconds;
        run.begun = Instant::now();
        run.history = record.history;
        Ok(())
    }
}
