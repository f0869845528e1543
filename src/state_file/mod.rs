//! The learnt state on disk: `state.pth`, as `torch.load(path, weights_only=True)` gives it back:
//!
//! ```text
//! [softprompt (1,1,C), (time_shifts (2L,1,1,C), time_mix (L,1,H,K,K))]
//! ```
//!
//! Soft prompt and shifts have the model's own type, time_mix is f32 and stands as \[value, key\] (in memory it is
//! [key, value]). A state without a soft prompt holds an empty one, (1,0,C): joined to a text's embeddings it changes
//! nothing, and no reader can feed a vector of zeros by mistake.

use std::path::Path;

use candle_core::{DType, Device, Tensor};
use half::{bf16, f16};
use safetensors::Dtype;

use crate::model::{Config, State};
use crate::ops::linear::{self, Element};
use crate::pth::{self, Value};

/// Why a state could not be read or written. The path is the caller's to add.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Pth(#[from] pth::Error),
    #[error("it is not a state: expected [softprompt, (time_shifts, time_mix)], found {found}")]
    NotAState { found: &'static str },
    #[error("its {part} is of type {dtype:?}; bf16, f16 and f32 can be used")]
    Type { part: &'static str, dtype: Dtype },
    #[error(
        "it does not fit the model: its {part} is {found:?}, the model's would be {expected:?}"
    )]
    Misfit {
        part: &'static str,
        found: Vec<usize>,
        expected: Vec<usize>,
    },
    #[error(
        "its {part} holds a number that is not finite, or too large for the file's type; tune it with a lower \
         --learningrate"
    )]
    NotFinite { part: &'static str },
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
}

/// Writes a state, atomically. `element` is the type of the soft prompt and the shifts.
pub fn write(path: &Path, state: &State, element: Element) -> Result<(), Error> {
    Ok(pth::write(path, &value(state, element)?)?)
}

/// Errors as [`write`] would when a number is not finite, or not once it has the file's type.
pub fn check(state: &State, element: Element) -> Result<(), Error> {
    value(state, element).map(drop)
}

fn value(state: &State, element: Element) -> Result<Value, Error> {
    let (two_l, c) = state.shifts.dims2()?;
    let (l, h, k, _) = state.wkv.dims4()?;
    let soft_prompt = match &state.soft_prompt {
        Some(soft_prompt) => tensor("softprompt", soft_prompt, vec![1, 1, c], element)?,
        None => tensor(
            "softprompt",
            &Tensor::zeros(0, DType::F32, &Device::Cpu)?,
            vec![1, 0, c],
            element,
        )?,
    };
    let shifts = tensor("time_shifts", &state.shifts, vec![two_l, 1, 1, c], element)?;
    let wkv = tensor(
        "time_mix",
        &state.wkv.transpose(2, 3)?,
        vec![l, 1, h, k, k],
        Element::F32,
    )?;
    Ok(Value::List(vec![
        soft_prompt,
        Value::Tuple(vec![shifts, wkv]),
    ]))
}

/// Reads a state that this program or PyTorch wrote, and holds it against the model's shapes.
pub fn read(path: &Path, config: &Config) -> Result<State, Error> {
    let value = pth::read(path)?;
    let (soft_prompt, shifts, wkv) = parts(&value)?;
    let &Config {
        n_layer: l,
        n_embd: c,
        n_head: h,
        head_size: k,
        ..
    } = config;
    fits("time_shifts", shifts, &[2 * l, 1, 1, c])?;
    fits("time_mix", wkv, &[l, 1, h, k, k])?;
    let soft_prompt = match soft_prompt.shape.as_slice() {
        [1, 0, width] if *width == c => None,
        _ => {
            fits("softprompt", soft_prompt, &[1, 1, c])?;
            Some(numbers("softprompt", soft_prompt)?.reshape(c)?)
        }
    };
    let wkv = numbers("time_mix", wkv)?
        .reshape((l, h, k, k))?
        .transpose(2, 3)?
        .contiguous()?;
    Ok(State {
        soft_prompt,
        shifts: numbers("time_shifts", shifts)?.reshape((2 * l, c))?,
        wkv,
    })
}

/// (soft prompt, shifts, wkv). PyTorch users may have saved lists for tuples; both are taken.
fn parts(value: &Value) -> Result<(&pth::Tensor, &pth::Tensor, &pth::Tensor), Error> {
    if let Some([Value::Tensor(soft_prompt), rest]) = two(value)
        && let Some([Value::Tensor(shifts), Value::Tensor(wkv)]) = two(rest)
    {
        return Ok((soft_prompt, shifts, wkv));
    }
    let found = match value {
        Value::Dict(_) => "a dictionary (a model, or a state of another program)",
        Value::Tensor(_) => "a single tensor",
        Value::List(_) | Value::Tuple(_) => "a list of other things",
        _ => "a single value",
    };
    Err(Error::NotAState { found })
}

fn two(value: &Value) -> Option<&[Value; 2]> {
    match value {
        Value::List(items) | Value::Tuple(items) => items.as_slice().try_into().ok(),
        _ => None,
    }
}

fn fits(part: &'static str, tensor: &pth::Tensor, expected: &[usize]) -> Result<(), Error> {
    if tensor.shape != expected {
        return Err(Error::Misfit {
            part,
            found: tensor.shape.clone(),
            expected: expected.to_vec(),
        });
    }
    Ok(())
}

