//! Writing a state, whatever its format.

use std::path::Path;

use candle_core::{DType, Device, Tensor};

use super::tag::{self, Tag};
use super::{Error, Format};
use crate::model::State;
use crate::tensors::pth::{self, Value};
use crate::tensors::{self, Content, Element, Stored, names};

/// Writes a state, atomically, with a tag that says what it is and which model it was tuned on. `element` is the type
/// of the soft prompt and the shifts in a [`Format::State`]; the other formats have types of their own. What a format
/// has no place for is left out ([`Format::loses`] tells). A model is written by [`write_into_model`].
pub fn write(
    path: &Path,
    state: &State,
    element: Element,
    format: Format,
    model: Option<&str>,
) -> Result<(), Error> {
    let tag = Tag::new(format, model).text();
    let content = match format {
        Format::WebRwkv => safetensors(state)?,
        format => Content::Pth(value(state, element, format)?),
    };
    Ok(tensors::write(path, &content, (tag::NAME, &tag))?)
}

/// Writes a copy of a model's `.pth` with the state's matrices among its tensors, in the place of any that are there.
pub fn write_into_model(
    path: &Path,
    state: &State,
    model: &Path,
    fingerprint: &str,
) -> Result<(), Error> {
    let Value::Dict(mut tensors) = pth::read(model).map_err(tensors::Error::from)? else {
        return Err(Error::NotAState {
            found: "a model that is no dictionary".to_string(),
        });
    };
    // No reader of such a file expects another name.
    for (name, _) in &mut tensors {
        if let Value::Str(name) = name {
            *name = names::plain(name);
        }
    }
    tensors
        .retain(|(name, _)| !matches!(name, Value::Str(name) if name.ends_with(".att.time_state")));
    if let Value::Dict(matrices) = value(state, Element::Bf16, Format::TimeState)? {
        tensors.extend(matrices);
    }
    let tag = Tag::new(Format::Model, Some(fingerprint)).text();
    let content = Content::Pth(Value::Dict(tensors));
    Ok(tensors::write(path, &content, (tag::NAME, &tag))?)
}

/// Errors as [`write`] would when a number is not finite, or not once it has the type of a [`Format::State`].
pub fn check(state: &State, element: Element) -> Result<(), Error> {
    value(state, element, Format::State).map(drop)
}

fn value(state: &State, element: Element, format: Format) -> Result<Value, Error> {
    let (two_l, c) = state.shifts.dims2()?;
    let (l, h, k, _) = state.wkv.dims4()?;
    let layer = |name: &str, i: usize| Value::Str(format!("blocks.{i}.{name}"));
    let transposed = state.wkv.transpose(2, 3)?;
    let matrix = |all: &Tensor, i: usize, element| {
        tensor("time_mix", &all.get(i)?, vec![h, k, k], element).map(Value::Tensor)
    };
    let shift = |row: usize, shape: &[usize], element| {
        let row = state.shifts.get(row)?;
        tensor("time_shifts", &row, shape.to_vec(), element).map(Value::Tensor)
    };
    Ok(match format {
        Format::State => {
            let (soft_prompt, rows) = match &state.soft_prompt {
                Some(soft_prompt) => (soft_prompt.clone(), 1),
                None => (Tensor::zeros(0, DType::F32, &Device::Cpu)?, 0),
            };
            let soft_prompt = tensor("softprompt", &soft_prompt, vec![1, rows, c], element)?;
            let shifts = tensor("time_shifts", &state.shifts, vec![two_l, 1, 1, c], element)?;
            let wkv = tensor("time_mix", &transposed, vec![l, 1, h, k, k], Element::F32)?;
            Value::List(vec![
                Value::Tensor(soft_prompt),
                Value::Tuple(vec![Value::Tensor(shifts), Value::Tensor(wkv)]),
            ])
        }
        Format::Original => {
            let mut pairs = Vec::new();
            for i in 0..l {
                let (att, ffn) = (layer("att.shift.state", i), layer("ffn.shift.state", i));
                pairs.push((att, shift(2 * i, &[1, 1, c], Element::Bf16)?));
                let wkv = matrix(&state.wkv, i, Element::Bf16)?;
                pairs.push((layer("att.wkvstate", i), wkv));
                pairs.push((ffn, shift(2 * i + 1, &[1, 1, c], Element::Bf16)?));
            }
            Value::Dict(pairs)
        }
        Format::TimeState | Format::Model | Format::WebRwkv => {
            let pair = |i| {
                let wkv = matrix(&transposed, i, Element::Bf16)?;
                Ok((layer("att.time_state", i), wkv))
            };
            Value::Dict((0..l).map(pair).collect::<Result<_, Error>>()?)
        }
        Format::RwkvLive => {
            let mut items = Vec::new();
            for i in 0..l {
                items.push(shift(2 * i, &[c], Element::F32)?);
                items.push(matrix(&state.wkv, i, Element::F32)?);
                items.push(shift(2 * i + 1, &[c], Element::F32)?);
            }
            Value::List(items)
        }
    })
}

fn safetensors(state: &State) -> Result<Content, Error> {
    let (l, h, k, _) = state.wkv.dims4()?;
    let pair = |i| {
        let matrix = tensor("time_mix", &state.wkv.get(i)?, vec![h, k, k], Element::F16)?;
        Ok((format!("blocks.{i}.att.time_state"), matrix))
    };
    let tensors = (0..l).map(pair).collect::<Result<_, Error>>()?;
    Ok(Content::Safetensors(tensors))
}

/// Errors when a number is not finite, or not once it has the type.
fn tensor(
    part: &'static str,
    tensor: &Tensor,
    shape: Vec<usize>,
    element: Element,
) -> Result<Stored, Error> {
    let numbers: Vec<f32> = tensor.flatten_all()?.to_vec1()?;
    let stored = Stored::new(element, shape, &numbers);
    let numbers = element.decode(&stored.bytes);
    if !numbers.iter().all(|x| x.is_finite()) {
        return Err(Error::NotFinite { part });
    }
    Ok(stored)
}
