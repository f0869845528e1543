//! What goes wrong in the field, against the real program: hostile models, losses that are not
//! finite, impatient users, readers that leave, files that are one another.

#[path = "../common/mod.rs"]
mod common;
mod damage;
mod data;
mod model_files;
mod models;
mod numbers;
mod outputs;
mod places;
mod rows;
mod signals;

use std::path::Path;

use state_tune::tensors::pth::{self, Value};

use common::{Dir, golden, losses};

const LINE: &str = "{\"input\": \"a\", \"output\": \"b\"}\n";

/// A model of 160 tokens. Texts of single characters keep to them.
fn small_model() -> String {
    golden("model_5.2.pth").display().to_string()
}

/// Its tensors, to be changed.
fn small_entries() -> Vec<(Value, Value)> {
    let Value::Dict(entries) = pth::read(Path::new(&small_model())).unwrap() else {
        panic!("a model is a dictionary")
    };
    entries
}

/// Flags under which a line's texts stand alone and lines come in order, one a step.
const PLAIN: [&str; 5] = [
    "--prompt_formatter={input}",
    "--response_formatter={output}",
    "--dataset_walk=sequential",
    "--batchsize=1",
    "--max_epochs=1",
];

fn with<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&PLAIN, more].concat()
}

/// Losses of a run on one file of data.
fn losses_of(data: &str, flags: &[&str]) -> Vec<f64> {
    let dir = Dir::new();
    dir.write("data.jsonl", data);
    let fixed = [
        "--data_path=data.jsonl",
        "--dataset_walk=sequential",
        "--max_epochs=1",
        "--batchsize=1",
        "--log_file=log",
    ];
    dir.succeeds(&[&fixed, flags].concat());
    losses(&dir.path("log"))
}
