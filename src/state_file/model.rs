//! `model`: a copy of a model with each layer's `time_state` among its tensors, from which the
//! `rwkv` package starts by itself, unless the model is of RWKV-7.

use std::path::Path;

use super::candidate::{Candidate, has_layer, is_model, take_layers};
use super::error::Error;
use super::format::{Format, Layout, Likeness, Orientation};
use super::raw::RawState;
use super::tag::{self, Origin, Tag};
use super::time_state::{self, MATRIX};
use crate::model::{Group, State};
use crate::tensors::pth::Value;
use crate::tensors::{self, Content, Named, TensorFile};

impl Format {
    /// A model that has a state. It is written by [`write_into_model`].
    pub const MODEL: Self = Self(&Layout {
        name: "model",
        keeps: &[Group::Wkv],
        orientation: Orientation::ValueKey,
        is_safetensors: false,
        recognise,
        read,
        write: |_, _| Err(Error::NoModel),
    });
}

fn recognise(candidate: &Candidate) -> Likeness {
    match candidate {
        Candidate::Dictionary(tensors) | Candidate::Safetensors(tensors)
            if is_model(tensors) && has_layer(tensors, MATRIX) =>
        {
            Likeness::Certain
        }
        _ => Likeness::No,
    }
}

fn read(candidate: Candidate) -> Result<RawState, Error> {
    let (Candidate::Dictionary(mut tensors) | Candidate::Safetensors(mut tensors)) = candidate
    else {
        return Err(candidate.unknown());
    };
    RawState::of_layers("time_state", take_layers(&mut tensors, MATRIX)?)
}

/// Writes a model's tensors as a `.pth`, with the state's matrices among them in the place of any
/// that are there.
pub fn write_into_model(
    path: &Path,
    state: &State,
    model: &Path,
    origin: Origin,
) -> Result<(), Error> {
    let content = content(state, model)?;
    let tag = Tag::new(Format::MODEL, origin).text();
    Ok(tensors::write(path, &content, (tag::NAME, &tag))?)
}

/// What [`write_into_model`] writes beside the tag.
pub(super) fn content(state: &State, model: &Path) -> Result<Content, Error> {
    // No reader of such a file expects other names.
    let Named { tensors, .. } = TensorFile::open(model)?.content.named()?;
    let suffix = format!(".{MATRIX}");
    let others = tensors
        .into_iter()
        .filter(|(name, _)| !name.ends_with(&suffix));
    let mut pairs: Vec<(Value, Value)> = others
        .map(|(name, tensor)| (Value::Str(name), Value::Tensor(tensor)))
        .collect();
    pairs.extend(time_state::pairs(&Format::MODEL.turned(state, None)?)?);
    Ok(Content::Pth(Value::Dict(pairs)))
}
