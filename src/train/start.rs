//! What a run starts from: numbers of one kind, the state that is merged into the model, or a state
//! from a file.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use candle_core::{Device, Tensor};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::{Init, Options, Tune};
use crate::console::Console;
use crate::data::typed::AROUND_DATA;
use crate::model::{Config, Group, Rwkv, State};
use crate::setting::{FOLD, INIT, TUNE};
use crate::state_file::{self, StateFile};

/// `random` draws uniformly between minus and plus this.
const SMALL: f32 = 0.02;

impl Init {
    /// What a run on this model starts from that is told nothing else.
    pub fn of(model: &Rwkv) -> Self {
        match model.has_state() {
            true => Self::Model,
            false => Self::Ones,
        }
    }

    /// Errors when it is a file that is not there.
    pub fn check(&self) -> Result<()> {
        match self {
            Self::File(path) => ensure!(
                path.exists(),
                "{INIT} {} does not exist; name the file of a state, or use one of {}",
                path.display(),
                Self::NAMES.map(|(word, _)| word).join(", ")
            ),
            Self::Zeros | Self::Ones | Self::Random | Self::Model => {}
        }
        Ok(())
    }

    /// Numbers of one kind for every group that a run needs, in main memory; of [`Self::Model`] and
    /// [`Self::File`], what stands in for parts that their state lacks. There is a soft prompt only
    /// if it is learnt; other groups that are not learnt keep what this gives them.
    pub fn state(&self, config: &Config, tune: Tune, seed: u64) -> Result<State> {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut start = |shape: &[usize], ones: f32| {
            let count = shape.iter().product();
            let values: Vec<f32> = match self {
                Self::Zeros | Self::Model | Self::File(_) => vec![0.0; count],
                Self::Ones => vec![ones; count],
                Self::Random => (0..count)
                    .map(|_| rng.random_range(-SMALL..SMALL))
                    .collect(),
            };
            Tensor::from_vec(values, shape, &Device::Cpu)
        };
        let shapes = State::shapes(config);
        let soft_prompt = tune.soft_prompt.then(|| start(&shapes.soft_prompt, 0.0));
        Ok(State {
            soft_prompt: soft_prompt.transpose()?,
            shifts: start(&shapes.shift, 1.0)?,
            wkv: start(&shapes.wkv, 1.0)?,
        })
    }
}

/// The state that a run starts from, in main memory. Says on `console` what it is, if it is read
/// from a file, and what of that has no use. Errors when it does not suit the model.
pub fn state(options: &Options, model: &Rwkv, console: &Console) -> Result<State> {
    let init = options.init.clone().unwrap_or_else(|| Init::of(model));
    let filled = init.state(model.config(), options.tune, options.seed)?;
    let State { soft_prompt, .. } = filled;
    match &init {
        Init::Zeros | Init::Ones | Init::Random => {
            if model.has_state() {
                console.line(&format!(
                    "note   the model has a state of its own (time_state), whose place {INIT} {init} takes"
                ));
            }
            Ok(State {
                soft_prompt,
                ..filled
            })
        }
        Init::Model => {
            ensure!(
                model.has_state(),
                "{INIT} {init}: the model has no state of its own (time_state); use another {INIT}"
            );
            let zeros = match (options.tune.shift, options.tune.soft_prompt) {
                (_, true) => "; token shifts and soft prompt start as zeros",
                (true, false) => "; token shifts start as zeros",
                (false, false) => "",
            };
            console.line(&format!("init   the model's own state (time_state){zeros}"));
            Ok(State {
                soft_prompt,
                ..model.start()?
            })
        }
        Init::File(path) => {
            let found = state_file::open_for(model, path, None, options.other_model)
                .with_context(|| format!("cannot start from {INIT} {}", path.display()))?;
            tell(&found, path, options.tune, console);
            if let Some(texts) = found.texts() {
                // What the run has counts, typed or not: only what differs is told.
                let told = texts.put_into(&mut options.formats.clone(), &AROUND_DATA, &AROUND_DATA);
                for line in told? {
                    console.line(&format!("note   {line}"));
                }
            }
            let StateFile { state, .. } = found;
            Ok(State {
                soft_prompt: match options.tune.soft_prompt {
                    true => state.soft_prompt.or(soft_prompt),
                    false => None,
                },
                ..state
            })
        }
    }
}

/// What stands in, before a run goes on from its checkpoint, for the state that it started from: what
/// came from a file lies in the checkpoint, and the file may be gone.
pub fn of_checkpoint(options: &Options, model: &Rwkv) -> Result<State> {
    match &options.init {
        Some(init @ Init::File(_)) => init.state(model.config(), options.tune, options.seed),
        _ => state(options, model, &Console::silent()),
    }
}

/// Says what a run starts from, what of it starts as zeros, and what is not used.
fn tell(found: &StateFile, path: &Path, tune: Tune, console: &Console) {
    let (shown, format) = (path.display(), found.format);
    let has_soft_prompt = found.state.soft_prompt.is_some();
    let mut lacks = Vec::new();
    if tune.soft_prompt && !has_soft_prompt {
        lacks.push("soft prompt");
    }
    if !format.keeps(Group::Shift) {
        lacks.push("token shifts");
    }
    let lacks = match lacks.is_empty() {
        true => String::new(),
        false => format!("; it has no {}: zeros instead", lacks.join(" and no ")),
    };
    console.line(&format!("init   {shown} ({format}){lacks}"));
    if let Some(unused) = found.unused() {
        console.line(&format!("note   {unused}"));
    }
    if has_soft_prompt && !tune.soft_prompt {
        console.line(&format!(
            "note   the soft prompt in {shown} is not used: {TUNE} {tune} has none; \
             `state-tune convert` with {FOLD} keeps what it does"
        ));
    }
}
