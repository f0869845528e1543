//! Numbers: the same answers and losses however they are computed, and losses that are not finite.

use std::fs;

use state_tune::tensors::pth::{self, Value};

use crate::common::{Dir, golden, losses};
use crate::{LINE, losses_of, small_entries, small_model, with};

#[test]
fn both_answers_are_those_of_the_oracle() {
    let text = fs::read_to_string(golden("tiny_greedy.json")).unwrap();
    let cases: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
    let case = |key: &str| cases[0][key].as_str().unwrap();
    let dir = Dir::new();
    let state = golden("tiny_state.pth").display().to_string();
    let shown = dir.succeeds(&["--prompt", case("prompt"), "--save_filename", &state]);
    let (base, tuned) = (case("base"), case("tuned"));
    let end = "[ended at a blank line]";
    assert_eq!(
        shown,
        format!("== base model ==\n{base}\n{end}\n\n== tuned state ==\n{tuned}\n{end}\n")
    );
}

#[test]
fn a_long_text_costs_the_same_loss_recomputed_or_kept() {
    let long = format!(
        "{{\"input\": \"a\", \"output\": \"{}\"}}\n",
        "seven eight ".repeat(400)
    );
    let data = [long.as_str(), LINE].concat();
    let kept = losses_of(&data, &["--recompute=never"]);
    let computed_again = losses_of(&data, &["--recompute=always"]);
    assert_eq!(kept.len(), 2);
    for (kept, again) in kept.iter().zip(&computed_again) {
        assert!((kept - again).abs() <= 1e-6 * kept, "{kept} {again}");
    }
}

/// The losses of three steps at a level, if this machine has it.
fn losses_at(level: &str, dtype: &str, tune: &str) -> Option<Vec<f64>> {
    let dir = Dir::new();
    let flags = [
        "--cpu",
        level,
        "--dtype",
        dtype,
        "--tune",
        tune,
        "--max_epochs=0.1",
        "--log_file=log",
    ];
    let run = dir.run(&flags);
    if !run.status.success() {
        let error = String::from_utf8(run.stderr).unwrap();
        assert!(error.contains("this machine has no more than"), "{error}");
        return None;
    }
    let losses = losses(&dir.path("log"));
    assert_eq!(losses.len(), 3);
    Some(losses)
}

#[test]
fn every_level_of_this_machine_learns_the_same() {
    // A soft prompt that starts at zero turns with the last bits of its first gradient, by which
    // losses in bf16 part from step to step, so it is learnt in f32 alone.
    for (dtype, tune, allowed) in [
        ("f32", "softprompt,shift,wkv", 1e-5),
        ("bf16", "shift,wkv", 2e-3),
    ] {
        let wanted = losses_at("plain", "f32", tune).unwrap();
        for level in ["plain", "avx2", "avx512", "avx512bf16", "amx"] {
            let Some(losses) = losses_at(level, dtype, tune) else {
                continue;
            };
            for (a, b) in losses.iter().zip(&wanted) {
                assert!((a - b).abs() <= allowed * b, "{level} {dtype}: {a} {b}");
            }
        }
    }
}

#[test]
fn two_hundred_steps_in_bf16_learn_what_f32_learns() {
    let [f32, bf16] = ["f32", "bf16"].map(|dtype| {
        let dir = Dir::new();
        // 300 examples, 8 in a step.
        dir.succeeds(&["--dtype", dtype, "--max_epochs=5.3334", "--log_file=log"]);
        let text = fs::read_to_string(dir.path("log")).unwrap();
        assert_eq!(text.lines().count(), 200);
        let last: serde_json::Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
        last["loss_avg"].as_f64().unwrap()
    });
    assert!(f32 < 0.02, "{f32} is not learnt");
    assert!((f32 - bf16).abs() <= 0.01 * f32, "{f32} {bf16}");
}

#[test]
fn an_update_that_the_files_type_cannot_hold_ends_the_run_before_it_is_lost() {
    // bf16 ends at 3.4e38, f16 at 65,504: a step of 1e5 fits only the first.
    let dir = Dir::new();
    let mut entries = small_entries();
    for (_, value) in &mut entries {
        if let Value::Tensor(tensor) = value {
            let numbers = tensor.bytes.chunks_exact(2);
            let halves = numbers.flat_map(|b| {
                half::f16::from_f32(half::bf16::from_le_bytes([b[0], b[1]]).to_f32()).to_le_bytes()
            });
            tensor.bytes = halves.collect::<Vec<u8>>().into();
            tensor.dtype = safetensors::Dtype::F16;
        }
    }
    pth::write(&dir.path("model.pth"), &Value::Dict(entries)).unwrap();
    dir.write("data.jsonl", LINE.repeat(2));
    let flags = with(&[
        "--data_path=data.jsonl",
        "--model_location=model.pth",
        "--learningrate=1e5",
    ]);
    let run = dir.run(&flags);
    let error = String::from_utf8(run.stderr).unwrap();
    assert_eq!(run.status.code(), Some(1));
    for words in [
        "step 1",
        "beyond what the state's file can hold",
        "--learningrate (now 100000.0)",
    ] {
        assert!(
            error.contains(words) && error.lines().count() == 1,
            "{error}"
        );
    }
    assert_eq!(dir.names(), ["data.jsonl", "model.pth"]);
}

/// The small model, with an embedding that is no number for the one character `broken`.
fn break_model(dir: &Dir, broken: u8) {
    let mut entries = small_entries();
    for (name, value) in &mut entries {
        if let (Value::Str(name), Value::Tensor(tensor)) = (name, value)
            && name == "emb.weight"
        {
            let mut bytes = tensor.bytes.to_vec();
            let row = bytes.len() / tensor.shape[0];
            // A byte's token is the byte plus one; all bits set is NaN in every type.
            bytes[row * (usize::from(broken) + 1)..][..row].fill(0xff);
            tensor.bytes = bytes.into();
        }
    }
    pth::write(&dir.path("model.pth"), &Value::Dict(entries)).unwrap();
}

#[test]
fn a_loss_that_is_no_number_leaves_the_last_good_state() {
    let data = ["1", "2", "3"].map(|c| format!("{{\"input\": \"{c}\", \"output\": \"2\"}}\n"));
    let (whole, broken) = (Dir::new(), Dir::new());
    whole.write("data.jsonl", data.concat());
    broken.write("data.jsonl", data.concat());

    // Step 3 meets the broken character; what step 2 found good holds one update.
    break_model(&broken, b'3');
    let flags = with(&["--data_path=data.jsonl", "--model_location=model.pth"]);
    let run = broken.run(&flags);
    let error = String::from_utf8(run.stderr).unwrap();
    assert_eq!(run.status.code(), Some(1), "{error}");
    assert!(
        error.lines().count() == 1 && error.contains("step 3") && error.contains("state.pth"),
        "{error}"
    );

    let model = small_model();
    whole.succeeds(&with(&[
        "--data_path=data.jsonl",
        "--model_location",
        &model,
        "--max_epochs=0.34",
    ]));
    assert!(
        pth::read(&broken.path("state.pth")).unwrap()
            == pth::read(&whole.path("state.pth")).unwrap()
    );
}

#[test]
fn a_model_that_is_no_number_is_not_blamed_on_the_learning_rate() {
    let dir = Dir::new();
    dir.write("data.jsonl", "{\"input\": \"1\", \"output\": \"2\"}\n");
    break_model(&dir, b'1');
    dir.refuses(
        &with(&["--data_path=data.jsonl", "--model_location=model.pth"]),
        1,
        &["NaN", "step 1", "model"],
    );
}
