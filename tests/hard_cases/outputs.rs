//! Files that a run writes: the log, the curve, the state; and files that it must not replace.

use std::fs;

use state_tune::tensors::pth;

use crate::LINE;
use crate::common::{self, Dir, golden, tiny};

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

#[cfg(target_os = "linux")]
#[test]
fn output_that_cannot_be_shown_is_a_failure_whatever_was_asked_for() {
    use std::process::Command;

    let dir = Dir::new();
    dir.succeeds(&["--max_epochs=0.01", "--save_filename=s.pth"]);
    let tool = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_state-tune"));
        command.current_dir(dir.path("")).args(arguments);
        command
    };
    let prompt = ["--save_filename=s.pth", "--prompt=user:", "--max_tokens=2"];
    for command in [
        tool(&["--help"]),
        tool(&["--version"]),
        tool(&["inspect", "s.pth"]),
        tool(&["completions", "bash"]),
        tool(&["man"]),
        tool(&["convert", "s.pth", "t.pth", "--to=time_state"]),
        dir.command(&["--dry_run"]),
        dir.command(&prompt),
        dir.command(&["--max_epochs=0.01"]),
    ] {
        // A full disk, and none at all.
        for script in ["exec \"$@\" > /dev/full", "exec \"$@\" >&-"] {
            let run = common::under_shell(script, &command).output().unwrap();
            let error = String::from_utf8(run.stderr).unwrap();
            assert_eq!(run.status.code(), Some(1), "{command:?}: {error}");
            assert_eq!(error.lines().count(), 1, "{command:?}: {error}");
        }
    }
    // What was to be written to files is there all the same.
    assert!(pth::read(&dir.path("state.pth")).is_ok() && pth::read(&dir.path("t.pth")).is_ok());
}

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
fn the_curve_takes_no_other_files_place() {
    let dir = Dir::new();
    fs::copy(tiny("model.pth"), dir.path("state.loss.svg")).unwrap();
    dir.refuses(
        &["--model_location=state.loss.svg"],
        1,
        &["state.loss.svg", "loss curve", "is also --model_location"],
    );
    dir.write("state.loss.svg", "my notes");
    dir.refuses(&[], 1, &["state.loss.svg", "is no SVG picture"]);
    // An earlier run's curve may go.
    let dir = Dir::new();
    dir.succeeds(&["--max_epochs=0.01"]);
    dir.succeeds(&["--max_epochs=0.01"]);
}

#[test]
fn a_curve_that_cannot_be_drawn_is_found_before_training() {
    let dir = Dir::new();
    fs::create_dir(dir.path("state.loss.svg")).unwrap();
    dir.refuses(&["--max_epochs=0.01"], 1, &["state.loss.svg"]);
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

/// Small computers begin in 1970, or before it, until a network tells them the time.
#[cfg(target_os = "linux")]
#[test]
fn a_clock_before_1970_costs_no_file() {
    let dir = Dir::new();
    let library = dir.path("clock.so");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/hard_cases/clock.c");
    let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".to_string());
    let built = std::process::Command::new(compiler)
        .args(["-shared", "-fPIC", "-o"])
        .args([&library, std::path::Path::new(source)])
        .status()
        .unwrap();
    assert!(built.success());
    let run = |flags: &[&str]| {
        let run = dir
            .command(flags)
            .env("LD_PRELOAD", &library)
            .output()
            .unwrap();
        let error = String::from_utf8(run.stderr).unwrap();
        assert!(run.status.success() && error.is_empty(), "{error}");
    };
    let flags = [
        "--max_epochs=0.1",
        "--log_file=log",
        "--report=report.html",
        "--tensorboard=board",
    ];
    run(&flags);
    // A run finds what one before it left, whose times are of another clock.
    run(&flags);
    run(&["--max_epochs=0.2", "--resume"]);
    run(&["--prompt=user:", "--max_tokens=2"]);
    assert!(
        fs::read_to_string(dir.path("report.html"))
            .unwrap()
            .contains("</html>")
    );
    assert!(pth::read(&dir.path("state.pth")).is_ok());
    let boards: Vec<String> = fs::read_dir(dir.path("board"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(
        boards.iter().all(|name| name.contains(".0000000000.")) && boards.len() == 2,
        "the clock was turned back: {boards:?}"
    );
}

/// What a run will write is known before it begins.
#[cfg(unix)]
#[test]
fn a_limit_on_files_that_no_checkpoint_fits_in_is_found_before_training() {
    let limited = |blocks: u32| {
        let dir = Dir::new();
        let run = dir.command(&["--max_epochs=0.01"]);
        let shell = format!("ulimit -f {blocks}; exec \"$@\"");
        let run = common::under_shell(&shell, &run).output().unwrap();
        let names = dir.names();
        (
            run.status.code(),
            String::from_utf8(run.stderr).unwrap(),
            names,
        )
    };
    // In blocks of 512 bytes: the state is 135 kB, the checkpoint 404 kB.
    let (code, error, names) = limited(600);
    assert_eq!(code, Some(1), "{error}");
    assert!(
        error.contains("--save_filename state.pth") && error.contains("ulimit -f"),
        "{error}"
    );
    assert!(names.is_empty(), "{names:?}");
    let (code, error, _) = limited(2000);
    assert_eq!(code, Some(0), "{error}");
}

#[test]
fn a_limit_on_open_files_is_told_and_not_waited_out() {
    let dir = Dir::new();
    for files in (8..=16).step_by(2) {
        let run = dir.command(&["--max_epochs=0.01"]);
        let shell = format!("ulimit -n {files}; exec timeout 60 \"$@\"");
        let run = common::under_shell(&shell, &run).output().unwrap();
        let error = String::from_utf8(run.stderr).unwrap();
        let is_told = run.status.code() == Some(1) && error.lines().count() == 1;
        assert!(run.status.success() || is_told, "{files}: {error}");
    }
}

#[test]
fn the_log_gets_no_lines_behind_what_is_no_log() {
    let dir = Dir::new();
    dir.succeeds(&["--max_epochs=0.01", "--log_file=log"]);
    dir.succeeds(&["--max_epochs=0.01", "--log_file=log"]);
    let mut protected = fs::metadata(dir.path("log")).unwrap().permissions();
    protected.set_readonly(true);
    fs::set_permissions(dir.path("log"), protected).unwrap();
    fs::copy(dir.path("state.pth"), dir.path("other.pth")).unwrap();
    for (file, words) in [("log", "write-protected"), ("other.pth", "is no log")] {
        let before = fs::read(dir.path(file)).unwrap();
        for more in [&[][..], &["--dry_run"]] {
            let flags = [&["--max_epochs=0.01", "--log_file", file], more].concat();
            dir.refuses(&flags, 1, &["--log_file", file, words]);
        }
        assert!(fs::read(dir.path(file)).unwrap() == before);
    }
}
