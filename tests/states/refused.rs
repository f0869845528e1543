//! What `convert` and `inspect` refuse: files that do not belong together, and outputs that are in
//! the way.

use super::*;

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
    let fits = ["does not fit the model", "layers, the model"];
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

/// `--force` does nothing about shapes, so it is not what they are told.
#[test]
fn what_force_does_not_help_does_not_name_it() {
    let dir = Dir::new();
    let [five, seven] = GENERATIONS;
    let small = Rwkv::open(&common::golden("model_7.pth"), ProductType::F32).unwrap();
    let states = [
        ("large", State::zeros(model().config()).unwrap(), "f00d"),
        ("small", State::zeros(small.config()).unwrap(), "rwkv7-beef"),
    ];
    for (name, state, model) in &states {
        let path = dir.path(name);
        state_file::write(&path, state, Element::F32, Format::STATE, Some(model)).unwrap();
    }
    let [[_, five], [_, seven]] = [five, seven].map(files_of);
    let data = ["--data_path=d.jsonl", "--prompt_formatter={input}"];
    dir.write("d.jsonl", "{\"input\": \"a\", \"output\": \"b\"}\n");
    let mix = ["convert", "large", "small", "o", "--to=state", "--mix=0.5"];
    let one = |model| ["convert", "small", "o", "--to=state", "--model", model];
    for (arguments, words) in [
        (&mix[..], ["cannot mix", "matrices of"]),
        (&one(&five), ["does not fit the model", "layers, the model"]),
        (
            &one(&seven),
            ["does not fit the model", "layers, the model"],
        ),
        (
            &["inspect", "small", "--model", &five],
            ["does not fit", "layers, the model"],
        ),
    ] {
        for force in [&[][..], &["--force"]] {
            let (code, _, error) = tool(&dir, &[arguments, force].concat());
            let is_told = words.iter().all(|word| error.contains(word));
            assert!(
                code == Some(1) && is_told && !error.contains("force"),
                "{error}"
            );
        }
    }
    let run = dir.run(&[&data[..], &["--init=./small"]].concat());
    let error = String::from_utf8(run.stderr).unwrap();
    assert!(
        error.contains("does not fit") && !error.contains("force"),
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
fn a_state_in_the_models_place_is_told_where_it_belongs() {
    let dir = Dir::new();
    let tuned = tuned();
    does(&dir, &["convert", &tuned, "dictionary", "--to=time_state"]);
    for (state, what) in [
        (
            tuned.as_str(),
            "it holds no dictionary of named tensors, and may be a state",
        ),
        ("dictionary", "it holds a state and no model"),
    ] {
        let said =
            |by: &str| format!("{what}; name the model that it belongs to, and the state by {by}");
        let model = ["--model", state];
        let inspect = [&["inspect", &tuned][..], &model].concat();
        refuses(&dir, &inspect, &[&said("FILE")]);
        let convert = [&["convert", &tuned, "o", "--to=original"][..], &model].concat();
        refuses(&dir, &convert, &[&said("IN")]);
        let location = format!("--model_location={state}");
        dir.refuses(&[&location], 1, &[&said("--init")]);
        let saved = format!("--save_filename={tuned}");
        dir.refuses(
            &[&location, &saved, "--prompt=a"],
            1,
            &[&said("--save_filename")],
        );
    }
}

#[test]
fn why_a_file_cannot_be_read_is_said_once() {
    let dir = Dir::new();
    dir.write("o", "mine");
    for (file, reason) in [("none", "No such file"), ("o", "it begins with")] {
        let (_, _, error) = tool(&dir, &["inspect", file]);
        assert_eq!(error.matches(reason).count(), 1, "{error}");
        assert!(
            error.contains("neither as a state nor as a model: "),
            "{error}"
        );
    }
}
