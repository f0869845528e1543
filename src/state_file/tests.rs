//! States in every format, all with the same small numbers.

mod bytes;
mod formats;
mod in_model;
mod refused;

use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};

use super::*;
use crate::model::{Config, State, Version};
use crate::tensors::pth::{self, Value};
use crate::tensors::{self, Dtype, Element, Stored};

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
    let numbers: Vec<f32> = (0..count).map(|i| i as f32 / 8.0).collect();
    Tensor::from_vec(numbers, shape, &Device::Cpu).unwrap()
}

/// Numbers that every type holds exactly, and no matrix that equals its transpose.
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

/// A file that Python wrote. It holds the numbers of [`state`].
fn from_python(name: &str) -> PathBuf {
    let states = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/states");
    states.join(name)
}

const F00D: Origin = Origin {
    model: Some("f00d"),
    texts: None,
};

const PYTHON: [(&str, Format); 6] = [
    ("state.pth", Format::STATE),
    ("original.pth", Format::ORIGINAL),
    ("time_state.pth", Format::TIME_STATE),
    ("web-rwkv.st", Format::WEB_RWKV),
    ("rwkv-live.pth", Format::RWKV_LIVE),
    ("model.pth", Format::MODEL),
];

/// What is left of [`state`] in a format: matrices always, the rest where there is a place for it.
#[track_caller]
fn is_the_state(found: &StateFile) {
    let (whole, format) = (state(true), found.format);
    assert_eq!(
        flat(&found.state.wkv),
        flat(&whole.wkv),
        "{format}: a transpose is off"
    );
    let lost = format.loses(&whole).unwrap();
    let shifts = if lost.contains(&"the token shifts") {
        vec![0.0; 24]
    } else {
        flat(&whole.shifts)
    };
    assert_eq!(flat(&found.state.shifts), shifts, "{format}");
    let soft_prompt = (!lost.contains(&"the soft prompt")).then(|| flat(&counted(&[6])));
    assert_eq!(
        found.state.soft_prompt.as_ref().map(flat),
        soft_prompt,
        "{format}"
    );
}
