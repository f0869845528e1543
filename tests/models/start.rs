//! Starting points from files: `--init FILE`, and what becomes of a state that is replaced.

use super::*;
use state_tune::state_file::{self, Format};

const MODEL: [&str; 8] = [
    "--data_path=data.jsonl",
    "--prompt_formatter={input}",
    "--response_formatter={output}",
    "--dtype=f32",
    "--dataset_walk=sequential",
    "--batchsize=2",
    "--log_file=log",
    "--max_epochs=1",
];

/// Runs on the 5.2 model, and gives back the losses and what was said.
#[track_caller]
fn run(dir: &Dir, more: &[&str]) -> (Vec<f64>, String) {
    run_on("model_5.2.pth", dir, more)
}

#[track_caller]
fn run_on(model: &str, dir: &Dir, more: &[&str]) -> (Vec<f64>, String) {
    dir.write("data.jsonl", DATA);
    let _ = std::fs::remove_file(dir.path("log"));
    let model = golden(model).display().to_string();
    let said = dir.succeeds(&[&MODEL[..], &["--model_location", &model], more].concat());
    (losses(&dir.path("log")), said)
}

#[track_caller]
fn run_refused(dir: &Dir, more: &[&str], words: &[&str]) {
    dir.write("data.jsonl", DATA);
    let model = golden("model_5.2.pth").display().to_string();
    dir.refuses(
        &[&MODEL[..], &["--model_location", &model], more].concat(),
        1,
        words,
    );
}

#[test]
fn a_run_goes_on_from_a_state() {
    goes_on_from_a_state("model_5.2.pth", [2, 2, 32]);
    goes_on_from_a_state("model_7.pth", [3, 2, 32]);
}

fn goes_on_from_a_state(model: &str, [layers, heads, size]: [usize; 3]) {
    let dir = Dir::new();
    let run = |dir: &Dir, more: &[&str]| run_on(model, dir, more);
    // Matrices are saved in f32: what is learnt of them goes on to the last digit.
    let wkv = ["--tune=wkv", "--init=zeros", "--learningrate=0.05"];
    let (whole, _) = run(&dir, &[&wkv[..], &["--max_epochs=2"]].concat());
    let part = [
        "--tune=wkv",
        "--learningrate=0.05",
        "--save_filename=part.pth",
    ];
    run(&dir, &[&part[..], &["--init=zeros"]].concat());
    let (going_on, said) = run(
        &dir,
        &["--tune=wkv", "--init=part.pth", "--save_filename=more.pth"],
    );
    assert_eq!(going_on[0], whole[1]);
    assert!(said.contains("init   part.pth (state)\n"), "{said}");
    // Every format gives what it keeps, and says what it lacks.
    let tool = std::process::Command::new(env!("CARGO_BIN_EXE_state-tune"))
        .current_dir(dir.path(""))
        .args(["convert", "part.pth", "live.pth", "--to=rwkv-live"])
        .output();
    assert!(tool.unwrap().status.success());
    let (live, _) = run(
        &dir,
        &["--tune=wkv", "--init=live.pth", "--save_filename=live2.pth"],
    );
    assert_eq!(live[0], whole[1]);
    write_pth(
        &dir.path("time_state.pth"),
        time_states(layers, heads, size),
    );
    let (_, said) = run(&dir, &["--init=time_state.pth", "--save_filename=t.pth"]);
    let lacks = "init   time_state.pth (time_state); it has no soft prompt and no token shifts: zeros instead";
    assert!(said.contains(lacks), "{said}");
}

#[test]
fn a_soft_prompt_that_is_not_used_is_told() {
    let dir = Dir::new();
    run(&dir, &["--save_filename=whole.pth"]);
    let (_, said) = run(&dir, &["--tune=shift,wkv", "--init=whole.pth"]);
    assert!(
        said.contains("note   the soft prompt in whole.pth is not used") && said.contains("--fold"),
        "{said}"
    );
    let model = golden("model_5.2.pth").display().to_string();
    let more = ["--init=whole.pth", "--dry_run", "--model_location", &model];
    let said = dir.succeeds(&[&MODEL[..], &more].concat());
    assert!(said.contains("init   whole.pth (state)\n"), "{said}");
}

