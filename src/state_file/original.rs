//! `original`: what later versions of the original Python program wrote, a dictionary in a `.pth`.
//!
//! ```text
//! blocks.{i}.att.shift.state, blocks.{i}.ffn.shift.state (1,1,C), bf16
//! blocks.{i}.att.wkvstate (H,K,K), bf16
//! ```

use super::candidate::{Candidate, has_layer, in_layer, nothing_left, take_layers};
use super::error::Error;
use super::format::{Format, Layout, Likeness, Orientation};
use super::raw::{self, RawState};
use crate::model::{Group, State};
use crate::tensors::pth::Value;
use crate::tensors::{Content, Element};

const ATT_SHIFT: &str = "att.shift.state";
const FFN_SHIFT: &str = "ffn.shift.state";
const MATRIX: &str = "att.wkvstate";

impl Format {
    /// A dictionary of each layer's `wkvstate` and both its shifts.
    pub const ORIGINAL: Self = Self(&Layout {
        name: "original",
        keeps: &[Group::Shift, Group::Wkv],
        orientation: Orientation::KeyValue,
        is_safetensors: false,
        recognise,
        read,
        write,
    });
}

fn recognise(candidate: &Candidate) -> Likeness {
    match candidate {
        Candidate::Dictionary(tensors) if has_layer(tensors, MATRIX) => Likeness::Certain,
        _ => Likeness::No,
    }
}

fn read(candidate: Candidate) -> Result<RawState, Error> {
    let Candidate::Dictionary(mut tensors) = candidate else {
        return Err(candidate.unknown());
    };
    let wkv = take_layers(&mut tensors, MATRIX)?;
    let att = take_layers(&mut tensors, ATT_SHIFT)?;
    let ffn = take_layers(&mut tensors, FFN_SHIFT)?;
    nothing_left(&tensors)?;
    let parts = [
        (MATRIX, wkv.len()),
        (ATT_SHIFT, att.len()),
        (FFN_SHIFT, ffn.len()),
    ];
    let most = parts.iter().max_by_key(|(_, layers)| layers);
    let least = parts.iter().min_by_key(|(_, layers)| layers);
    if let (Some(&(most, layers)), Some(&(least, fewer))) = (most, least)
        && fewer < layers
    {
        return Err(Error::Layers {
            found: in_layer(fewer, most),
            missing: in_layer(fewer, least),
        });
    }
    let raw = RawState::of_layers("wkvstate", wkv)?;
    let shifts = att.into_iter().zip(ffn).flat_map(|(att, ffn)| [att, ffn]);
    let shape = vec![1, 1, raw.n_embd()];
    Ok(raw.with_shifts(shifts.collect(), shape))
}

fn write(state: &State, _: Element) -> Result<Content, Error> {
    let shape = [1, 1, state.shifts.dim(1)?];
    let shifts = raw::shifts(state, &shape, Element::Bf16)?;
    let layers = raw::matrices(state, Element::Bf16)?.into_iter().zip(shifts);
    let pairs = layers.enumerate().flat_map(|(i, (matrix, [att, ffn]))| {
        [(ATT_SHIFT, att), (MATRIX, matrix), (FFN_SHIFT, ffn)]
            .map(|(name, tensor)| (Value::Str(in_layer(i, name)), Value::Tensor(tensor)))
    });
    Ok(Content::Pth(Value::Dict(pairs.collect())))
}
