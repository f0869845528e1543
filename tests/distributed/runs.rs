//! A short run, for all of these tests: a model of 160 tokens, which are single bytes, and texts of many
//! lengths.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::common::{Dir, golden};

pub const FLAGS: [&str; 12] = [
    "--data_path=data.jsonl",
    "--prompt_formatter={input}",
    "--response_formatter={output}",
    "--save_every=0",
    "--init=ones",
    "--learningrate=0.002",
    "--weight_decay=0.01",
    "--grad_clip=1",
    "--dtype=f32",
    "--eval_split=0.2",
    "--eval_every=7",
    "--keep=best",
];

/// Rows of texts of control characters, of which the vocabulary joins no two.
pub fn rows(count: usize) -> String {
    let mut rng = StdRng::seed_from_u64(1);
    let mut text = |length: usize| -> String {
        (0..length)
            .map(|_| format!("\\u00{:02x}", rng.random_range(1..9)))
            .collect()
    };
    (0..count)
        .map(|i| {
            format!(
                "{{\"input\": \"{}\", \"output\": \"{}\"}}\n",
                text(1 + i * i % 23),
                text(1 + i % 5)
            )
        })
        .collect()
}

/// A directory with the run's data.
pub fn prepared() -> Dir {
    let dir = Dir::new();
    dir.write("data.jsonl", rows(40));
    dir
}

/// The run's flags, with the model and `more`.
pub fn flags(model: &str, more: &[&str]) -> Vec<String> {
    let model = format!("--model_location={}", golden(model).display());
    let all = [model.as_str()]
        .into_iter()
        .chain(FLAGS)
        .chain(more.iter().copied());
    all.map(str::to_string).collect()
}

/// Whether numbers are the same but for rounding.
#[track_caller]
pub fn close(got: &[f64], wanted: &[f64], tolerance: f64) {
    assert_eq!(got.len(), wanted.len());
    for (step, (got, wanted)) in got.iter().zip(wanted).enumerate() {
        let off = (got - wanted).abs() / wanted.abs();
        assert!(
            off <= tolerance,
            "number {}: {got}, not {wanted}: {off:.1e} off",
            step + 1
        );
    }
}