#[test]
fn a_state_that_does_not_suit_the_model_is_refused() {
    let dir = Dir::new();
    let tiny = golden("tiny_state.pth").display().to_string();
    run_refused(
        &dir,
        &["--init", &tiny],
        &["--init", "does not fit the model"],
    );
    run_refused(
        &dir,
        &["--init=nowhere.pth"],
        &["--init nowhere.pth does not exist", "zeros"],
    );
    let model = golden("model_5.2.pth").display().to_string();
    run_refused(
        &dir,
        &["--init", &model],
        &["--init", "a model without a state"],
    );
    let zeros = State::zeros(open(&golden("model_5.2.pth")).config()).unwrap();
    for (name, fingerprint, word) in [
        ("f.pth", "f00d", "another model of this shape"),
        ("7.pth", "rwkv7-f00d", "tuned on an RWKV-7 model"),
    ] {
        let path = dir.path(name);
        state_file::write(
            &path,
            &zeros,
            Element::Bf16,
            Format::STATE,
            Some(fingerprint),
        )
        .unwrap();
        run_refused(&dir, &["--init", name], &["--init", word, "--force"]);
        run(
            &dir,
            &[
                "--init",
                name,
                "--force",
                "--tune=wkv",
                "--save_filename=s.pth",
            ],
        );
    }
}

#[test]
fn a_run_that_goes_on_has_what_it_started_from() {
    let dir = Dir::new();
    run(&dir, &["--tune=wkv", "--save_filename=first.pth"]);
    let goes_on = ["--tune=wkv", "--init=first.pth", "--learningrate=0.05"];
    let (whole, _) = run(
        &dir,
        &[&goes_on[..], &["--max_epochs=3", "--save_filename=w.pth"]].concat(),
    );
    run(&dir, &goes_on);
    std::fs::remove_file(dir.path("first.pth")).unwrap();
    let resumed = [&goes_on[..], &["--max_epochs=3", "--resume"]].concat();
    let (rest, said) = run(&dir, &resumed);
    assert_eq!(rest, whole[1..]);
    assert!(
        said.contains("resume state.pth.ckpt") && !said.contains("\ninit "),
        "{said}"
    );
    // Only a run that goes on has it.
    std::fs::remove_file(dir.path("state.pth.ckpt")).unwrap();
    run_refused(&dir, &resumed, &["--init first.pth does not exist"]);
}

#[test]
fn a_state_that_cannot_be_kept_is_not_replaced() {
    let dir = Dir::new();
    run(&dir, &["--init=random"]);
    let first = std::fs::read(dir.path("state.pth")).unwrap();
    std::os::unix::fs::symlink("/proc/nowhere/x", dir.path("state.pth.old")).unwrap();
    run_refused(&dir, &[], &["state.pth.old", "/proc/nowhere"]);
    assert!(std::fs::read(dir.path("state.pth")).unwrap() == first);
}

#[test]
fn a_state_that_can_no_longer_be_kept_is_not_replaced() {
    let dir = Dir::new();
    run(&dir, &["--init=random"]);
    let first = std::fs::read(dir.path("state.pth")).unwrap();
    std::fs::remove_file(dir.path("state.pth.ckpt")).unwrap();
    std::fs::remove_file(dir.path("log")).unwrap();
    dir.write("state.pth.new", "mine");
    let model = golden("model_5.2.pth").display().to_string();
    let long = [
        "--init=zeros",
        "--max_epochs=100000",
        "--model_location",
        &model,
    ];
    let mut long = dir.command(&[&MODEL[..], &long].concat());
    let piped = || std::process::Stdio::piped();
    let mut long = long.stdout(piped()).stderr(piped()).spawn().unwrap();
    common::first_step(&mut long, &dir.path("log"));
    std::fs::create_dir_all(dir.path("state.pth.old/in_the_way")).unwrap();
    common::signal(&long, "INT");
    let long = long.wait_with_output().unwrap();
    let error = String::from_utf8(long.stderr).unwrap();
    let words = [
        "cannot keep the earlier state",
        "state.pth is not replaced",
        "state.pth.new2",
    ];
    assert!(words.iter().all(|word| error.contains(word)), "{error}");
    assert_eq!(long.status.code(), Some(1));
    assert!(std::fs::read(dir.path("state.pth")).unwrap() == first);
    assert_eq!(std::fs::read(dir.path("state.pth.new")).unwrap(), b"mine");
    let config = *open(&golden("model_5.2.pth")).config();
    state_file::read(&dir.path("state.pth.new2"), &config).unwrap();
    // A run that goes on would take the state for its own.
    assert!(!dir.path("state.pth.ckpt").exists());
}

