//! Reading a state, whatever its format.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{Device, Tensor};

use super::tag::{self, Tag};
use super::{Error, Format};
use crate::model::{Config, State};
use crate::tensors::pth::Value;
use crate::tensors::{self, Content, Dtype, Element, Stored, TensorFile};

/// A state as a file holds it. Shifts that a format does not have are zeros, which is what its readers start from.
#[derive(Clone, Debug)]
pub struct Found {
    pub format: Format,
    pub state: State,
    /// The type of its shifts, or of its matrices where there are none.
    pub element: Element,
    pub tag: Option<Tag>,
}

impl Found {
    /// The state, if its shapes are the model's.
    pub fn fit(self, config: &Config) -> Result<State, Error> {
        let shapes = State::shapes(config);
        let fits = |part, found: &Tensor, expected: &[usize]| {
            if found.dims() == expected {
                return Ok(());
            }
            Err(Error::Misfit {
                part,
                found: found.dims().to_vec(),
                expected: expected.to_vec(),
            })
        };
        fits("time_shifts", &self.state.shifts, &shapes.shift)?;
        fits("time_mix", &self.state.wkv, &shapes.wkv)?;
        if let Some(soft_prompt) = &self.state.soft_prompt {
            fits("softprompt", soft_prompt, &shapes.soft_prompt)?;
        }
        Ok(self.state)
    }

    /// The fingerprint of the model that the state was tuned on, if the file says it.
    pub fn model(&self) -> Option<&str> {
        self.tag.as_ref()?.model.as_deref()
    }

    /// Errors when the file says that it was tuned on another model.
    pub fn check_model(&self, fingerprint: &str) -> Result<(), Error> {
        match self.model() {
            Some(model) if model != fingerprint => Err(Error::OtherModel {
                found: model.to_string(),
                expected: fingerprint.to_string(),
            }),
            _ => Ok(()),
        }
    }
}

/// Reads a state. `format` is what the user says it is; what the file shows clearly must not contradict it.
pub fn open(path: &Path, format: Option<Format>) -> Result<Found, Error> {
    let file = match TensorFile::open_with_note(path, tag::NAME) {
        Err(tensors::Error::Safetensors(error)) => {
            let error = anyhow::Error::from(error);
            return Err(not_a_state(&format!("{error:#}")));
        }
        file => file?,
    };
    // A note of another kind is nobody's tag.
    let tag = file.note.and_then(|text| Tag::parse(&text));
    let found = match file.content {
        Content::Safetensors(tensors) => safetensors(tensors, tag, format)?,
        Content::Pth(value) => pickled(value, tag, file.size)?,
    };
    match format {
        Some(wanted) if wanted != found.format => Err(Error::OtherFormat {
            found: found.format,
            wanted,
        }),
        _ => Ok(found),
    }
}

fn pickled(value: Value, tag: Option<Tag>, file: usize) -> Result<Found, Error> {
    let (format, parts) = match value {
        value @ Value::Dict(_) => {
            let tensors = Content::Pth(value).into_tensors();
            dictionary(
                tensors.map_err(|_| not_a_state("a dictionary of other things than tensors"))?,
            )?
        }
        Value::List(items) | Value::Tuple(items) => match ours(&items) {
            Some(parts) => (Format::State, parts),
            None => (Format::RwkvLive, live(&items)?),
        },
        Value::Tensor(_) => return Err(not_a_state("a single tensor")),
        _ => return Err(not_a_state("a single value")),
    };
    parts.check_size(file)?;
    parts.found(format, tag)
}

fn not_a_state(found: &str) -> Error {
    Error::NotAState {
        found: found.to_string(),
    }
}

/// The tensors of a state as they lie in the file.
struct Parts {
    soft_prompt: Option<Stored>,
    /// One for all layers, or two for each: any number of them that is a whole.
    shifts: Vec<Stored>,
    /// One for all layers, or one for each.
    wkv: Vec<Stored>,
}

impl Parts {
    /// Errors when many tensors share a few bytes of the file, or a little of it unpacks to a lot.
    fn check_size(&self, file: usize) -> Result<(), Error> {
        /// So much a file may unpack to beyond its own size.
        const ALLOWED: usize = 64 << 20;
        let tensors = self.soft_prompt.iter().chain(&self.shifts).chain(&self.wkv);
        let bytes: usize = tensors.map(|tensor| tensor.bytes.len()).sum();
        if bytes > file.saturating_add(ALLOWED) {
            return Err(Error::Swollen { bytes, file });
        }
        Ok(())
    }

