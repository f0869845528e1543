//! The whole tool as a newcomer first meets it: `state-tune quickstart`, of each generation.

use std::process::Command;

/// Runs it, and holds it to what PyTorch finds on the same data before tuning, and at the worst of
/// three seeds after as many steps at the same rate (examples/tiny/README.md). Another order of the
/// examples may end a tenth above.
fn quickstart(generation: &str, before: f64, after: f64) {
    let dir = tempfile::tempdir().unwrap();
    let run = Command::new(env!("CARGO_BIN_EXE_state-tune"))
        .env_clear()
        .current_dir(dir.path())
        .args(["quickstart", "--generation", generation, "here"])
        .output()
        .unwrap();
    let said = String::from_utf8(run.stdout).unwrap();
    let error = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{said}{error}");
    assert_eq!(said.matches("  tuned state Arr, ").count(), 3, "{said}");
    let (_, losses) = said.split_once("loss on 100 unseen examples: ").unwrap();
    let numbers: Vec<f64> = losses
        .split([' ', '\n'])
        .filter_map(|word| word.parse().ok())
        .collect();
    assert!((numbers[0] - before).abs() < 1e-4, "{losses}");
    assert!(numbers[1] <= 1.1 * after, "{losses}");
    for file in ["model.pth", "train.jsonl", "eval.jsonl", "state.pth"] {
        assert!(dir.path().join("here").join(file).is_file(), "{file}");
    }
}

#[test]
fn rwkv_7_learns_what_pytorch_learns() {
    quickstart("7", 0.2217, 0.0283);
}

#[test]
fn rwkv_5_learns_what_pytorch_learns() {
    quickstart("5", 0.2039, 0.0167);
}
