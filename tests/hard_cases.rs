//! What goes wrong in the field, against the real program: hostile models, loss that is no number, impatient users,
//! readers that leave, files that are one another.

mod common;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::Stdio;

use common::{Dir, golden, losses, tiny};
use state_tune::tensors::pth::{self, Value};

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

// What a run says and writes.

#[test]
fn the_log_counts_steps_epochs_tokens_and_time() {
    let dir = Dir::new();
    dir.write("data.jsonl", LINE.repeat(2));
    let flags = [
        "--data_path=data.jsonl",
        "--batchsize=1",
        "--max_epochs=2",
        "--log_file=log",
        "--tune=wkv",
        "--learningrate=0.25",
    ];
    dir.succeeds(&flags);
    let text = fs::read_to_string(dir.path("log")).unwrap();
    let steps: Vec<serde_json::Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let column = |key: &str| -> Vec<f64> {
        steps
            .iter()
            .map(|step| step[key].as_f64().unwrap())
            .collect()
    };
    assert_eq!(column("step"), [1.0, 2.0, 3.0, 4.0]);
    assert_eq!(column("epoch"), [1.0, 1.0, 2.0, 2.0]);
    assert_eq!(column("lr"), [0.25; 4]);
    assert_eq!(column("tokens"), [1.0; 4], "one token, \" b\", is learnt");
    assert!(column("seconds").is_sorted() && column("seconds")[0] > 0.0);
    assert!(column("tokens_per_s").iter().all(|&rate| rate > 0.0));
    assert_eq!(column("loss")[0], column("loss_avg")[0]);
    assert!(column("grad_norm_wkv").iter().all(|&norm| norm > 0.0));
    for step in &steps {
        assert!(
            step["grad_norm_softprompt"].is_null() && step["grad_norm_shift"].is_null(),
            "what is not tuned has no gradient: {step}"
        );
    }

    dir.succeeds(&flags);
    let again = fs::read_to_string(dir.path("log")).unwrap();
    assert!(again.starts_with(&text), "a further run's lines follow");
    assert_eq!(again.lines().count(), 8);
}

#[test]
fn in_order_no_seed_matters() {
    let data = [LINE, "{\"input\": \"c\", \"output\": \"d\"}\n"].concat();
    assert_eq!(
        losses_of(&data, &["--seed=1"]),
        losses_of(&data, &["--seed=2"])
    );
}