/// All numbers of a tensor as f32, flat.
fn numbers(part: &'static str, tensor: &pth::Tensor) -> Result<Tensor, Error> {
    let element = Element::of(tensor.dtype).ok_or(Error::Type {
        part,
        dtype: tensor.dtype,
    })?;
    let numbers = linear::widen(element, &tensor.data);
    if !numbers.iter().all(|x| x.is_finite()) {
        return Err(Error::NotFinite { part });
    }
    let count = numbers.len();
    Ok(Tensor::from_vec(numbers, count, &Device::Cpu)?)
}

fn tensor(
    part: &'static str,
    tensor: &Tensor,
    shape: Vec<usize>,
    element: Element,
) -> Result<Value, Error> {
    let numbers: Vec<f32> = tensor.flatten_all()?.to_vec1()?;
    let (dtype, data): (Dtype, Vec<u8>) = match element {
        Element::Bf16 => (
            Dtype::BF16,
            numbers
                .iter()
                .flat_map(|&x| bf16::from_f32(x).to_le_bytes())
                .collect(),
        ),
        Element::F16 => (
            Dtype::F16,
            numbers
                .iter()
                .flat_map(|&x| f16::from_f32(x).to_le_bytes())
                .collect(),
        ),
        Element::F32 => (
            Dtype::F32,
            numbers.iter().flat_map(|x| x.to_le_bytes()).collect(),
        ),
    };
    if !linear::widen(element, &data).iter().all(|x| x.is_finite()) {
        return Err(Error::NotFinite { part });
    }
    Ok(Value::Tensor(pth::Tensor {
        dtype,
        shape,
        data: data.into(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Version;

    const CONFIG: Config = Config {
        version: Version::V5_2,
        vocab_size: 10,
        n_layer: 2,
        n_embd: 6,
        n_head: 2,
        head_size: 3,
        n_ffn: 8,
    };

    fn counted(shape: &[usize]) -> Tensor {
        let count = shape.iter().product::<usize>();
        Tensor::from_vec(
            (0..count).map(|i| i as f32 / 8.0).collect::<Vec<f32>>(),
            shape,
            &Device::Cpu,
        )
        .unwrap()
    }

    fn state(soft_prompt: bool) -> State {
        State {
            soft_prompt: soft_prompt.then(|| counted(&[6])),
            shifts: counted(&[4, 6]),
            wkv: counted(&[2, 2, 3, 3]),
        }
    }

    fn flat(tensor: &Tensor) -> Vec<f32> {
        tensor.flatten_all().unwrap().to_vec1().unwrap()
    }

    #[test]
    fn round_trip_with_and_without_a_soft_prompt() {
        let directory = tempfile::tempdir().unwrap();
        for (soft, element) in [
            (true, Element::Bf16),
            (false, Element::Bf16),
            (true, Element::F32),
            (true, Element::F16),
        ] {
            let path = directory.path().join("state.pth");
            let state = state(soft);
            write(&path, &state, element).unwrap();
            let again = read(&path, &CONFIG).unwrap();
            assert_eq!(
                again.soft_prompt.as_ref().map(flat),
                state.soft_prompt.as_ref().map(flat)
            );
            assert_eq!(flat(&again.shifts), flat(&state.shifts));
            assert_eq!(flat(&again.wkv), flat(&state.wkv));
        }
    }

    #[test]
    fn the_matrix_stands_as_value_key() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state.pth");
        write(&path, &state(false), Element::Bf16).unwrap();
        let value = pth::read(&path).unwrap();
        let (soft_prompt, _, wkv) = parts(&value).unwrap();
        assert_eq!(soft_prompt.shape, [1, 0, 6]);
        assert_eq!(
            (wkv.shape.as_slice(), wkv.dtype),
            ([2, 1, 2, 3, 3].as_slice(), Dtype::F32)
        );
        // Counted along [key, value], the second number of the file is key 1, value 0.
        assert_eq!(
            linear::widen(Element::F32, &wkv.data)[..4],
            [0.0, 3.0 / 8.0, 6.0 / 8.0, 1.0 / 8.0]
        );
    }

    #[test]
    fn a_state_of_another_model_is_refused_with_both_shapes() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state.pth");
        write(&path, &state(true), Element::Bf16).unwrap();
        let error = read(
            &path,
            &Config {
                n_layer: 3,
                ..CONFIG
            },
        )
        .unwrap_err();
        assert!(
            matches!(
                &error,
                Error::Misfit {
                    part: "time_shifts",
                    ..
                }
            ),
            "{error}"
        );
        assert!(
            error.to_string().contains("[4, 1, 1, 6]")
                && error.to_string().contains("[6, 1, 1, 6]"),
            "{error}"
        );
    }

    #[test]
    fn numbers_that_are_not_finite_are_never_written() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state.pth");
        let bad = State {
            shifts: (counted(&[4, 6]) / 0.0).unwrap(),
            ..state(true)
        };
        assert!(matches!(
            write(&path, &bad, Element::Bf16),
            Err(Error::NotFinite {
                part: "time_shifts"
            })
        ));
        let large = State {
            shifts: (counted(&[4, 6]) * 1e6).unwrap(),
            ..state(true)
        };
        assert!(matches!(
            write(&path, &large, Element::F16),
            Err(Error::NotFinite {
                part: "time_shifts"
            })
        ));
        assert!(!path.exists());
    }

    #[test]
    fn other_files_are_no_states() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state.pth");
        for value in [
            Value::Dict(vec![]),
            Value::List(vec![Value::Int(1)]),
            Value::None,
        ] {
            pth::write(&path, &value).unwrap();
            assert!(matches!(read(&path, &CONFIG), Err(Error::NotAState { .. })));
        }
    }
}
