//! Held-out examples: how well they are predicted is told, and decides what is kept and when to
//! stop.

mod common;

use std::fs;

use common::{Dir, GENERATIONS, tiny};
use serde_json::Value;
use state_tune::data::{Formats, dataset};
use state_tune::evaluate;
use state_tune::model::{ModelFile, Rwkv};
use state_tune::ops::linear::ProductType;
use state_tune::state_file;

fn eval() -> String {
    format!("--eval_path={}", tiny("eval.jsonl").display())
}

/// (step, loss) of each evaluation that a log tells of.
fn evaluations(dir: &Dir) -> Vec<(u64, f64)> {
    let log = fs::read_to_string(dir.path("log")).unwrap();
    let lines = log
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    let evals = lines.filter(|line| line.get("eval_loss").is_some());
    evals
        .map(|line| {
            assert!((0.0..=1.0).contains(&line["eval_accuracy"].as_f64().unwrap()));
            (
                line["step"].as_u64().unwrap(),
                line["eval_loss"].as_f64().unwrap(),
            )
        })
        .collect()
}

/// The loss of the saved state on the held-out examples, by the library.
fn loss_of_the_saved(dir: &Dir) -> f64 {
    let checkpoint = ModelFile::open(&tiny("model.pth")).unwrap();
    let model = Rwkv::load(&checkpoint, ProductType::F32).unwrap();
    let data = dataset::read(&tiny("eval.jsonl"), &Formats::default()).unwrap();
    let state = state_file::read(&dir.path("state.pth"), model.config()).unwrap();
    evaluate::score(&model, &data.examples, &state)
        .unwrap()
        .loss()
}

#[test]
fn the_untuned_model_scores_as_in_pytorch_and_looks_come_when_they_should() {
    let dir = Dir::new();
    let flags = [
        "--tune=wkv",
        "--init=zeros",
        "--dtype=f32",
        "--max_epochs=0.2",
        "--eval_every=3",
        "--log_file=log",
        &eval(),
    ];
    dir.succeeds(&flags);
    let evals = evaluations(&dir);
    let steps: Vec<u64> = evals.iter().map(|&(step, _)| step).collect();
    assert_eq!(
        steps,
        [0, 3, 6, 7],
        "at the start, every third step, at the end"
    );
    // examples/tiny/README.md: what PyTorch found.
    assert!((evals[0].1 - 0.2039).abs() < 5e-5, "{}", evals[0].1);
}

#[test]
fn the_best_state_is_kept_and_patience_ends_a_run_that_gets_worse() {
    let dir = Dir::new();
    // Steps far too long: what was learnt is lost again.
    let flags = [
        "--learningrate=3",
        "--dtype=f32",
        "--max_epochs=2",
        "--eval_every=2",
        "--keep=best",
        "--patience=3",
        "--log_file=log",
        &eval(),
    ];
    let said = dir.succeeds(&flags);
    let evals = evaluations(&dir);
    let best = evals
        .iter()
        .map(|&(_, loss)| loss)
        .fold(f64::INFINITY, f64::min);
    let at = evals.iter().position(|&(_, loss)| loss == best).unwrap();
    assert!(
        said.contains("3 evaluations in a row were no better (--patience)"),
        "{said}"
    );
    assert_eq!(evals.len(), at + 4, "three more after the best: {evals:?}");
    // The file holds the soft prompt and the shifts in the model's bf16.
    let saved = loss_of_the_saved(&dir);
    assert!(
        (saved - best).abs() < 0.01 * best,
        "{saved}, not {best}: {evals:?}"
    );
    assert!(
        evals.last().unwrap().1 > 1.05 * best,
        "the last is not the best: {evals:?}"
    );
    assert!(
        said.contains(&format!("{best:.4} at best, after step {}", evals[at].0)),
        "{said}"
    );
}

#[test]
fn held_out_numbers_that_are_lost_end_the_run() {
    let dir = Dir::new();
    let run = dir.run(&["--learningrate=1e30", "--max_epochs=0.03", &eval()]);
    let error = String::from_utf8(run.stderr).unwrap();
    assert_eq!(run.status.code(), Some(1));
    assert!(
        error.contains("held-out") && error.contains("lower --learningrate"),
        "{error}"
    );
}

#[test]
fn a_share_of_the_data_is_put_aside_and_not_learnt_from() {
    let dir = Dir::new();
    let said = dir.succeeds(&[
        "--eval_split=0.25",
        "--max_epochs=0.1",
        "--eval_every=0",
        "--log_file=log",
    ]);
    assert!(
        said.contains("eval   75 of the examples, which are not learnt from"),
        "{said}"
    );
    assert!(
        said.contains("train  2 steps of 8 examples"),
        "0.1 of 225 examples: {said}"
    );
    assert_eq!(evaluations(&dir).len(), 2);
    dir.write("one.jsonl", "{\"input\": \"a\", \"output\": \"b\"}\n");
    dir.refuses(
        &["--data_path=one.jsonl", "--eval_split=0.5"],
        1,
        &["--eval_split 0.5", "1 examples"],
    );
    dir.write("bad.jsonl", "{\"input\": \"a\"}\n");
    dir.refuses(
        &["--eval_path=bad.jsonl"],
        1,
        &["--eval_path", "bad.jsonl", "line 1"],
    );
}

#[test]
fn a_run_shows_itself_as_a_page_and_to_tensorboard() {
    let dir = Dir::new();
    dir.write("page.html", "my notes");
    dir.refuses(
        &["--report=page.html"],
        1,
        &["page.html", "no report of ours"],
    );
    dir.write("other.html", "<!DOCTYPE html><title>mine</title>");
    dir.refuses(
        &["--report=other.html"],
        1,
        &["other.html", "no report of ours"],
    );
    dir.refuses(&["--report=."], 1, &["it is a directory"]);
    dir.refuses(
        &["--tensorboard=page.html"],
        1,
        &["--tensorboard", "no directory"],
    );
    dir.refuses(&["--report=state.loss.svg"], 1, &["loss curve"]);
    dir.refuses(&["--report=log", "--log_file=log"], 1, &["--log_file"]);
    dir.refuses(
        &["--report=none/page.html"],
        1,
        &["--report none/page.html", "no directory"],
    );
    for generation in GENERATIONS {
        let dir = Dir::new();
        let model = generation.model().display().to_string();
        let flags = [
            "--max_epochs=0.1",
            "--report=run.html",
            "--tensorboard=board",
            "--model_location",
            &model,
            &eval(),
        ];
        for _ in 0..2 {
            dir.succeeds(&flags);
        }
        let page = fs::read_to_string(dir.path("run.html")).unwrap();
        for words in ["held-out", "--learningrate", "Arr, that be", "4 layers"] {
            assert!(page.contains(words), "{words}");
        }
        assert_eq!(
            fs::read_dir(dir.path("board")).unwrap().count(),
            2,
            "a file for each run"
        );
    }
}
