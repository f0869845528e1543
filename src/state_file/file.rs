//! Reading a state, whatever its format, and checking that it fits the model that will use it.

use std::path::Path;

use candle_core::Tensor;

use super::candidate::Candidate;
use super::error::Error;
use super::format::{Format, Likeness, Order};
use super::table::FORMATS;
use super::tag::{self, Tag, Texts};
use crate::model::{Config, Generation, Rwkv, State, also_holds, is_same_model};
use crate::tensors::{self, Element, TensorFile};

/// A state as a file holds it. Shifts that a format does not have are zeros, which is what its
/// readers start from.
#[derive(Clone, Debug)]
pub struct StateFile {
    /// The format that it is of, as found or as the user named it.
    pub format: Format,
    /// Its numbers, with every matrix as \[key, value\], whichever way the file has them.
    pub state: State,
    /// How the file has them, as far as is known: a format that has them one way for RWKV-5 and the
    /// other for RWKV-7 is taken for RWKV-5's where nothing tells.
    pub order: Order,
    /// The type of its shifts, or of its matrices where there are none.
    pub element: Element,
    /// What the program that wrote it says about it; other programs write none.
    pub tag: Option<Tag>,
    /// The keys of what lies beside it, fit for a message; a model tells that of itself.
    pub beside: Vec<String>,
}

/// What happens to a state that was tuned on another model of the same shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OtherModel {
    /// It is an error.
    Refuse,
    /// It is used.
    Accept,
}

impl StateFile {
    /// The fingerprint of the model that the state was tuned on, if the file says it.
    pub fn model(&self) -> Option<&str> {
        self.tag.as_ref()?.model.as_deref()
    }

    /// The texts that the state was tuned with, if the file says them.
    pub fn texts(&self) -> Option<&Texts> {
        self.tag.as_ref()?.texts.as_ref()
    }

    /// What of the file is not used, in words, if there is any.
    pub fn unused(&self) -> Option<String> {
        also_holds("state", self.beside.clone())
    }

    /// Errors when the file says that it was tuned on another model.
    pub fn check_model(&self, fingerprint: &str) -> Result<(), Error> {
        let other = |tuned_on: &&str| !is_same_model(tuned_on, fingerprint);
        let Some(model) = self.model().filter(other) else {
            return Ok(());
        };
        let [found, expected] = [model, fingerprint].map(Generation::of_fingerprint);
        if found != expected {
            return Err(Error::OtherGeneration { found, expected });
        }
        Err(Error::OtherModel {
            found: model.to_string(),
            expected: fingerprint.to_string(),
        })
    }

    /// Errors when the state's shapes are not the model's.
    pub fn check_shapes(&self, config: &Config) -> Result<(), Error> {
        let (found, expected) = (self.state.wkv.dims()[0], config.n_layer);
        if found != expected {
            return Err(Error::Depth { found, expected });
        }
        let shapes = State::shapes(config);
        // First what every format has: shifts may be zeros in the place of what the file lacks.
        check("time_mix", &self.state.wkv, &shapes.wkv)?;
        check("time_shifts", &self.state.shifts, &shapes.shift)?;
        match &self.state.soft_prompt {
            Some(soft_prompt) => check("softprompt", soft_prompt, &shapes.soft_prompt),
            None => Ok(()),
        }
    }
}

fn check(part: &'static str, found: &Tensor, expected: &[usize]) -> Result<(), Error> {
    if found.dims() == expected {
        return Ok(());
    }
    Err(Error::Misfit {
        part,
        found: found.dims().to_vec(),
        expected: expected.to_vec(),
    })
}

/// Reads a state. `format` is what the user says it is; what the file shows clearly must not
/// contradict it.
pub fn open(path: &Path, format: Option<Format>) -> Result<StateFile, Error> {
    open_of(path, format, None)
}

