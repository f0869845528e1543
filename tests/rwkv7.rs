//! RWKV-7 by the program, as a person uses it: trained, resumed, answered from, converted, refused.
//! The numbers are held against the reference by `golden.rs`.

mod common;

use std::fs;

use common::{Dir, golden, losses};
use state_tune::model::{ModelFile, Rwkv, State};
use state_tune::ops::linear::ProductType;
use state_tune::state_file::{self, FORMATS, Format};
use state_tune::tensors::Element;
use state_tune::tensors::pth::{self, Value};

/// Control characters, of which the vocabulary joins no two: the model knows 160 tokens.
const DATA: &str = "{\"input\": \"\\u0001\\u0002\\u0003\", \"output\": \"\\u0004\\u0005\"}\n\
                    {\"input\": \"\", \"output\": \"\\u0006\\u0007\\u0001\\u0003\"}\n\
                    {\"input\": \"\\u0002\", \"output\": \"\\u0008\"}\n\
                    {\"input\": \"\\u0005\\u0004\", \"output\": \"\\u0001\\u0001\\u0001\"}\n";

const FLAGS: [&str; 6] = [
    "--data_path=data.jsonl",
    "--prompt_formatter={input}",
    "--response_formatter={output}",
    "--batchsize=3",
    "--learningrate=0.05",
    "--init=random",
];

fn model() -> String {
    golden("model_7.pth").display().to_string()
}

fn loaded() -> Rwkv {
    Rwkv::load(
        &ModelFile::open(&golden("model_7.pth")).unwrap(),
        ProductType::F32,
    )
    .unwrap()
}

/// A directory with the data.
fn prepared() -> Dir {
    let dir = Dir::new();
    dir.write("data.jsonl", DATA);
    dir
}

/// Trains with these flags beside the usual ones, and gives back what was said.
fn trains(dir: &Dir, more: &[&str]) -> String {
    let model = model();
    let mut flags = vec!["--model_location", &model];
    flags.extend(FLAGS);
    flags.extend(more);
    dir.succeeds(&flags)
}

fn state(dir: &Dir) -> Vec<u8> {
    fs::read(dir.path("state.pth")).unwrap()
}

#[test]
fn a_run_in_two_parts_ends_as_one() {
    for recompute in ["never", "always"] {
        let recompute = ["--save_every=0", "--recompute", recompute];
        let (whole, parts) = (prepared(), prepared());
        let said = trains(
            &whole,
            &[&recompute[..], &["--max_epochs=8", "--log_file=log"]].concat(),
        );
        assert!(said.contains("RWKV-7, 3 layers"), "{said}");
        trains(&parts, &[&recompute[..], &["--max_epochs=3"]].concat());
        trains(
            &parts,
            &[&recompute[..], &["--max_epochs=8", "--resume"]].concat(),
        );
        assert!(state(&whole) == state(&parts), "{recompute:?}");
        let losses = losses(&whole.path("log"));
        assert!(losses[losses.len() - 1] < losses[0], "{losses:?}");
    }
}

#[test]
fn each_group_is_learnt_alone_and_each_kind_of_weights_serves() {
    let dir = prepared();
    for (i, flags) in [
        ["--tune", "wkv"],
        ["--tune", "shift"],
        ["--tune", "softprompt"],
        ["--weights", "bf16"],
        ["--weights", "int8"],
        ["--weights", "nf4"],
        ["--dtype", "bf16"],
    ]
    .into_iter()
    .enumerate()
    {
        let [log, save] = [format!("{i}.log"), format!("{i}.pth")];
        let files = ["--log_file", &log, "--save_filename", &save];
        trains(
            &dir,
            &[&flags[..], &files[..], &["--max_epochs=15"]].concat(),
        );
        let losses = losses(&dir.path(&log));
        assert!(
            losses[losses.len() - 1] < losses[0],
            "{flags:?}: {losses:?}"
        );
    }
}

#[test]
fn a_prompt_is_answered() {
    let dir = prepared();
    trains(&dir, &["--max_epochs=40"]);
    let model = model();
    let flags = [
        "--model_location",
        &model,
        "--prompt",
        "\u{2}",
        "--max_tokens=1",
    ];
    let said = dir.succeeds(&flags);
    let tuned = said.split("== tuned state ==\n").nth(1).unwrap();
    assert!(tuned.starts_with('\u{8}'), "{said:?}");
}

