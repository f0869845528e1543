//! `web-rwkv`: the format of web-rwkv and Ai00, a safetensors file that ends in `.st`.
//!
//! ```text
//! blocks.{i}.att.time_state (H,K,K), f16
//! ```

use super::candidate::{Candidate, has_layer, in_layer, is_model};
use super::error::Error;
use super::format::{Format, Layout, Likeness, Orientation};
use super::raw;
use super::time_state::{self, MATRIX};
use crate::model::{Group, State};
use crate::tensors::{Content, Dtype, Element};

impl Format {
    /// Safetensors of each layer's `time_state`.
    pub const WEB_RWKV: Self = Self(&Layout {
        name: "web-rwkv",
        keeps: &[Group::Wkv],
        orientation: Orientation::KeyValue,
        is_safetensors: true,
        recognise,
        read: time_state::read,
        write,
    });
}

/// web-rwkv writes and reads f16 alone.
fn recognise(candidate: &Candidate) -> Likeness {
    match candidate {
        Candidate::Safetensors(tensors) if is_model(tensors) => Likeness::No,
        Candidate::Safetensors(tensors) if has_layer(tensors, MATRIX) => {
            match tensors.get(&in_layer(0, MATRIX)) {
                Some(matrix) if matrix.dtype == Dtype::F16 => Likeness::Certain,
                _ => Likeness::Possible,
            }
        }
        _ => Likeness::No,
    }
}

fn write(state: &State, _: Element) -> Result<Content, Error> {
    let matrices = raw::matrices(state, Element::F16)?.into_iter();
    let tensors = matrices
        .enumerate()
        .map(|(i, matrix)| (in_layer(i, MATRIX), matrix));
    Ok(Content::Safetensors(tensors.collect()))
}
