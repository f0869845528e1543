//! `state-tune convert` and `inspect`, as a person uses them, on the tiny models and states tuned
//! on them.

#[path = "../common/mod.rs"]
mod common;

mod changes;
mod formats;
mod formatters;
mod orientation;
mod refused;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use candle_core::Tensor;
use common::{Dir, GENERATIONS, Generation};
use state_tune::model::{ModelFile, Rwkv, State};
use state_tune::ops::linear::ProductType;
use state_tune::state_file::{self, FORMATS, Format};
use state_tune::tensors::Element;
use state_tune::tokenizer::Tokenizer;

const PROMPT: &str = "user: What is the colour of snow?\n\nassistant:";

fn tiny(file: &str) -> String {
    common::tiny(file).display().to_string()
}

fn tuned() -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    root.join("tests/golden/tiny_state.pth")
        .display()
        .to_string()
}

fn model() -> Rwkv {
    let [five, _] = GENERATIONS;
    model_of(five)
}

fn model_of(generation: Generation) -> Rwkv {
    let checkpoint = ModelFile::open(&generation.model()).unwrap();
    Rwkv::load(&checkpoint, ProductType::F32).unwrap()
}

/// The places of a generation's state and of its model.
fn files_of(generation: Generation) -> [String; 2] {
    [generation.state(), generation.model()].map(|path| path.display().to_string())
}

/// Runs a tool in the directory: exit code, output, errors.
fn tool(dir: &Dir, arguments: &[&str]) -> (Option<i32>, String, String) {
    let run = Command::new(env!("CARGO_BIN_EXE_state-tune"))
        .current_dir(dir.path(""))
        .args(arguments)
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (run.status.code(), text(run.stdout), text(run.stderr))
}

#[track_caller]
fn does(dir: &Dir, arguments: &[&str]) -> String {
    let (code, said, error) = tool(dir, arguments);
    assert!(
        code == Some(0) && error.is_empty(),
        "{arguments:?}: {said}{error}"
    );
    said
}

#[track_caller]
fn refuses(dir: &Dir, arguments: &[&str], words: &[&str]) {
    let before = dir.names();
    let (code, _, error) = tool(dir, arguments);
    let one_line = error.starts_with("error: ") && error.lines().count() == 1;
    assert!(code == Some(1) && one_line, "{arguments:?}: {error}");
    assert!(
        words.iter().all(|word| error.contains(word)),
        "{arguments:?}: {error}"
    );
    assert_eq!(dir.names(), before, "{arguments:?}");
}

fn flat(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

/// The largest difference by the largest number.
fn distance(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    let largest = b.iter().fold(0.0f32, |most, x| most.max(x.abs()));
    let apart = a
        .iter()
        .zip(b)
        .fold(0.0f32, |most, (a, b)| most.max((a - b).abs()));
    apart / largest
}

/// The logits of every token of the prompt, soft prompt's row left out.
fn logits(model: &Rwkv, state: &State) -> Vec<f32> {
    let tokens = Tokenizer::world().encode(PROMPT);
    let (all, _) = model.logits(&tokens, state).unwrap();
    let rows = all.dim(0).unwrap();
    flat(&all.narrow(0, rows - tokens.len(), tokens.len()).unwrap())
}
