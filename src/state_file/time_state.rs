//! `time_state`: the format of RWKV-PEFT, RWKV-Runner and ChatRWKV, a dictionary in a `.pth`.
//!
//! ```text
//! blocks.{i}.att.time_state (H,K,K), bf16
//! ```
//!
//! The same may have been saved as safetensors. Such a file differs from web-rwkv's in nothing but
//! the orientation of its matrices, and perhaps their type.

use super::candidate::{Candidate, has_layer, in_layer, is_model, nothing_left, take_layers};
use super::error::Error;
use super::format::{Format, Layout, Likeness, Orientation};
use super::raw::{self, RawState};
use crate::model::{Group, State};
use crate::tensors::pth::Value;
use crate::tensors::{Content, Element};

/// The name of a layer's matrices, here, in web-rwkv's files and in models.
pub const MATRIX: &str = "att.time_state";

impl Format {
    /// A dictionary of each layer's `time_state`.
    pub const TIME_STATE: Self = Self(&Layout {
        name: "time_state",
        keeps: &[Group::Wkv],
        orientation: Orientation::ValueKey,
        is_safetensors: false,
        recognise,
        read,
        write,
    });
}

fn recognise(candidate: &Candidate) -> Likeness {
    match candidate {
        Candidate::Dictionary(tensors) | Candidate::Safetensors(tensors)
            if is_model(tensors) || !has_layer(tensors, MATRIX) =>
        {
            Likeness::No
        }
        Candidate::Dictionary(_) => Likeness::Certain,
        Candidate::Safetensors(_) => Likeness::Possible,
        Candidate::List(_) => Likeness::No,
    }
}

/// Matrices and nothing else.
pub fn read(candidate: Candidate) -> Result<RawState, Error> {
    let (Candidate::Dictionary(mut tensors) | Candidate::Safetensors(mut tensors)) = candidate
    else {
        return Err(candidate.unknown());
    };
    let wkv = take_layers(&mut tensors, MATRIX)?;
    nothing_left(&tensors)?;
    RawState::of_layers("time_state", wkv)
}

fn write(state: &State, _: Element) -> Result<Content, Error> {
    Ok(Content::Pth(Value::Dict(pairs(state)?)))
}

/// The matrices by name.
pub fn pairs(state: &State) -> Result<Vec<(Value, Value)>, Error> {
    let matrices = raw::matrices(state, Element::Bf16)?.into_iter();
    Ok(matrices
        .enumerate()
        .map(|(i, matrix)| (Value::Str(in_layer(i, MATRIX)), Value::Tensor(matrix)))
        .collect())
}