/// A state of fewer layers is no state of this model.
#[test]
fn a_state_of_fewer_layers_is_refused() {
    let model = loaded();
    let whole = State::zeros(model.config()).unwrap();
    let layers = whole.layers().unwrap();
    let short = State::from_layers(None, &layers[1..]).unwrap();
    let error = model.advance(&[3], &short).unwrap_err().to_string();
    assert!(error.contains("layers for a model of"), "{error}");
}

/// A state with numbers of its own in every place, that says which model it is of.
fn of_this_model(dir: &Dir) -> State {
    let model = loaded();
    let (_, state) = model
        .advance(&[3, 1, 4, 1, 5], &State::zeros(model.config()).unwrap())
        .unwrap();
    let path = dir.path("state.pth");
    let tag = Some(model.fingerprint());
    state_file::write(&path, &state, Element::F32, Format::STATE, tag).unwrap();
    state
}

fn flat(state: &State) -> Vec<f32> {
    state.wkv.flatten_all().unwrap().to_vec1().unwrap()
}

#[test]
fn states_go_through_every_format_and_back() {
    let (dir, model) = (Dir::new(), loaded());
    let state = of_this_model(&dir);
    for format in FORMATS {
        let (name, back) = (format.name(), format!("{}.back", format.name()));
        let path = golden("model_7.pth").display().to_string();
        let to = ["convert", "state.pth", name, "--to", name];
        let said = tool(&dir, &[&to[..], &["--model", &path]].concat());
        let is_ignored = said.contains("the rwkv package ignores a state in an RWKV-7 model");
        assert_eq!(is_ignored, format == Format::MODEL, "{said}");
        // Its tag tells which way it stands, and nobody has to assume it.
        let said = tool(&dir, &["convert", name, &back, "--to=state"]);
        assert!(!said.contains("note"), "{said}");
        let back = state_file::read(&dir.path(&back), model.config()).unwrap();
        let largest = flat(&state)
            .iter()
            .fold(0.0f32, |most, x| most.max(x.abs()));
        for (got, want) in flat(&back).iter().zip(flat(&state)) {
            assert!((got - want).abs() <= 4e-3 * largest, "{name}: {got} {want}");
        }
    }
}

/// In the rwkv package's running state a matrix is [value, key] for RWKV-7, and [key, value] for
/// RWKV-5.
#[test]
fn a_running_state_stands_as_its_models_generation_has_it() {
    let (dir, model) = (Dir::new(), loaded());
    let state = of_this_model(&dir);
    tool(&dir, &["convert", "state.pth", "live", "--to=rwkv-live"]);
    let live = pth::read(&dir.path("live")).unwrap();
    let Value::List(items) = live else {
        panic!("a list")
    };
    let Value::Tensor(first) = &items[1] else {
        panic!("a tensor")
    };
    let turned = state.wkv.get(0).unwrap().transpose(1, 2).unwrap();
    let want: Vec<f32> = turned.flatten_all().unwrap().to_vec1().unwrap();
    assert_eq!(Element::F32.decode(&first.bytes), want);

    // Without its tag the model tells, and without a model RWKV-5 is assumed, in so many words.
    let untagged = Value::List(items);
    pth::write(&dir.path("bare"), &untagged).unwrap();
    let path = golden("model_7.pth").display().to_string();
    let to_state = ["convert", "bare", "right", "--to=state"];
    let said = tool(&dir, &[&to_state[..], &["--model", &path]].concat());
    assert!(!said.contains("are taken as"), "{said}");
    let told = "bare does not name the model that it was tuned on; it is taken for --model's";
    assert!(said.contains(told), "{said}");
    let right = state_file::read(&dir.path("right"), model.config()).unwrap();
    assert_eq!(flat(&right), flat(&state));
    let said = tool(&dir, &["convert", "bare", "wrong", "--to=state"]);
    assert!(
        said.contains("taken as RWKV-5's") && said.contains("--model"),
        "{said}"
    );
    let wrong = state_file::read(&dir.path("wrong"), model.config()).unwrap();
    assert_ne!(flat(&wrong), flat(&state));
    // What it is mixed with tells, too.
    for (i, pair) in [["state.pth", "bare"], ["bare", "state.pth"]]
        .iter()
        .enumerate()
    {
        let mixed = format!("mixed{i}");
        let said = tool(
            &dir,
            &[
                "convert",
                pair[0],
                pair[1],
                &mixed,
                "--mix=0.5",
                "--to=state",
            ],
        );
        let told = "the matrices of bare are taken as RWKV-7's, as the other state is by its tag";
        assert!(said.contains(told), "{said}");
        let mixed = state_file::read(&dir.path(&mixed), model.config()).unwrap();
        assert_eq!(flat(&mixed), flat(&state));
    }
}

