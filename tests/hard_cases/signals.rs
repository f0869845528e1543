//! Runs that end early: signals, and readers that leave.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::Stdio;

use state_tune::tensors::pth;

use crate::common::{self, Dir, golden, losses};

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
    // Two signals that are under way together arrive in any order, so the first must have been
    // answered.
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
