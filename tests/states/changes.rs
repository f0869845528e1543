//! What `convert` does to a state on the way: folding, scaling, mixing, and what a format loses.

use super::*;

#[test]
fn a_folded_state_continues_as_the_soft_prompt_would() {
    for generation in GENERATIONS {
        folds(generation);
    }
}

fn folds(generation: Generation) {
    let dir = Dir::new();
    let (model, [tuned, tiny_model]) = (model_of(generation), files_of(generation));
    let whole = state_file::open(Path::new(&tuned), None).unwrap().state;
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
            &tuned,
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
    for generation in GENERATIONS {
        scales_and_mixes(generation);
    }
}

fn scales_and_mixes(generation: Generation) {
    let dir = Dir::new();
    let zero = State::zeros(model_of(generation).config()).unwrap();
    state_file::write(&dir.path("zero"), &zero, Element::F32, Format::STATE, None).unwrap();
    let [tuned, model] = files_of(generation);
    let whole = state_file::open(Path::new(&tuned), None).unwrap().state;
    // Nothing else tells which way round a live state's matrices stand.
    refuses(
        &dir,
        &["convert", &tuned, "twice", "--to=rwkv-live"],
        &["[value, key] for RWKV-7", "--model"],
    );
    let to_live = ["--to=rwkv-live", "--model", &model];
    let convert = |files: &[&str], more: &[&str]| {
        does(&dir, &[&["convert"], files, &to_live, more].concat());
    };
    convert(&[&tuned, "twice"], &["--state_scale=2"]);
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
    convert(&[&tuned, "bare"], &[]);
    convert(&["zero", "bare", "mixed"], &["--mix=0.25"]);
    assert_eq!(read("mixed"), times(0.25));
    // A file of another program has no tag, so the model at hand tells; ours has, and is read the
    // same with a model and without.
    does(
        &dir,
        &["convert", "bare", "back", "--to=state", "--model", &model],
    );
    assert_eq!(read("back"), times(1.0));
}
