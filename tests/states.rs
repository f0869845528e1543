//! `state-tune convert` and `inspect`, as a person uses them, on the tiny model and a state tuned on it.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use candle_core::Tensor;
use common::Dir;
use state_tune::model::{ModelFile, Rwkv, State};
use state_tune::ops::linear::Product;
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
    let checkpoint = ModelFile::open(Path::new(&tiny("model.pth"))).unwrap();
    Rwkv::load(&checkpoint, Product::F32).unwrap()
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

#[test]
fn through_every_format_and_back() {
    let dir = Dir::new();
    let (tuned, tiny_model) = (tuned(), tiny("model.pth"));
    let original = state_file::open(Path::new(&tuned), None).unwrap().state;
    for format in FORMATS {
        let name = format.name();
        let said = does(
            &dir,
            &[
                "convert",
                &tuned,
                name,
                "--to",
                name,
                "--model",
                &tiny_model,
            ],
        );
        let keeps_all = format == Format::STATE;
        assert_eq!(said.contains("lost   "), !keeps_all, "{said}");
        let back = format!("{name}.back");
        does(&dir, &["convert", name, &back, "--to=state"]);
        let back = state_file::open(&dir.path(&back), Some(Format::STATE))
            .unwrap()
            .state;
        // Matrices of 32 bits go through types of 16, but for two formats.
        let is_exact = [Format::STATE, Format::RWKV_LIVE].contains(&format);
        let tolerance = if is_exact { 0.0 } else { 4e-3 };
        let apart = distance(&flat(&back.wkv), &flat(&original.wkv));
        assert!(apart <= tolerance, "{name}: {apart}");
        let has_shifts = !format
            .loses(&original)
            .unwrap()
            .contains(&"the token shifts");
        let shifts = if has_shifts {
            flat(&original.shifts)
        } else {
            vec![0.0; flat(&original.shifts).len()]
        };
        assert_eq!(flat(&back.shifts), shifts, "{name}");
        let said = does(&dir, &["inspect", name]);
        assert!(said.contains(&format!("state        {name}\n")), "{said}");
        assert!(
            said.contains(&format!("fingerprint {}", model().fingerprint())),
            "{said}"
        );
    }
}

#[test]
fn a_folded_state_continues_as_the_soft_prompt_would() {
    let dir = Dir::new();
    let (model, tiny_model) = (model(), tiny("model.pth"));
    let whole = state_file::open(Path::new(&tuned()), None).unwrap().state;
    assert!(whole.soft_prompt.is_some());
    let folded = model.fold(&whole).unwrap();
    assert!(folded.soft_prompt.is_none());
    let apart = distance(&logits(&model, &folded), &logits(&model, &whole));
    assert!(apart < 1e-5, "{apart}");
    // A wrong start would show: without the soft prompt the same state gives something else.
    let without = State {
        soft_prompt: None,
        ..whole.clone()
    };
    assert!(distance(&logits(&model, &without), &logits(&model, &whole)) > 1e-3);

    // By the command line: the rwkv package's format is of 32 bits, and loses nothing of it.
    let said = does(
        &dir,
        &[
            "convert",
            &tuned(),
            "live.pth",
            "--to=rwkv-live",
            "--model",
            &tiny_model,
            "--fold",
        ],
    );
    assert!(!said.contains("lost"), "{said}");
    let live = state_file::read(&dir.path("live.pth"), model.config()).unwrap();
    assert!(distance(&logits(&model, &live), &logits(&model, &whole)) < 1e-5);
}

#[test]
fn what_a_format_loses_is_measured_on_data() {
    let dir = Dir::new();
    let (tiny_model, eval) = (tiny("model.pth"), tiny("eval.jsonl"));
    let arguments = [
        "convert",
        &tuned(),
        "t.pth",
        "--to=time_state",
        "--model",
        &tiny_model,
        "--data_path",
        &eval,
    ];
    let said = does(&dir, &arguments);
    let losses = said.split("the loss goes from ").nth(1).unwrap();
    let mut numbers = losses
        .split([' ', '('])
        .filter_map(|word| word.parse::<f64>().ok());
    let (before, after) = (numbers.next().unwrap(), numbers.next().unwrap());
    assert!(after > before && before < 0.1, "{said}");
    assert!(
        said.contains("--fold") && said.contains("--tune wkv"),
        "{said}"
    );
}

