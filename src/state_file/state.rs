//! `state`: what training writes as `state.pth`, in the format of the original Python program.
//!
//! ```text
//! [softprompt (1,1,C), (time_shifts (2L,1,1,C), time_mix (L,1,H,K,K))]
//! ```
//!
//! Soft prompt and shifts have the model's own type, time_mix is f32. A state without a soft prompt
//! holds an empty one, (1,0,C): joined to a text's embeddings it changes nothing, and no reader can
//! feed a vector of zeros by mistake.

use candle_core::{DType, Device, Tensor};

use super::candidate::Candidate;
use super::error::Error;
use super::format::{Format, Layout, Likeness, Orientation};
use super::raw::{RawState, stored};
use crate::model::{Group, State};
use crate::tensors::pth::Value;
use crate::tensors::{Content, Element, Stored};

impl Format {
    /// A list of soft prompt and (shifts, matrices), which keeps everything.
    pub const STATE: Self = Self(&Layout {
        name: "state",
        keeps: &[Group::SoftPrompt, Group::Shift, Group::Wkv],
        orientation: Orientation::ValueKey,
        is_safetensors: false,
        recognise,
        read,
        write,
    });
}

fn recognise(candidate: &Candidate) -> Likeness {
    match tensors(candidate) {
        Some(_) => Likeness::Certain,
        None => Likeness::No,
    }
}

fn read(candidate: Candidate) -> Result<RawState, Error> {
    let [soft_prompt, shifts, wkv] = tensors(&candidate).ok_or_else(|| candidate.unknown())?;
    let raw = RawState::of_stack("time_mix", wkv.clone())?;
    let shape = vec![2 * raw.n_layer(), 1, 1, raw.n_embd()];
    Ok(raw
        .with_shifts(vec![shifts.clone()], shape)
        .with_soft_prompt(soft_prompt.clone()))
}

/// Soft prompt, shifts and matrices.
fn tensors(candidate: &Candidate) -> Option<[&Stored; 3]> {
    let Candidate::List(items) = candidate else {
        return None;
    };
    let [
        Value::Tensor(soft_prompt),
        Value::List(rest) | Value::Tuple(rest),
    ] = items.as_slice()
    else {
        return None;
    };
    let [Value::Tensor(shifts), Value::Tensor(wkv)] = rest.as_slice() else {
        return None;
    };
    Some([soft_prompt, shifts, wkv])
}

fn write(state: &State, element: Element) -> Result<Content, Error> {
    let (rows, c) = state.shifts.dims2()?;
    let (l, h, k, _) = state.wkv.dims4()?;
    let soft_prompt = match &state.soft_prompt {
        Some(soft_prompt) => stored("softprompt", soft_prompt, &[1, 1, c], element)?,
        None => {
            let empty = Tensor::zeros(0, DType::F32, &Device::Cpu)?;
            stored("softprompt", &empty, &[1, 0, c], element)?
        }
    };
    let shifts = stored("time_shifts", &state.shifts, &[rows, 1, 1, c], element)?;
    let wkv = stored("time_mix", &state.wkv, &[l, 1, h, k, k], Element::F32)?;
    Ok(Content::Pth(Value::List(vec![
        Value::Tensor(soft_prompt),
        Value::Tuple(vec![Value::Tensor(shifts), Value::Tensor(wkv)]),
    ])))
}