/// The parts of a run replace their own state; the first part's is that of an earlier run.
#[test]
fn a_state_is_kept_by_a_run_that_is_killed_and_goes_on() {
    let dir = Dir::new();
    run(&dir, &["--init=random"]);
    let first = std::fs::read(dir.path("state.pth")).unwrap();
    let _ = std::fs::remove_file(dir.path("log"));
    let model = golden("model_5.2.pth").display().to_string();
    let more = [
        "--init=zeros",
        "--max_epochs=100000",
        "--save_every=0",
        "--model_location",
        &model,
    ];
    let mut killed = dir.command(&[&MODEL[..], &more].concat());
    let mut killed = killed.stdout(std::process::Stdio::null()).spawn().unwrap();
    common::first_step(&mut killed, &dir.path("log"));
    while !dir.path("state.pth.ckpt").exists() {
        assert!(killed.try_wait().unwrap().is_none(), "it ended");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    killed.kill().unwrap();
    killed.wait().unwrap();
    let resumed = [
        "--init=zeros",
        "--resume",
        "--max_time=1",
        "--max_epochs=100000",
    ];
    run(&dir, &resumed);
    assert!(std::fs::read(dir.path("state.pth")).unwrap() != first);
    assert!(std::fs::read(dir.path("state.pth.old")).unwrap() == first);
}

#[test]
fn a_file_may_be_called_like_a_word() {
    let dir = Dir::new();
    run(&dir, &["--tune=wkv", "--save_filename=zeros"]);
    let (_, said) = run(&dir, &["--tune=wkv", "--init=./zeros"]);
    assert!(said.contains("init   ./zeros (state)"), "{said}");
    let (from_word, said) = run(
        &dir,
        &["--tune=wkv", "--init=zeros", "--save_filename=s.pth"],
    );
    assert!(!said.contains("init "), "{said}");
    assert!((from_word[0] - LOSS).abs() < 1e-6);
}

#[test]
fn a_state_that_is_replaced_is_kept_once() {
    let dir = Dir::new();
    let read = |name: &str| std::fs::read(dir.path(name)).unwrap();
    run(&dir, &["--init=random"]);
    assert!(!dir.path("state.pth.old").exists());
    let first = read("state.pth");
    let (_, said) = run(&dir, &["--init=state.pth"]);
    assert!(
        said.contains(
            "state.pth is there already and will be replaced; it is kept as state.pth.old"
        ),
        "{said}"
    );
    let second = read("state.pth");
    assert!(read("state.pth.old") == first && second != first);
    // The parts of one run replace their own state, and begin where the whole began.
    let (_, said) = run(&dir, &["--init=state.pth", "--resume", "--max_epochs=3"]);
    assert!(said.contains("will be replaced\n"), "{said}");
    assert!(read("state.pth.old") == first && read("state.pth") != second);
    run_refused(
        &dir,
        &["--init=state.pth.old"],
        &["--init state.pth.old", "another name"],
    );
    run_refused(
        &dir,
        &["--init=zeros", "--resume", "--max_epochs=4"],
        &["it says --tune softprompt,shift,wkv --init state.pth"],
    );
    dir.write("state.pth.old", "mine");
    run_refused(&dir, &[], &["state.pth.old is no state", "move it away"]);
    assert_eq!(read("state.pth.old"), b"mine");
}
