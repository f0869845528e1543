//! `rwkv-live`: the running state of the `rwkv` package, a list in a `.pth`.
//!
//! ```text
//! [att shift (C), matrices (H,K,K), ffn shift (C)] of each layer in turn, all f32
//! ```

use super::candidate::Candidate;
use super::error::Error;
use super::format::{Format, Layout, Likeness, Orientation};
use super::raw::{self, RawState};
use crate::model::{Group, State};
use crate::tensors::pth::Value;
use crate::tensors::{Content, Element};

impl Format {
    /// A list of att shift, matrices and ffn shift of each layer.
    pub const RWKV_LIVE: Self = Self(&Layout {
        name: "rwkv-live",
        keeps: &[Group::Shift, Group::Wkv],
        orientation: Orientation::OfGeneration,
        is_safetensors: false,
        recognise,
        read,
        write,
    });
}

fn recognise(candidate: &Candidate) -> Likeness {
    let is_tensor = |item: &Value| matches!(item, Value::Tensor(_));
    match candidate {
        Candidate::List(items) if items.iter().all(is_tensor) => Likeness::Certain,
        _ => Likeness::No,
    }
}

fn read(candidate: Candidate) -> Result<RawState, Error> {
    let (mut shifts, mut wkv) = (Vec::new(), Vec::new());
    if let Candidate::List(items) = &candidate {
        for layer in items.chunks(3) {
            let [
                Value::Tensor(att),
                Value::Tensor(matrix),
                Value::Tensor(ffn),
            ] = layer
            else {
                return Err(candidate.unknown());
            };
            shifts.extend([att.clone(), ffn.clone()]);
            wkv.push(matrix.clone());
        }
    }
    let raw = RawState::of_layers("time_state", wkv)?;
    let shape = vec![raw.n_embd()];
    Ok(raw.with_shifts(shifts, shape))
}

fn write(state: &State, _: Element) -> Result<Content, Error> {
    let shifts = raw::shifts(state, &[state.shifts.dim(1)?], Element::F32)?;
    let layers = raw::matrices(state, Element::F32)?.into_iter().zip(shifts);
    let items = layers.flat_map(|(matrix, [att, ffn])| [att, matrix, ffn].map(Value::Tensor));
    Ok(Content::Pth(Value::List(items.collect())))
}