#[test]
fn states_are_scaled_and_mixed() {
    let dir = Dir::new();
    let zero = State::zeros(model().config()).unwrap();
    state_file::write(&dir.path("zero"), &zero, Element::F32, Format::STATE, None).unwrap();
    let tuned = tuned();
    let whole = state_file::open(Path::new(&tuned), None).unwrap().state;
    does(
        &dir,
        &[
            "convert",
            &tuned,
            "twice",
            "--to=rwkv-live",
            "--state_scale=2",
        ],
    );
    let read = |name: &str| flat(&state_file::open(&dir.path(name), None).unwrap().state.wkv);
    let times = |factor: f32| {
        flat(&whole.wkv)
            .iter()
            .map(|x| x * factor)
            .collect::<Vec<_>>()
    };
    assert_eq!(read("twice"), times(2.0));
    refuses(
        &dir,
        &[
            "convert",
            "zero",
            &tuned,
            "mixed",
            "--to=rwkv-live",
            "--mix=0.25",
        ],
        &["soft prompt"],
    );
    does(&dir, &["convert", &tuned, "bare", "--to=rwkv-live"]);
    does(
        &dir,
        &[
            "convert",
            "zero",
            "bare",
            "mixed",
            "--to=rwkv-live",
            "--mix=0.25",
        ],
    );
    assert_eq!(read("mixed"), times(0.25));
}

#[test]
fn what_does_not_belong_together_is_refused() {
    let dir = Dir::new();
    let (tuned, tiny_model) = (tuned(), tiny("model.pth"));
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let other_model = golden.join("model_5.2.pth").display().to_string();
    refuses(&dir, &["convert", &tuned, "o", "--to=model"], &["--model"]);
    refuses(
        &dir,
        &["convert", &tuned, "o", "--to=original", "--fold"],
        &["--model"],
    );
    let fits = ["does not fit the model", "time_shifts"];
    refuses(
        &dir,
        &[
            "convert",
            &tuned,
            "o",
            "--to=state",
            "--model",
            &other_model,
        ],
        &fits,
    );
    refuses(&dir, &["convert", "none", "o", "--to=state"], &["none"]);
    refuses(&dir, &["convert", &tuned, "no/o", "--to=state"], &["no"]);
    refuses(
        &dir,
        &["convert", &tiny_model, "o", "--to=state"],
        &["a model without a state"],
    );
    dir.write("o", "mine");
    refuses(
        &dir,
        &["convert", &tuned, "o", "--to=state"],
        &["there already"],
    );
    refuses(
        &dir,
        &["convert", "o", "o", "--to=state"],
        &["also an input"],
    );
    refuses(
        &dir,
        &["inspect", "o"],
        &["neither as a state", "nor as a model"],
    );
    refuses(&dir, &["inspect", "none"], &["none"]);
    let said = does(&dir, &["inspect", &tiny_model]);
    assert!(
        said.contains("RWKV-5.2") && said.contains(model().fingerprint()),
        "{said}"
    );

    // A state that says it was tuned on another model of the same shape.
    let state = state_file::open(Path::new(&tuned), None).unwrap().state;
    let path = dir.path("foreign.pth");
    state_file::write(&path, &state, Element::Bf16, Format::STATE, Some("f00d")).unwrap();
    let words = ["another model", "f00d", "--force"];
    refuses(
        &dir,
        &[
            "convert",
            "foreign.pth",
            "p",
            "--to=original",
            "--model",
            &tiny_model,
        ],
        &words,
    );
    let answer = [
        "--prompt=user: hi\n\nassistant:",
        "--save_filename=foreign.pth",
        "--max_tokens=3",
    ];
    let run = dir.run(&answer);
    let error = String::from_utf8(run.stderr).unwrap();
    assert!(
        run.status.code() == Some(1) && words.iter().all(|word| error.contains(word)),
        "{error}"
    );
    assert!(
        dir.run(&[&answer[..], &["--force"]].concat())
            .status
            .success()
    );
    // Nor does training replace it.
    let run = dir.run(&["--save_filename=foreign.pth", "--max_epochs=0.1"]);
    let error = String::from_utf8(run.stderr).unwrap();
    assert!(
        run.status.code() == Some(1) && error.contains("is not replaced"),
        "{error}"
    );
}

