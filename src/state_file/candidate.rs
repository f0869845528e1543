//! What a file holds that may be a state, as the formats look at it.

use std::collections::BTreeMap;

use super::error::Error;
use crate::setting::{MAX_EPOCHS, RESUME};
use crate::tensors::pth::Value;
use crate::tensors::{self, Content, Named, Stored, shown};

/// A file's content, sorted into the three kinds that formats have.
pub enum Candidate {
    /// A dictionary of tensors in a `.pth`.
    Dictionary(BTreeMap<String, Stored>),
    Safetensors(BTreeMap<String, Stored>),
    /// A list or a tuple in a `.pth`: PyTorch's users may have saved the one for the other.
    List(Vec<Value>),
}

impl Candidate {
    /// With the keys of what lies beside the tensors, unless they are a model's, which tells that
    /// itself. Errors for what no format begins with.
    pub fn of(content: Content) -> Result<(Self, Vec<String>), Error> {
        let is_safetensors = matches!(content, Content::Safetensors(_));
        match content {
            Content::Pth(Value::List(items) | Value::Tuple(items)) => {
                Ok((Self::List(items), Vec::new()))
            }
            Content::Pth(Value::Tensor(_)) => Err(Error::not_a_state("a single tensor")),
            Content::Pth(Value::Dict(_)) | Content::Safetensors(_) => {
                let Named {
                    tensors, beside, ..
                } = content.named().map_err(|error| match error {
                    tensors::Error::NotATensor { .. } => {
                        Error::not_a_state("a dictionary of other things than tensors")
                    }
                    other => other.into(),
                })?;
                let tensors: BTreeMap<_, _> = tensors.into_iter().collect();
                let beside = match is_model(&tensors) {
                    true => Vec::new(),
                    false => beside,
                };
                let candidate = match is_safetensors {
                    true => Self::Safetensors(tensors),
                    false => Self::Dictionary(tensors),
                };
                Ok((candidate, beside))
            }
            Content::Pth(_) => Err(Error::not_a_state("a single value")),
        }
    }

    /// The error for a file that no format recognises.
    pub fn unknown(&self) -> Error {
        let found = match self {
            Self::Safetensors(tensors) if is_checkpoint(tensors) => {
                return Error::not_a_state(&format!(
                    "the checkpoint of a run, from which {RESUME} goes on; give the state beside it; where \
                     there is none, the same command with {RESUME} and a low {MAX_EPOCHS} writes it"
                ));
            }
            Self::Dictionary(tensors) | Self::Safetensors(tensors) if is_model(tensors) => {
                "a model without a state"
            }
            Self::Dictionary(_) => "a dictionary of other tensors",
            Self::Safetensors(_) => "a dictionary that lacks some of its parts",
            Self::List(_) => "a list of other things",
        };
        Error::not_a_state(found)
    }
}

/// Whether a model's tensors are among these.
pub fn is_model(tensors: &BTreeMap<String, Stored>) -> bool {
    tensors.contains_key("emb.weight")
}

/// Whether any layer has a tensor `name`.
pub fn has_layer(tensors: &BTreeMap<String, Stored>, name: &str) -> bool {
    first_of_a_layer(tensors, name).is_some()
}

fn first_of_a_layer<'t>(tensors: &'t BTreeMap<String, Stored>, name: &str) -> Option<&'t String> {
    tensors.keys().find(|key| {
        key.strip_suffix(name)
            .is_some_and(|before| before.ends_with('.'))
    })
}

/// The name of a layer's tensor.
pub fn in_layer(i: usize, name: &str) -> String {
    format!("blocks.{i}.{name}")
}

/// The tensors `part` of all layers, taken out, in order. Errors when there is none, or when one
/// before the last is missing.
pub fn take_layers(
    tensors: &mut BTreeMap<String, Stored>,
    part: &str,
) -> Result<Vec<Stored>, Error> {
    let mut found = Vec::new();
    while let Some(tensor) = tensors.remove(&in_layer(found.len(), part)) {
        found.push(tensor);
    }
    match first_of_a_layer(tensors, part) {
        Some(name) => Err(Error::Layers {
            found: shown(name),
            missing: in_layer(found.len(), part),
        }),
        None if found.is_empty() => Err(Error::not_a_state(
            "a dictionary that lacks some of its parts",
        )),
        None => Ok(found),
    }
}

/// Whether these are of a checkpoint, as a run leaves it to be resumed.
fn is_checkpoint(tensors: &BTreeMap<String, Stored>) -> bool {
    let is_moment = |name: &String| name.ends_with(".first_moment");
    tensors.contains_key("run") && tensors.keys().any(is_moment)
}

/// Errors when anything is left that is no part of a state.
pub fn nothing_left(tensors: &BTreeMap<String, Stored>) -> Result<(), Error> {
    match tensors.keys().next() {
        Some(name) => Err(Error::More { name: shown(name) }),
        None => Ok(()),
    }
}