    fn found(self, format: Format, tag: Option<Tag>) -> Result<Found, Error> {
        const SQUARE: &str = "(layers, 1, heads, size, size) or (heads, size, size)";
        let wkv = self.wkv.first().ok_or_else(|| not_a_state("no matrices"))?;
        let part = match format {
            Format::State => "time_mix",
            Format::Original => "wkvstate",
            _ => "time_state",
        };
        let shape = |found: &[usize]| Error::Shape {
            part,
            found: found.to_vec(),
            expected: SQUARE,
        };
        let (n_layer, n_head, size) = match (wkv.shape.as_slice(), self.wkv.len()) {
            (&[l, 1, h, k, v], 1) if k == v && format == Format::State => (l, h, k),
            (&[h, k, v], l) if k == v && format != Format::State => (l, h, k),
            (found, _) => return Err(shape(found)),
        };
        if n_layer == 0 || n_head == 0 || size == 0 {
            return Err(shape(&wkv.shape));
        }
        if let Some(other) = self.wkv.iter().find(|other| other.shape != wkv.shape) {
            return Err(shape(&other.shape));
        }
        let n_embd = n_head * size;
        let first = self.shifts.first().unwrap_or(wkv);
        let element = Element::of(first.dtype).ok_or(Error::Type {
            part,
            dtype: first.dtype,
        })?;

        let wkv = numbers(part, &self.wkv)?.reshape((n_layer, n_head, size, size))?;
        let wkv = match format {
            Format::State | Format::TimeState | Format::Model => {
                wkv.transpose(2, 3)?.contiguous()?
            }
            Format::Original | Format::WebRwkv | Format::RwkvLive => wkv,
        };
        let rows = (2 * n_layer, n_embd);
        let shifts = if self.shifts.is_empty() {
            Tensor::zeros(rows, candle_core::DType::F32, &Device::Cpu)?
        } else {
            let (count, expected) = match format {
                Format::State => (1, vec![rows.0, 1, 1, n_embd]),
                Format::RwkvLive => (rows.0, vec![n_embd]),
                _ => (rows.0, vec![1, 1, n_embd]),
            };
            let odd = |shift: &&Stored| shift.shape != expected;
            if let Some(found) = self.shifts.iter().find(odd).or_else(|| {
                let is_whole = self.shifts.len() == count;
                (!is_whole).then_some(first)
            }) {
                return Err(Error::Misfit {
                    part: "time_shifts",
                    found: found.shape.clone(),
                    expected,
                });
            }
            numbers("time_shifts", &self.shifts)?.reshape(rows)?
        };
        let soft_prompt = match &self.soft_prompt {
            Some(tensor) if tensor.shape != [1, 0, n_embd] => {
                if tensor.shape != [1, 1, n_embd] {
                    return Err(Error::Misfit {
                        part: "softprompt",
                        found: tensor.shape.clone(),
                        expected: vec![1, 1, n_embd],
                    });
                }
                let numbers = numbers("softprompt", std::slice::from_ref(tensor))?;
                Some(numbers.reshape(n_embd)?)
            }
            _ => None,
        };
        Ok(Found {
            format,
            state: State {
                soft_prompt,
                shifts,
                wkv,
            },
            element,
            tag,
        })
    }
}

/// Our own list. PyTorch users may have saved lists for tuples; both are taken.
fn ours(items: &[Value]) -> Option<Parts> {
    let [
        Value::Tensor(soft_prompt),
        Value::List(rest) | Value::Tuple(rest),
    ] = items
    else {
        return None;
    };
    let [Value::Tensor(shifts), Value::Tensor(wkv)] = rest.as_slice() else {
        return None;
    };
    Some(Parts {
        soft_prompt: Some(soft_prompt.clone()),
        shifts: vec![shifts.clone()],
        wkv: vec![wkv.clone()],
    })
}

/// The `rwkv` package's list: att shift, matrix, ffn shift, layer by layer.
fn live(items: &[Value]) -> Result<Parts, Error> {
    let mut parts = Parts {
        soft_prompt: None,
        shifts: Vec::new(),
        wkv: Vec::new(),
    };
    for layer in items.chunks(3) {
        let [Value::Tensor(att), Value::Tensor(wkv), Value::Tensor(ffn)] = layer else {
            return Err(not_a_state("a list of other things"));
        };
        parts.shifts.extend([att.clone(), ffn.clone()]);
        parts.wkv.push(wkv.clone());
    }
    Ok(parts)
}

