//! A model's file that another program writes to while a run or an answer reads it.
#![cfg(unix)]

use std::fs;
use std::process::{Child, Stdio};

use state_tune::tensors::pth;

use crate::common::{self, Dir, tiny};

/// The tiny model with tensors that are not compressed, so that they are mapped.
fn model(dir: &Dir) {
    let value = pth::read(&tiny("model.pth")).unwrap();
    pth::write(&dir.path("m.pth"), &value).unwrap();
}

/// A long run on that model, after its first step.
fn started(dir: &Dir, more: &[&str]) -> Child {
    let flags = [
        "--model_location=m.pth",
        "--max_epochs=100000",
        "--log_file=log",
    ];
    let mut command = dir.command(&[&flags, more].concat());
    let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut run = command.spawn().unwrap();
    common::first_step(&mut run, &dir.path("log"));
    run
}

#[test]
fn a_run_ends_in_one_line_with_its_last_good_state() {
    for is_cut in [false, true] {
        let dir = Dir::new();
        model(&dir);
        let run = started(&dir, &["--report=page.html"]);
        let file = fs::File::options()
            .write(true)
            .open(dir.path("m.pth"))
            .unwrap();
        match is_cut {
            true => file.set_len(1000).unwrap(),
            false => {
                let whole = fs::read(dir.path("m.pth")).unwrap();
                fs::write(dir.path("m.pth"), whole).unwrap();
            }
        }
        let run = run.wait_with_output().unwrap();
        let error = String::from_utf8(run.stderr).unwrap();
        assert_eq!(run.status.code(), Some(1), "{error}");
        assert_eq!(error.lines().count(), 1, "{error}");
        for words in [
            "m.pth was written to by another program",
            "the last good state is in state.pth",
        ] {
            assert!(error.contains(words), "{error}");
        }
        assert!(pth::read(&dir.path("state.pth")).is_ok());
        assert!(dir.path("page.html").exists(), "without answers");
    }
}

#[test]
fn a_model_that_is_removed_or_replaced_is_told_and_costs_nothing() {
    let dir = Dir::new();
    model(&dir);
    let mut run = started(&dir, &[]);
    fs::write(dir.path("new.pth"), "another model").unwrap();
    fs::rename(dir.path("new.pth"), dir.path("m.pth")).unwrap();
    let before = common::losses(&dir.path("log")).len();
    while common::losses(&dir.path("log")).len() < before + 3 {
        assert!(run.try_wait().unwrap().is_none(), "it goes on");
    }
    common::signal(&run, "TERM");
    let run = run.wait_with_output().unwrap();
    let said = String::from_utf8(run.stdout).unwrap();
    assert_eq!(
        said.matches("note   m.pth was removed or replaced").count(),
        1,
        "{said}"
    );
    assert_eq!(run.status.code(), Some(143));
    assert!(run.stderr.is_empty() && dir.path("state.pth").exists());
}

#[cfg(target_os = "linux")]
#[test]
fn an_answer_from_a_model_that_is_cut_short_ends_in_one_line() {
    use std::io::Read;

    let dir = Dir::new();
    dir.succeeds(&["--max_epochs=0.01"]);
    model(&dir);
    let flags = [
        "--model_location=m.pth",
        "--prompt=user: a\\n\\nassistant:",
        "--max_tokens=100000000",
        "--response_end=never",
        "--temperature=1",
    ];
    let mut run = dir.command(&flags);
    let mut run = run
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = run.stdout.take().unwrap();
    let (mut said, mut some) = (Vec::new(), [0; 30]);
    // Some of an answer, whatever is noted before it.
    while !String::from_utf8_lossy(&said).contains("== base model ==\n ") {
        out.read_exact(&mut some).unwrap();
        said.extend(some);
    }
    let file = fs::File::options()
        .write(true)
        .open(dir.path("m.pth"))
        .unwrap();
    file.set_len(1000).unwrap();
    // Its answer goes on until it meets what is gone.
    std::io::copy(&mut out, &mut std::io::sink()).unwrap();
    let run = run.wait_with_output().unwrap();
    let error = String::from_utf8(run.stderr).unwrap();
    assert_eq!(run.status.code(), Some(1), "{error}");
    assert_eq!(
        error,
        "error: this file was cut short while it was read, or its disk or network failed: m.pth\n"
    );
}

/// What is answered from other numbers than the model's is worth nothing.
#[test]
fn a_talk_or_a_file_of_prompts_ends_with_a_model_that_is_written_to() {
    use std::io::{BufRead, BufReader, Write};

    for mode in ["--interactive", "--prompts=prompts.jsonl"] {
        let dir = Dir::new();
        dir.succeeds(&["--max_epochs=0.01"]);
        dir.write("prompts.jsonl", "\"user: a\"\n".repeat(10_000));
        model(&dir);
        let mut command = dir.command(&["--model_location=m.pth", "--max_tokens=2", mode]);
        let mut run = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut typed = run.stdin.take().unwrap();
        typed.write_all(b"a\n").unwrap();
        let mut out = BufReader::new(run.stdout.take().unwrap());
        out.read_line(&mut String::new()).unwrap();
        // In place: it is never shorter.
        let whole = fs::read(dir.path("m.pth")).unwrap();
        let mut file = fs::File::options();
        let mut file = file.write(true).open(dir.path("m.pth")).unwrap();
        file.write_all(&whole).unwrap();
        // It may have ended.
        let _ = typed.write_all(b"b\nc\n");
        drop(typed);
        std::io::copy(&mut out, &mut std::io::sink()).unwrap();
        let run = run.wait_with_output().unwrap();
        let error = String::from_utf8(run.stderr).unwrap();
        assert_eq!(run.status.code(), Some(1), "{mode}: {error}");
        assert!(
            error.lines().count() == 1 && error.contains("m.pth was written to by another program"),
            "{mode}: {error}"
        );
    }
}
