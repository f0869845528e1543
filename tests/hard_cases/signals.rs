//! Runs that end early: signals, and readers that leave.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use state_tune::tensors::pth;

use crate::common::{self, Dir, golden, losses};

#[cfg(unix)]
#[test]
fn a_second_signal_stops_at_once_and_leaves_the_state_that_was_there() {
    let dir = Dir::new();
    fs::copy(golden("tiny_state.pth"), dir.path("state.pth")).unwrap();
    let before = fs::read(dir.path("state.pth")).unwrap();
    // Steps of some seconds, so that both signals fall into one.
    let mut run = dir
        .command(&["--batchsize=900", "--log_file=log"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    common::first_step(&mut run, &dir.path("log"));
    common::signal(&run, "INT");
    // What comes within a second of the first is the same request.
    let mut said = BufReader::new(run.stdout.take().unwrap()).lines();
    assert!(said.any(|line| {
        line.unwrap()
            .starts_with("interrupted: finishing this step")
    }));
    std::thread::sleep(Duration::from_millis(1100));
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

/// A run that goes on until it is stopped, started by a line of shell that ends in `exec "$@"`.
#[cfg(unix)]
fn endless(dir: &Dir, shell: &str, flags: &[&str]) -> Command {
    let fixed = ["--batchsize=8", "--max_epochs=100000", "--log_file=log"];
    let run = dir.command(&[&fixed, flags].concat());
    let mut command = common::under_shell(shell, &run);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

#[cfg(unix)]
#[test]
fn signals_that_come_together_are_one_request() {
    for signals in [
        ["HUP", "TERM"],
        ["TERM", "HUP"],
        ["TERM", "TERM"],
        ["INT", "USR1"],
    ] {
        let dir = Dir::new();
        let mut run = endless(&dir, "exec \"$@\"", &[]).spawn().unwrap();
        common::first_step(&mut run, &dir.path("log"));
        for signal in signals {
            common::signal(&run, signal);
        }
        let run = run.wait_with_output().unwrap();
        let code = run.status.code().unwrap_or_default();
        assert!([129, 130, 138, 143].contains(&code), "{signals:?}: {code}");
        let said = String::from_utf8(run.stdout).unwrap();
        let notices = said.matches(": finishing this step, then saving;").count();
        assert_eq!(notices, 1, "{signals:?}: {said}");
        assert!(pth::read(&dir.path("state.pth")).is_ok(), "{signals:?}");
        assert!(run.stderr.is_empty());
    }
}

/// Where the limit meets it, the program may be starting, reading or in a step.
#[cfg(target_os = "linux")]
#[test]
fn memory_that_cannot_be_had_is_told_in_one_line() {
    for (kilobytes, word) in [
        (150_000, "error: "),
        (250_000, "error: "),
        (400_000, "error: out of memory: "),
    ] {
        let dir = Dir::new();
        let shell = format!("ulimit -v {kilobytes}; exec \"$@\"");
        let run = dir.command(&["--batchsize=512", "--max_epochs=1", "--threads=2"]);
        let run = common::under_shell(&shell, &run).output().unwrap();
        let error = String::from_utf8(run.stderr).unwrap();
        assert_eq!(run.status.code(), Some(1), "{kilobytes}: {error}");
        assert!(
            error.starts_with(word) && error.lines().count() == 1,
            "{kilobytes}: {error}"
        );
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_launchers_signal_and_limits_of_the_system_save() {
    for (shell, signal, code) in [
        ("exec \"$@\"", Some("USR1"), 138),
        ("exec \"$@\"", Some("USR2"), 140),
        ("exec \"$@\"", Some("QUIT"), 131),
        ("exec \"$@\"", Some("PWR"), 158),
        // The soft limit on processor time, after which SIGXCPU comes each second.
        ("ulimit -S -t 2; exec \"$@\"", None, 152),
        // The final one, at which the system kills.
        ("ulimit -t 6; exec \"$@\"", None, 152),
        // The log, and nothing else, grows beyond 64 MiB.
        ("ulimit -S -f 131072; exec \"$@\"", None, 153),
    ] {
        let dir = Dir::new();
        if code == 153 {
            dir.write("log", "{\"step\":1}\n");
            let log = fs::File::options().write(true).open(dir.path("log"));
            log.unwrap().set_len((64 << 20) - 1).unwrap();
        }
        let mut run = endless(&dir, shell, &[]).spawn().unwrap();
        if let Some(signal) = signal {
            common::first_step(&mut run, &dir.path("log"));
            common::signal(&run, signal);
        }
        let run = run.wait_with_output().unwrap();
        let error = String::from_utf8(run.stderr).unwrap();
        assert!(
            pth::read(&dir.path("state.pth")).is_ok(),
            "{shell}: {error}"
        );
        assert_eq!(run.status.code(), Some(code), "{shell}: {error}");
        assert!(error.is_empty(), "{error}");
        let said = String::from_utf8(run.stdout).unwrap();
        let note = "cannot write --log_file log: File too large (os error 27); the limit on the size \
                    of files (`ulimit -f`) is reached";
        assert_eq!(said.contains(note), code == 153, "{said}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_signal_that_was_ignored_at_the_start_stays_ignored() {
    let dir = Dir::new();
    let shell = "trap '' INT HUP; exec \"$@\"";
    let mut run = endless(&dir, shell, &[]).spawn().unwrap();
    let log = dir.path("log");
    common::first_step(&mut run, &log);
    for signal in ["INT", "HUP", "INT"] {
        common::signal(&run, signal);
    }
    let before = losses(&log).len();
    while losses(&log).len() < before + 10 {
        assert!(run.try_wait().unwrap().is_none(), "it went on");
        std::thread::sleep(Duration::from_millis(5));
    }
    common::signal(&run, "TERM");
    assert_eq!(run.wait().unwrap().code(), Some(143));
}

#[cfg(target_os = "linux")]
#[test]
fn output_that_nobody_reads_does_not_hold_up_a_stop() {
    use std::os::fd::AsRawFd;
    let dir = Dir::new();
    let (_reader, writer) = std::io::pipe().unwrap();
    // SAFETY: changes the size of a pipe that is open.
    let size = unsafe { libc::fcntl(writer.as_raw_fd(), libc::F_SETPIPE_SZ, 4096) };
    assert_eq!(size, 4096);
    // A line for each step.
    let flags = ["--eval_split=0.01", "--eval_every=1"];
    let mut run = endless(&dir, "exec \"$@\"", &flags);
    let mut run = run.stdout(writer).spawn().unwrap();
    let log = dir.path("log");
    common::first_step(&mut run, &log);
    let length = || fs::metadata(&log).unwrap().len();
    let mut before = 0;
    while length() > before {
        before = length();
        std::thread::sleep(Duration::from_secs(2));
    }
    common::signal(&run, "TERM");
    assert_eq!(run.wait().unwrap().code(), Some(143));
    assert!(pth::read(&dir.path("state.pth")).is_ok());
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