#[test]
fn states_of_two_models_are_not_mixed() {
    let dir = Dir::new();
    let state = state_file::open(Path::new(&tuned()), None).unwrap().state;
    for (name, model) in [("a", Some("f00d")), ("b", Some("beef")), ("c", None)] {
        state_file::write(&dir.path(name), &state, Element::F32, Format::STATE, model).unwrap();
    }
    refuses(
        &dir,
        &["convert", "a", "b", "o", "--to=state", "--mix=0.5"],
        &["cannot mix", "f00d", "beef"],
    );
    for (other, known) in [("a", Some("f00d")), ("c", None)] {
        let out = format!("a{other}");
        does(
            &dir,
            &["convert", "a", other, &out, "--to=state", "--mix=0.5"],
        );
        let found = state_file::open(&dir.path(&out), None).unwrap();
        assert_eq!(found.model(), known);
    }
}

#[test]
#[cfg(unix)]
fn no_input_is_replaced_and_no_pipe_is_waited_for() {
    let dir = Dir::new();
    let (tuned, tiny_model) = (tuned(), tiny("model.pth"));
    fs::copy(tiny("eval.jsonl"), dir.path("d.jsonl")).unwrap();
    let data = [
        "convert",
        &tuned,
        "d.jsonl",
        "--to=state",
        "--model",
        &tiny_model,
        "--data_path=d.jsonl",
    ];
    refuses(&dir, &data, &["also an input"]);
    let made = Command::new("mkfifo").arg(dir.path("pipe")).status();
    if made.is_ok_and(|made| made.success()) {
        refuses(
            &dir,
            &["convert", "pipe", "o", "--to=state"],
            &["special file"],
        );
        refuses(
            &dir,
            &["convert", &tuned, "pipe", "--to=state"],
            &["there already"],
        );
        refuses(
            &dir,
            &["convert", &tuned, "o", "--to=model", "--model=pipe"],
            &["special file"],
        );
    }
    fs::create_dir(dir.path("large")).unwrap();
    std::os::unix::fs::symlink("large/o", dir.path("link")).unwrap();
    does(&dir, &["convert", &tuned, "link", "--to=state"]);
    assert!(dir.path("link").is_symlink() && dir.path("large/o").is_file());
}

#[test]
fn a_new_state_knows_its_model() {
    let dir = Dir::new();
    dir.succeeds(&["--max_epochs=0.05"]);
    let found = state_file::open(&dir.path("state.pth"), None).unwrap();
    assert_eq!(
        found.tag.unwrap().model.as_deref(),
        Some(model().fingerprint())
    );
}

#[test]
fn python_loads_every_format_and_the_rwkv_package_answers_alike() {
    let Some(python) = std::env::var_os("ORACLE_PYTHON") else {
        println!("skipped: ORACLE_PYTHON names no Python with torch, safetensors and rwkv");
        return;
    };
    let dir = Dir::new();
    let (tuned, tiny_model) = (tuned(), tiny("model.pth"));
    for format in FORMATS {
        let name = format.name();
        let end = if format == Format::WEB_RWKV {
            "st"
        } else {
            "pth"
        };
        let file = format!("{name}.{end}");
        does(
            &dir,
            &[
                "convert",
                &tuned,
                &file,
                "--to",
                name,
                "--model",
                &tiny_model,
                "--fold",
            ],
        );
    }
    // What the program itself makes of the files that the package will read.
    let model = model();
    for name in ["rwkv-live", "model"] {
        let state = state_file::read(&dir.path(&format!("{name}.pth")), model.config()).unwrap();
        let (last, _) = model
            .advance(&Tokenizer::world().encode(PROMPT), &state)
            .unwrap();
        dir.write(
            &format!("{name}.json"),
            serde_json::to_string(&last).unwrap(),
        );
    }
    let tokens = Tokenizer::world().encode(PROMPT);
    dir.write("tokens.json", serde_json::to_string(&tokens).unwrap());
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/oracle/check_states.py");
    let run = Command::new(python)
        .arg(script)
        .arg(dir.path(""))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&[run.stdout, run.stderr].concat()).into_owned();
    assert!(run.status.success(), "{said}");
    println!("{said}");
    fs::remove_file(dir.path("tokens.json")).unwrap();
}