fn dictionary(mut tensors: BTreeMap<String, Stored>) -> Result<(Format, Parts), Error> {
    let has = |suffix: &str| tensors.keys().any(|name| name.ends_with(suffix));
    let is_model = tensors.contains_key("emb.weight");
    if has(".att.wkvstate") {
        let wkv = layers(&mut tensors, "att.wkvstate")?;
        let att = layers(&mut tensors, "att.shift.state")?;
        let ffn = layers(&mut tensors, "ffn.shift.state")?;
        only(&tensors)?;
        if att.len() != wkv.len() || ffn.len() != wkv.len() {
            return Err(not_a_state("a dictionary that lacks some of its parts"));
        }
        let shifts = att.into_iter().zip(ffn).flat_map(|(att, ffn)| [att, ffn]);
        let parts = Parts {
            soft_prompt: None,
            shifts: shifts.collect(),
            wkv,
        };
        return Ok((Format::Original, parts));
    }
    if has(".att.time_state") {
        let wkv = layers(&mut tensors, "att.time_state")?;
        if !is_model {
            only(&tensors)?;
        }
        let parts = Parts {
            soft_prompt: None,
            shifts: Vec::new(),
            wkv,
        };
        let format = if is_model {
            Format::Model
        } else {
            Format::TimeState
        };
        return Ok((format, parts));
    }
    Err(not_a_state(if is_model {
        "a model without a state"
    } else {
        "a dictionary of other tensors"
    }))
}

/// The tensors `blocks.{i}.{name}`, taken out, in order.
fn layers(tensors: &mut BTreeMap<String, Stored>, name: &str) -> Result<Vec<Stored>, Error> {
    let mut found = Vec::new();
    while let Some(tensor) = tensors.remove(&format!("blocks.{}.{name}", found.len())) {
        found.push(tensor);
    }
    let suffix = format!(".{name}");
    match tensors.keys().find(|key| key.ends_with(&suffix)) {
        Some(name) => Err(Error::Layers { name: name.clone() }),
        None if found.is_empty() => Err(not_a_state("a dictionary that lacks some of its parts")),
        None => Ok(found),
    }
}

/// Errors when anything is left that is no part of a state.
fn only(tensors: &BTreeMap<String, Stored>) -> Result<(), Error> {
    match tensors.keys().next() {
        Some(name) => Err(Error::Layers { name: name.clone() }),
        None => Ok(()),
    }
}

/// web-rwkv's file, or a `time_state` that somebody saved as safetensors.
fn safetensors(
    mut tensors: BTreeMap<String, Stored>,
    tag: Option<Tag>,
    format: Option<Format>,
) -> Result<Found, Error> {
    if tensors.contains_key("emb.weight") {
        return Err(not_a_state("a model"));
    }
    let wkv = layers(&mut tensors, "att.time_state")?;
    only(&tensors)?;
    let tagged = tag.as_ref().and_then(|tag| Format::named(&tag.format));
    let dtype = wkv[0].dtype;
    let format = match (format, tagged, dtype) {
        (_, Some(tagged @ (Format::WebRwkv | Format::TimeState)), _) => tagged,
        (None, _, Dtype::F16) => Format::WebRwkv,
        (Some(said @ (Format::WebRwkv | Format::TimeState)), _, _) => said,
        _ => return Err(Error::Unclear { dtype }),
    };
    let parts = Parts {
        soft_prompt: None,
        shifts: Vec::new(),
        wkv,
    };
    parts.found(format, tag)
}

/// All numbers of some tensors as f32, flat, one tensor after another.
fn numbers(part: &'static str, tensors: &[Stored]) -> Result<Tensor, Error> {
    let mut numbers = Vec::new();
    for tensor in tensors {
        let element = Element::of(tensor.dtype).ok_or(Error::Type {
            part,
            dtype: tensor.dtype,
        })?;
        numbers.extend(element.decode(&tensor.bytes));
    }
    if !numbers.iter().all(|x: &f32| x.is_finite()) {
        return Err(Error::NotFinite { part });
    }
    let count = numbers.len();
    Ok(Tensor::from_vec(numbers, count, &Device::Cpu)?)
}

/// For the test of it: making such a file would take a pickle that no writer writes.
#[cfg(test)]
pub fn check_size_of(wkv: Vec<Stored>, file: usize) -> Result<(), Error> {
    let parts = Parts {
        soft_prompt: None,
        shifts: Vec::new(),
        wkv,
    };
    parts.check_size(file)
}
