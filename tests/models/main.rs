//! Models as people have them: other programs' names, wrapped, in parts, with things beside them.
//! Each is made from a model of `golden/` as the program that spells it so would make it, and must
//! compute what that model does, or be refused by what it is.

#[path = "../common/mod.rs"]
mod common;
mod left_over;
mod parts;
mod shapes;
mod spellings;
mod start;
mod with_a_state;

use std::collections::BTreeMap;
use std::path::Path;

use common::{Dir, golden, losses};
use state_tune::model::{Rwkv, State};
use state_tune::ops::linear::ProductType;
use state_tune::tensors::pth::{self, Value};
use state_tune::tensors::{self, Content, Element, Stored};

type Tensors = Vec<(String, Stored)>;

/// The loss of the first step on [`DATA`] from zeros, by the 5.2 model.
const LOSS: f64 = 5.764182957;
const DATA: &str = "{\"input\": \"k~J3$E$q^\", \"output\": \"jX$~^$5KjK@4\"}\n\
                    {\"input\": \"A$4|8J3GJ\", \"output\": \"%Zq7z6&4|2~6\"}\n";

/// A model's `time_state`, [value, key], in numbers that every type holds.
fn time_states(layers: usize, heads: usize, size: usize) -> Tensors {
    let each = heads * size * size;
    let layer = |i: usize| {
        let numbers = (i * each..(i + 1) * each).map(|n| ((n * 7 % 29) as f32 - 14.0) / 8.0);
        let numbers: Vec<f32> = numbers.collect();
        let tensor = Stored::new(Element::Bf16, vec![heads, size, size], &numbers);
        (format!("blocks.{i}.att.time_state"), tensor)
    };
    (0..layers).map(layer).collect()
}

/// The tensors of a model in `golden/`, in the file's order.
fn tensors(model: &str) -> Tensors {
    let Value::Dict(pairs) = pth::read(&golden(model)).unwrap() else {
        panic!("a model is a dictionary")
    };
    let pairs = pairs.into_iter().map(|pair| match pair {
        (Value::Str(name), Value::Tensor(tensor)) => (name, tensor),
        other => panic!("{other:?} in a model"),
    });
    pairs.collect()
}

fn dictionary(tensors: Tensors) -> Value {
    let pairs = tensors.into_iter();
    Value::Dict(
        pairs
            .map(|(name, tensor)| (Value::Str(name), Value::Tensor(tensor)))
            .collect(),
    )
}

fn write_pth(path: &Path, tensors: Tensors) {
    pth::write(path, &dictionary(tensors)).unwrap();
}

fn write_safetensors(path: &Path, tensors: Tensors) {
    let tensors: BTreeMap<_, _> = tensors.into_iter().collect();
    tensors::write(path, &Content::Safetensors(tensors), ("format", "pt")).unwrap();
}

/// A tensor's numbers in f16, as web-rwkv's converter rounds them.
fn half(tensor: &Stored) -> Stored {
    let numbers = Element::of(tensor.dtype).unwrap().decode(&tensor.bytes);
    Stored::new(Element::F16, tensor.shape.clone(), &numbers)
}

fn transposed(tensor: &Stored) -> Stored {
    let [rows, columns] = tensor.shape[..] else {
        panic!("{:?} is no matrix", tensor.shape)
    };
    let element = Element::of(tensor.dtype).unwrap();
    let numbers = element.decode(&tensor.bytes);
    let turned: Vec<f32> = (0..columns)
        .flat_map(|column| (0..rows).map(move |row| row * columns + column))
        .map(|at| numbers[at])
        .collect();
    Stored::new(element, vec![columns, rows], &turned)
}

fn open(path: &Path) -> Rwkv {
    Rwkv::open(path, ProductType::F32).unwrap()
}

#[track_caller]
fn refused(path: &Path, words: &[&str]) {
    let error = match Rwkv::open(path, ProductType::F32) {
        Ok(_) => panic!("{} was taken", path.display()),
        Err(error) => format!("{error:#}"),
    };
    assert!(words.iter().all(|word| error.contains(word)), "{error}");
}

/// What a model makes of some tokens from zeros.
fn logits(model: &Rwkv) -> Vec<f32> {
    let zeros = State::zeros(model.config()).unwrap();
    let (logits, _) = model.logits(&[3, 1, 4, 1, 5, 9, 2, 6], &zeros).unwrap();
    logits.flatten_all().unwrap().to_vec1().unwrap()
}

/// Holds a file to computing what another does, to the last digit, and to being taken for it.
#[track_caller]
fn is_the_same(found: &Path, wanted: &Path) {
    let (found, wanted) = (open(found), open(wanted));
    assert_eq!(found.config(), wanted.config());
    assert!(logits(&found) == logits(&wanted));
    assert_eq!(found.fingerprint(), wanted.fingerprint());
    assert_eq!(found.unused(), wanted.unused());
}

/// Trains one step on [`DATA`], and gives back the loss and what was said.
#[track_caller]
fn trained(dir: &Dir, model: &Path, more: &[&str]) -> (f64, String) {
    dir.write("data.jsonl", DATA);
    let model = model.display().to_string();
    let flags = [
        "--data_path=data.jsonl",
        "--prompt_formatter={input}",
        "--response_formatter={output}",
        "--dtype=f32",
        "--tune=wkv",
        "--max_epochs=1",
        "--log_file=log",
        "--model_location",
        &model,
    ];
    let _ = std::fs::remove_file(dir.path("log"));
    let said = dir.succeeds(&[&flags, more].concat());
    (losses(&dir.path("log"))[0], said)
}