#[test]
fn both_answers_are_those_of_the_oracle() {
    let text = fs::read_to_string(golden("tiny_greedy.json")).unwrap();
    let cases: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
    let case = |key: &str| cases[0][key].as_str().unwrap();
    let dir = Dir::new();
    let state = golden("tiny_state.pth").display().to_string();
    let shown = dir.succeeds(&["--prompt", case("prompt"), "--save_filename", &state]);
    let (base, tuned) = (case("base"), case("tuned"));
    assert_eq!(
        shown,
        format!("== base model ==\n{base}\n\n== tuned state ==\n{tuned}\n")
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

#[test]
fn every_level_of_this_machine_learns_the_same() {
    for (dtype, allowed) in [("f32", 1e-5), ("bf16", 2e-3)] {
        let mut first: Option<Vec<f64>> = None;
        for level in ["plain", "avx2", "avx512", "avx512bf16", "amx"] {
            let dir = Dir::new();
            let flags = [
                "--cpu",
                level,
                "--dtype",
                dtype,
                "--max_epochs=0.1",
                "--log_file=log",
            ];
            let run = dir.run(&flags);
            if !run.status.success() {
                let error = String::from_utf8(run.stderr).unwrap();
                assert!(error.contains("this machine has no more than"), "{error}");
                println!("skipped: {}", error.trim());
                continue;
            }
            let losses = losses(&dir.path("log"));
            assert_eq!(losses.len(), 3);
            let first = first.get_or_insert_with(|| losses.clone());
            for (a, b) in losses.iter().zip(first) {
                assert!((a - *b).abs() <= allowed * *b, "{level} {dtype}: {a} {b}");
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
fn the_curve_takes_no_other_files_place() {
    let dir = Dir::new();
    fs::copy(tiny("model.pth"), dir.path("state.loss.svg")).unwrap();
    dir.refuses(
        &["--model_location=state.loss.svg"],
        1,
        &["state.loss.svg", "is no SVG picture"],
    );
    dir.write("state.loss.svg", "my notes");
    dir.refuses(&[], 1, &["state.loss.svg", "is no SVG picture"]);
    // An earlier run's curve may go.
    let dir = Dir::new();
    dir.succeeds(&["--max_epochs=0.01"]);
    dir.succeeds(&["--max_epochs=0.01"]);
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

#[cfg(target_os = "linux")]
#[test]
fn a_log_that_cannot_be_written_costs_no_state() {
    let dir = Dir::new();
    let run = dir.run(&["--log_file=/dev/full", "--max_epochs=0.1"]);
    let error = String::from_utf8(run.stderr).unwrap();
    assert_eq!(run.status.code(), Some(1));
    assert!(
        error.contains("/dev/full") && error.contains("state.pth"),
        "{error}"
    );
    let said = String::from_utf8(run.stdout).unwrap();
    assert!(
        said.contains("the run goes on") && said.contains("3 steps"),
        "{said}"
    );
    assert!(pth::read(&dir.path("state.pth")).is_ok());
}

#[cfg(unix)]
#[test]
fn a_pipe_for_a_model_is_named_and_not_waited_for() {
    let dir = Dir::new();
    let made = std::process::Command::new("mkfifo")
        .arg(dir.path("model.pth"))
        .status();
    if !made.is_ok_and(|status| status.success()) {
        println!("skipped: there is no mkfifo");
        return;
    }
    dir.refuses(
        &["--model_location=model.pth"],
        1,
        &["model.pth", "a special file"],
    );
}

#[test]
fn a_layer_number_out_of_line_is_named() {
    let dir = Dir::new();
    let mut entries = small_entries();
    let (_, some) = entries[0].clone();
    entries.push((Value::Str("blocks.18446744073709551615.x".into()), some));
    pth::write(&dir.path("model.pth"), &Value::Dict(entries)).unwrap();
    dir.refuses(
        &["--model_location=model.pth"],
        1,
        &["layer 18446744073709551615"],
    );
}

#[cfg(unix)]
#[test]
fn a_link_to_a_state_stays_a_link() {
    for there in [true, false] {
        let dir = Dir::new();
        if there {
            fs::copy(golden("tiny_state.pth"), dir.path("real.pth")).unwrap();
        }
        std::os::unix::fs::symlink("real.pth", dir.path("state.pth")).unwrap();
        dir.succeeds(&["--max_epochs=0.01"]);
        assert!(
            dir.path("state.pth").is_symlink() && pth::read(&dir.path("real.pth")).is_ok(),
            "with a file behind it: {there}"
        );
    }
}

// Runs that end early.

#[cfg(unix)]
#[test]
fn a_second_signal_stops_at_once_and_leaves_the_state_that_was_there() {
    let dir = Dir::new();
    fs::copy(golden("tiny_state.pth"), dir.path("state.pth")).unwrap();
    let before = fs::read(dir.path("state.pth")).unwrap();
    // Steps of a second and more, so that both signals fall into one.
    let mut run = dir
        .command(&["--batchsize=300", "--log_file=log"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    common::first_step(&mut run, &dir.path("log"));
    common::signal(&run, "INT");
    // Two signals that are under way together arrive in any order, so the first must have been answered.
    let mut said = BufReader::new(run.stdout.take().unwrap()).lines();
    assert!(said.any(|line| {
        line.unwrap()
            .starts_with("interrupted: finishing this step")
    }));
    common::signal(&run, "TERM");
    assert_eq!(run.wait().unwrap().code(), Some(143));
    assert_eq!(fs::read(dir.path("state.pth")).unwrap(), before);
    assert_eq!(dir.names(), ["log", "state.pth"]);
    assert_eq!(losses(&dir.path("log")).len(), 1, "it did not wait");
}

#[cfg(unix)]
#[test]
fn a_signal_lets_the_step_end_and_the_summary_says_so() {
    let dir = Dir::new();
    let mut run = dir
        .command(&["--batchsize=40", "--log_file=log"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    common::first_step(&mut run, &dir.path("log"));
    common::signal(&run, "INT");
    let run = run.wait_with_output().unwrap();
    assert_eq!(run.status.code(), Some(130));
    let said = String::from_utf8(run.stdout).unwrap();
    assert!(
        said.contains("interrupted") && said.contains("state.pth"),
        "{said}"
    );
    assert_eq!(
        dir.names(),
        ["log", "state.loss.svg", "state.pth", "state.pth.ckpt"]
    );
}

#[test]
fn a_reader_that_leaves_costs_no_state() {
    let dir = Dir::new();
    let state = golden("tiny_state.pth").display().to_string();
    for flags in [
        ["--max_epochs=0.1"].as_slice(),
        &["--prompt=user:", "--save_filename", &state],
    ] {
        let mut run = dir
            .command(flags)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(run.stdout.take());
        let run = run.wait_with_output().unwrap();
        let error = String::from_utf8(run.stderr).unwrap();
        assert!(
            run.status.success() && error.is_empty(),
            "{flags:?}: {error}"
        );
    }
    assert!(pth::read(&dir.path("state.pth")).is_ok());
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

// Models and states.

/// A pickle's text.
fn text(text: &str) -> Vec<u8> {
    [
        b"X",
        &(text.len() as u32).to_le_bytes()[..],
        text.as_bytes(),
    ]
    .concat()
}

/// A pickle's integers, in a tuple.
fn tuple(ints: &[i64]) -> Vec<u8> {
    let ints: Vec<u8> = ints.iter().flat_map(|&int| integer(int)).collect();
    [b"(", &ints[..], b"t"].concat()
}

fn integer(int: i64) -> Vec<u8> {
    [&[0x8a, 8], &int.to_le_bytes()[..]].concat()
}

/// The pickle of a dictionary of one tensor, in a storage that claims to have `count` floats.
fn tensor(count: i64, offset: i64, shape: &[i64], strides: &[i64]) -> Vec<u8> {
    [
        b"\x80\x02}".as_slice(),
        &text("emb.weight"),
        b"ctorch._utils\n_rebuild_tensor_v2\n((",
        &text("storage"),
        b"ctorch\nFloatStorage\n",
        &text("0"),
        &text("cpu"),
        &integer(count),
        b"tQ",
        &integer(offset),
        &tuple(shape),
        &tuple(strides),
        b"\x89ccollections\nOrderedDict\n)RtRs.",
    ]
    .concat()
}

/// A checkpoint of a pickle and a storage of four floats.
fn checkpoint(dir: &Dir, pickle: &[u8]) {
    let mut zip = zip::ZipWriter::new(fs::File::create(dir.path("model.pth")).unwrap());
    for (name, bytes) in [("a/data.pkl", pickle), ("a/data/0", &[0; 16])] {
        zip.start_file(name, zip::write::SimpleFileOptions::default())
            .unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap();
}

#[test]
fn a_hostile_model_is_refused_and_nothing_it_says_is_done() {
    let dir = Dir::new();
    let call = [
        b"\x80\x02cposix\nsystem\n",
        &text("touch owned")[..],
        b"\x85R.",
    ]
    .concat();
    let deep = [vec![b']'; 200_000], vec![b'a'; 199_999], vec![b'.']].concat();
    let far = 1 << 40;
    for (pickle, word) in [
        (call, "posix.system"),
        (tensor(4, 0, &[5], &[1]), "outside storage"),
        (tensor(4, 4, &[1], &[1]), "outside storage"),
        (tensor(4, 0, &[2, 2], &[-1, 1]), "storage"),
        (tensor(4000, 0, &[4000], &[1]), "16 bytes"),
        (tensor(4, 0, &[far, far], &[far, 1]), "storage"),
        (tensor(4, 0, &[far, 4], &[0, 1]), "too large"),
        (deep, "nested"),
        (b"\x80\x02]q\x00h\x00a.".to_vec(), "hold themselves"),
        (b"\x80\x02}".to_vec(), "ends at byte"),
    ] {
        checkpoint(&dir, &pickle);
        // Refused by name and reason; nothing else may appear in the directory.
        dir.refuses(&["--model_location=model.pth"], 1, &["model.pth", word]);
    }
}

#[test]
fn a_cut_or_foreign_safetensors_file_is_refused() {
    let dir = Dir::new();
    let whole = fs::read(golden("model_5.2_orig_mod.safetensors")).unwrap();
    dir.write("cut.safetensors", &whole[..whole.len() / 2]);
    dir.refuses(
        &["--model_location=cut.safetensors"],
        1,
        &["cut.safetensors"],
    );
    let state = golden("tiny_state.pth").display().to_string();
    dir.refuses(&["--model_location", &state], 1, &["state"]);
    let directory = dir.path("").display().to_string();
    dir.refuses(&["--model_location", &directory], 1, &["directory"]);
}

#[test]
fn a_state_of_another_model_is_refused_with_both_shapes_and_left_alone() {
    let dir = Dir::new();
    fs::copy(golden("tiny_state.pth"), dir.path("state.pth")).unwrap();
    dir.write("data.jsonl", LINE);
    let before = fs::read(dir.path("state.pth")).unwrap();
    let model = small_model();
    let both = ["state.pth", "[8, 128]", "[4, 64]"];
    dir.refuses(&["--model_location", &model, "--prompt=1"], 1, &both);
    let train = with(&["--model_location", &model, "--data_path=data.jsonl"]);
    dir.refuses(&train, 1, &both);
    assert_eq!(fs::read(dir.path("state.pth")).unwrap(), before);
}

#[test]
fn a_token_that_the_model_does_not_have_is_named() {
    let dir = Dir::new();
    let model = small_model();
    dir.write("data.jsonl", LINE.repeat(2));
    // The default prompt ends in words, which are tokens beyond 160.
    dir.refuses(
        &["--model_location", &model, "--data_path=data.jsonl"],
        1,
        &["data.jsonl", "line 1", "160 tokens"],
    );
    dir.succeeds(&with(&[
        "--model_location",
        &model,
        "--data_path=data.jsonl",
    ]));
    dir.refuses(
        &["--model_location", &model, "--prompt=words"],
        1,
        &["prompt", "160 tokens"],
    );
}

// Data.

#[test]
fn numbers_and_booleans_are_learnt_as_python_writes_them() {
    let of = |value: &str| {
        let data = format!("{{\"input\": {value}, \"output\": {value}}}\n");
        losses_of(&data, &[])
    };
    for (value, python) in [
        ("1", "1"),
        ("1.0", "1.0"),
        ("1e3", "1000.0"),
        ("true", "True"),
        ("false", "False"),
    ] {
        assert_eq!(of(value), of(&format!("\"{python}\"")), "{value}");
    }
    assert_ne!(of("1"), of("1.0"), "the loss can tell texts apart");
}

#[test]
fn a_mark_of_byte_order_carriage_returns_and_blank_lines_change_nothing() {
    let plain = LINE.repeat(2);
    let line = LINE.trim_end();
    let windows = format!("\u{feff}{line}\r\n\r\n \t\r\n{line}");
    assert_eq!(losses_of(&plain, &[]), losses_of(&windows, &[]));
}

#[test]
fn doubled_braces_are_braces() {
    let braces = losses_of(LINE, &["--response_formatter={{{output}}}"]);
    let data = "{\"input\": \"a\", \"output\": \"{b}\"}\n";
    assert_eq!(braces, losses_of(data, &["--response_formatter={output}"]));
}

#[test]
fn a_template_that_asks_for_what_no_line_has_is_told_the_keys() {
    let dir = Dir::new();
    dir.write("data.jsonl", LINE);
    dir.refuses(
        &["--data_path=data.jsonl", "--prompt_formatter={question}"],
        1,
        &["line 1", "`question`", "`input`", "`output`"],
    );
    // Keys come from a downloaded file: they must not break the line or speak to the terminal.
    dir.write("data.jsonl", "{\"a\\nb\\u001b[31m\": 1}\n");
    dir.refuses(&["--data_path=data.jsonl"], 1, &["line 1", "`input`"]);
    let error = dir.run(&["--data_path=data.jsonl"]).stderr;
    assert!(!error.contains(&0x1b));
}

#[test]
fn what_is_not_there_and_cannot_be_had_is_named() {
    let dir = Dir::new();
    // Nobody listens there. `tests/fetch` is about those who do.
    let nobody = "http://127.0.0.1:9/file";
    let model_url = format!("--model_url={nobody}");
    dir.refuses(
        &["--model_location=none.pth", &model_url],
        1,
        &["--model_location none.pth", "--model_url", nobody],
    );
    let data_url = format!("--data_url={nobody}");
    dir.refuses(
        &["--data_path=none.jsonl", &data_url],
        1,
        &["--data_path none.jsonl", "--data_url", nobody],
    );
    dir.refuses(
        &["--data_path=none.jsonl", "--huggingface_dataset="],
        1,
        &["--data_path none.jsonl does not exist"],
    );
    dir.refuses(
        &["--model_location=none.pth"],
        1,
        &["--model_location none.pth does not exist"],
    );
}

// Targets.

#[test]
fn the_log_has_a_file_of_its_own_however_it_is_spelt() {
    let dir = Dir::new();
    dir.write("data.jsonl", LINE);
    for (log, flag) in [
        ("data.jsonl", "--data_path"),
        ("./data.jsonl", "--data_path"),
        ("state.pth", "--save_filename"),
        ("./state.pth", "--save_filename"),
        // The loss curve's place: the log would be gone after an hour's training.
        ("state.loss.svg", "--save_filename"),
    ] {
        dir.refuses(
            &[
                "--data_path=data.jsonl",
                "--max_epochs=1",
                "--log_file",
                log,
            ],
            1,
            &["--log_file", log, flag],
        );
        assert_eq!(fs::read_to_string(dir.path("data.jsonl")).unwrap(), LINE);
    }
    dir.refuses(&["--log_file=none/log"], 1, &["--log_file none/log"]);
}

#[test]
fn a_curve_that_cannot_be_drawn_is_found_before_training() {
    let dir = Dir::new();
    fs::create_dir(dir.path("state.loss.svg")).unwrap();
    dir.refuses(&["--max_epochs=0.01"], 1, &["state.loss.svg"]);
}

#[test]
fn the_model_and_the_data_are_never_written_over() {
    let dir = Dir::new();
    fs::copy(tiny("model.pth"), dir.path("model.pth")).unwrap();
    dir.write("data.jsonl", LINE);
    let before = fs::read(dir.path("model.pth")).unwrap();
    for save in ["model.pth", "./model.pth", "data.jsonl"] {
        let flags = [
            "--model_location=model.pth",
            "--data_path=data.jsonl",
            "--save_filename",
            save,
        ];
        dir.refuses(&flags, 1, &["--save_filename", save]);
    }
    assert!(fs::read(dir.path("model.pth")).unwrap() == before);
    assert_eq!(fs::read_to_string(dir.path("data.jsonl")).unwrap(), LINE);
}

#[cfg(unix)]
#[test]
fn a_directory_that_may_not_be_written_is_found_before_training() {
    use std::os::unix::fs::PermissionsExt;
    let dir = Dir::new();
    let locked = dir.path("locked");
    fs::create_dir(&locked).unwrap();
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o555)).unwrap();
    // Root may write anywhere, so it cannot see this refusal.
    if fs::write(locked.join("probe"), "").is_err() {
        dir.refuses(
            &["--save_filename=locked/state.pth"],
            1,
            &["--save_filename locked/state.pth"],
        );
    }
}
