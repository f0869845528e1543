//! Event files as the real TensorBoard reads them: `ORACLE_PYTHON` names a Python that has it.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use state_tune::model::PerGroup;
use state_tune::report::{Eval, Record, Step, TensorBoard};

fn step(step: usize) -> Step {
    let part = 1.0 / step as f64;
    Step {
        step,
        epoch: 1,
        loss: part,
        loss_avg: part + 1.0,
        tokens: 10,
        tokens_seen: 20,
        tokens_per_s: 1000.0 * part,
        seconds: step as f64,
        learning_rate: 0.01 * part,
        grad_norms: PerGroup {
            soft_prompt: Some(114.0 * part),
            shift: None,
            wkv: Some(part),
        },
        gpu_memory: None,
        ranks: None,
        waiting: None,
    }
}

#[test]
#[ignore = "needs ORACLE_PYTHON, a Python with tensorboard"]
fn tensorboard_in_python_reads_every_number() {
    let python = std::env::var_os("ORACLE_PYTHON").expect("ORACLE_PYTHON names a Python");
    let directory = tempfile::tempdir().unwrap();
    // A run that was cut off after step 4 and goes on from its checkpoint at step 2.
    let mut first = TensorBoard::open(directory.path(), 0).unwrap();
    let evals = [0, 4].map(|step| Eval {
        step,
        loss: 0.5,
        accuracy: 0.75,
    });
    first.eval(&evals[0]).unwrap();
    for i in 1..=4 {
        first
            .step(&Step {
                loss: 9.0,
                ..step(i)
            })
            .unwrap();
    }
    let mut second = TensorBoard::open(directory.path(), 2).unwrap();
    for i in 3..=200 {
        second.step(&step(i)).unwrap();
    }
    second.eval(&evals[1]).unwrap();

    // The files are still open: what is written can be watched.
    let output = Command::new(python)
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oracle/read_tensorboard.py"))
        .arg(directory.path())
        .output()
        .expect("ORACLE_PYTHON can be run");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let found: BTreeMap<String, Vec<(usize, f32)>> =
        serde_json::from_slice(&output.stdout).unwrap();

    let told = |value: fn(&Step) -> f64| -> Vec<(usize, f32)> {
        (1..=200).map(|i| (i, value(&step(i)) as f32)).collect()
    };
    let mut losses = told(|step| step.loss);
    losses[..2].copy_from_slice(&[(1, 9.0), (2, 9.0)]);
    let expected = BTreeMap::from(
        [
            ("train/loss", losses),
            ("train/loss_avg", told(|step| step.loss_avg)),
            ("train/lr", told(|step| step.learning_rate)),
            ("train/tokens_per_s", told(|step| step.tokens_per_s)),
            (
                "train/grad_norm_softprompt",
                told(|step| step.grad_norms.soft_prompt.unwrap()),
            ),
            (
                "train/grad_norm_wkv",
                told(|step| step.grad_norms.wkv.unwrap()),
            ),
            ("eval/loss", vec![(0, 0.5), (4, 0.5)]),
            ("eval/accuracy", vec![(0, 0.75), (4, 0.75)]),
        ]
        .map(|(tag, values)| (tag.to_string(), values)),
    );
    assert_eq!(found, expected);
}