/// As [`open`], for a state whose model is of this `generation`, unless its tag says another.
pub fn open_of(
    path: &Path,
    format: Option<Format>,
    generation: Option<Generation>,
) -> Result<StateFile, Error> {
    let file = with_note(path)?;
    let tag = file.note.map(|text| Tag::parse(&text)).transpose()?;
    let (candidate, beside) = Candidate::of(file.content)?;
    let possible: Vec<(Format, Likeness)> = FORMATS
        .map(|format| (format, (format.0.recognise)(&candidate)))
        .into_iter()
        .filter(|(_, likeness)| *likeness != Likeness::No)
        .collect();
    let Some(&(first, _)) = possible.first() else {
        return Err(candidate.unknown());
    };
    let tagged = tag.as_ref().and_then(|tag| Format::named(&tag.format));
    let clear = choose(&possible, [tagged, format]);
    let found = clear.unwrap_or(first);
    let raw = (found.0.read)(candidate)?;
    raw.check_size(file.size)?;
    if clear.is_none() {
        let dtype = raw.matrix().dtype;
        return Err(Error::Unclear { dtype });
    }
    let element = raw.element()?;
    let generation = match &tag {
        // Without a model, earlier versions wrote every state as RWKV-5's.
        Some(Tag { model, .. }) => Some(
            model
                .as_deref()
                .map_or(Generation::Five, Generation::of_fingerprint),
        ),
        None => generation,
    };
    let state = found.turned(&raw.state()?, generation)?;
    let order = found.order(generation);
    match format {
        Some(wanted) if wanted != found => Err(Error::OtherFormat {
            found: found.name(),
            wanted: wanted.name(),
        }),
        _ => Ok(StateFile {
            format: found,
            state,
            order,
            element,
            tag,
            beside,
        }),
    }
}

/// The format of a file, out of those that it may be of: the first that is `named`, or the first
/// that is certain.
fn choose(possible: &[(Format, Likeness)], named: [Option<Format>; 2]) -> Option<Format> {
    let formats = possible.iter().map(|&(format, _)| format);
    let mut named = named.into_iter().flatten();
    let certain = possible
        .iter()
        .find(|(_, likeness)| *likeness == Likeness::Certain);
    named
        .find(|wanted| formats.clone().any(|format| format == *wanted))
        .or(certain.map(|&(format, _)| format))
}

/// Reads a state that a model is to start from. `format` as in [`open`]. Errors when its shapes are
/// not the model's, whatever `other` allows; or when it was tuned on another model of these shapes,
/// which only its tag can tell, and `other` does not allow that.
pub fn open_for(
    model: &Rwkv,
    path: &Path,
    format: Option<Format>,
    other: OtherModel,
) -> Result<StateFile, Error> {
    let found = open_of(path, format, Some(model.config().version.generation()))?;
    // What does not fit cannot be forced.
    if let Err(misfit) = found.check_shapes(model.config()) {
        return Err(match found.check_model(model.fingerprint()) {
            Err(Error::OtherGeneration { found, expected }) => Error::OtherKind {
                found,
                expected,
                misfit: Box::new(misfit),
            },
            _ => misfit,
        });
    }
    if other == OtherModel::Refuse {
        found.check_model(model.fingerprint())?;
    }
    Ok(found)
}

/// What the program that wrote a state says about it, if it says something; nothing else of the file
/// is looked at.
pub fn tag_of(path: &Path) -> Result<Option<Tag>, Error> {
    let note = with_note(path)?.note;
    note.map(|text| Tag::parse(&text)).transpose()
}

fn with_note(path: &Path) -> Result<TensorFile, Error> {
    match TensorFile::open_with_note(path, tag::NAME) {
        Err(tensors::Error::Safetensors(error)) => {
            let error = anyhow::Error::from(error);
            Err(Error::not_a_state(&format!("{error:#}")))
        }
        file => Ok(file?),
    }
}

/// Reads a state of any format and holds it against the model's shapes.
pub fn read(path: &Path, config: &Config) -> Result<State, Error> {
    let found = open_of(path, None, Some(config.version.generation()))?;
    found.check_shapes(config)?;
    Ok(found.state)
}