/// A tag tells how a file's matrices stand, whatever model they are held against.
#[test]
fn a_running_state_of_the_other_generation_is_read_as_its_own_has_it() {
    let dir = prepared();
    let state = of_this_model(&dir);
    let five = dir.path("five.pth");
    state_file::write(&five, &state, Element::F32, Format::STATE, Some("f00d")).unwrap();
    tool(
        &dir,
        &["convert", "five.pth", "five live", "--to=rwkv-live"],
    );
    let path = model();
    let losses = |state: &str, orders: [&str; 2]| {
        let held = ["--model", &path, "--data_path", "data.jsonl", "--force"];
        let plain = [
            "--prompt_formatter={input}",
            "--response_formatter={output}",
        ];
        let said = tool(&dir, &[&["inspect", state], &held[..], &plain].concat());
        let lines = said.lines().filter(|line| line.starts_with("loss"));
        let [_, as_it_is, turned] = lines.collect::<Vec<_>>()[..] else {
            panic!("three losses: {said}")
        };
        for (line, order) in [as_it_is, turned].into_iter().zip(orders) {
            assert!(line.ends_with(&format!("taken as {order}")), "{said}");
        }
        [as_it_is, turned].map(|line| line.split_whitespace().nth(1).unwrap().to_string())
    };
    let stored = losses("five.pth", ["[value, key]", "[key, value]"]);
    assert_eq!(
        losses("five live", ["[key, value]", "[value, key]"]),
        stored
    );
}

#[test]
fn a_state_of_the_other_generation_is_refused_with_the_reason() {
    let dir = prepared();
    let state = of_this_model(&dir);
    let model = model();
    let other = golden("model_5.2.pth").display().to_string();
    let prompt = ["--prompt=a", "--max_tokens=1", "--model_location"];
    // It has more layers, too, about which nothing can be done.
    let reason = [
        "tuned on an RWKV-7 model, and this is an RWKV-5 model",
        "does not fit the model",
    ];
    dir.refuses(&[&prompt[..], &[&other]].concat(), 1, &reason);
    // A tag of RWKV-5 on a state whose shapes are this model's.
    let path = dir.path("five.pth");
    state_file::write(&path, &state, Element::F32, Format::STATE, Some("f00d")).unwrap();
    let five = [&prompt[..], &[&model, "--save_filename=five.pth"]].concat();
    let reason = [
        "tuned on an RWKV-5 model, and this is an RWKV-7 model",
        "--force",
    ];
    dir.refuses(&five, 1, &reason);
    dir.succeeds(&[&five[..], &["--force"]].concat());
    // Where nothing tells, it is accepted.
    state_file::write(&path, &state, Element::F32, Format::STATE, None).unwrap();
    dir.succeeds(&five);
}

#[test]
fn inspect_says_what_the_model_is() {
    let (dir, path) = (Dir::new(), model());
    let said = tool(&dir, &["inspect", &path]);
    assert!(
        said.contains("RWKV-7, 3 layers, n_embd 64, 2 heads of 32") && said.contains("rwkv7-"),
        "{said}"
    );
}

/// Runs `convert` or `inspect` to a good end.
#[track_caller]
fn tool(dir: &Dir, arguments: &[&str]) -> String {
    let run = std::process::Command::new(env!("CARGO_BIN_EXE_state-tune"))
        .current_dir(dir.path(""))
        .args(arguments)
        .output()
        .unwrap();
    let error = String::from_utf8(run.stderr).unwrap();
    assert!(
        run.status.success() && error.is_empty(),
        "{arguments:?}: {error}"
    );
    String::from_utf8(run.stdout).unwrap()
}
