//! Where a run's files go: permissions, links, other runs, other outputs, and directories that are
//! renamed meanwhile.
#![cfg(unix)]

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::{Command, Stdio};
use std::time::SystemTime;

use state_tune::tensors::pth;

use crate::common::{self, Dir, golden, tiny};

const SHORT: &str = "--max_epochs=0.01";
/// All that a run writes to `out`.
const OUTPUTS: [&str; 4] = [
    "state.loss.svg",
    "state.pth",
    "state.pth.ckpt",
    "state.pth.old",
];

fn mode(dir: &Dir, file: &str) -> u32 {
    let found = fs::metadata(dir.path(file)).unwrap();
    found.permissions().mode() & 0o7777
}

#[test]
fn what_was_private_stays_private() {
    let dir = Dir::new();
    let report = ["--report=page.html", SHORT];
    dir.succeeds(&report);
    let files = ["state.pth", "state.pth.ckpt", "state.loss.svg", "page.html"];
    for file in files {
        fs::set_permissions(dir.path(file), fs::Permissions::from_mode(0o600)).unwrap();
    }
    dir.succeeds(&["--report=page.html", "--max_epochs=0.06", "--resume"]);
    for file in files {
        assert_eq!(mode(&dir, file), 0o600, "{file}");
    }
    // A new run keeps the state of the one before, and keeps it private.
    dir.succeeds(&report);
    assert_eq!(mode(&dir, "state.pth.old"), 0o600);
    assert_eq!(mode(&dir, "state.pth.ckpt.old"), 0o600);
}

#[test]
fn what_is_protected_is_refused_before_training() {
    let dir = Dir::new();
    let report = ["--report=page.html", SHORT];
    dir.succeeds(&report);
    dir.succeeds(&report);
    for file in [
        "state.pth",
        "state.pth.ckpt",
        "state.loss.svg",
        "state.pth.old",
        "page.html",
    ] {
        let protect = |mode| {
            fs::set_permissions(dir.path(file), fs::Permissions::from_mode(mode)).unwrap();
        };
        protect(0o444);
        let before = fs::read(dir.path(file)).unwrap();
        for more in [&["--max_epochs=0.06", "--resume"][..], &["--dry_run"]] {
            let flags = [&report, more].concat();
            dir.refuses(&flags, 1, &[file, "write-protected"]);
        }
        assert_eq!(fs::read(dir.path(file)).unwrap(), before, "{file}");
        protect(0o644);
    }
}

#[test]
fn all_links_are_followed() {
    let dir = Dir::new();
    fs::create_dir(dir.path("far")).unwrap();
    for file in OUTPUTS.iter().chain(&["page.html"]) {
        symlink(format!("far/{file}"), dir.path(file)).unwrap();
    }
    for flags in [&[SHORT][..], &[SHORT], &["--max_epochs=0.06", "--resume"]] {
        dir.succeeds(&[flags, &["--report=page.html"]].concat());
    }
    for file in OUTPUTS.iter().chain(&["page.html"]) {
        assert!(dir.path(file).is_symlink(), "{file}");
        assert!(dir.path("far").join(file).is_file(), "{file}");
    }
    // The checkpoint of the first run was moved aside where it was.
    assert!(dir.path("far/state.pth.ckpt.old").is_file());
}

#[test]
fn outputs_that_are_in_each_others_way_are_found_before_training() {
    let dir = Dir::new();
    for place in [
        "state.pth",
        "./state.pth",
        "state.loss.svg",
        "state.pth.ckpt",
        "state.pth.old",
        "page.html",
        "log",
        "page.html/events",
    ] {
        let tensorboard = format!("--tensorboard={place}");
        let flags = ["--report=page.html", "--log_file=log", &tensorboard];
        let words = ["--tensorboard", place, "give it a name of its own"];
        dir.refuses(&flags, 1, &words);
        dir.refuses(&[&flags[..], &["--dry_run"]].concat(), 1, &words);
    }
    // Two names of one file.
    dir.write("data.jsonl", crate::LINE);
    fs::hard_link(dir.path("data.jsonl"), dir.path("log")).unwrap();
    let flags = ["--data_path=data.jsonl", "--log_file=log"];
    dir.refuses(&flags, 1, &["--log_file log is also --data_path"]);
    assert_eq!(fs::read_to_string(dir.path("log")).unwrap(), crate::LINE);
}

#[test]
fn a_second_run_of_the_same_name_is_told_so() {
    let dir = Dir::new();
    symlink("state.pth", dir.path("other.pth")).unwrap();
    let flags = ["--max_epochs=100000", "--log_file=log"];
    let mut run = dir.command(&flags).stdout(Stdio::null()).spawn().unwrap();
    common::first_step(&mut run, &dir.path("log"));
    let process = format!("process {}", run.id());
    for name in ["--save_filename=state.pth", "--save_filename=other.pth"] {
        dir.refuses(&[name, SHORT], 1, &["another run", &process]);
    }
    // Both would draw their curve as state.loss.svg.
    let shares = ["--save_filename=state.st", SHORT];
    dir.refuses(&shares, 1, &["the loss curve state.loss.svg", &process]);
    let tuned = golden("tiny_state.pth").display().to_string();
    let convert = ["convert", &tuned, "state.pth", "--to=state"];
    let run_of = |flags: &[&str]| {
        let run = Command::new(env!("CARGO_BIN_EXE_state-tune"))
            .current_dir(dir.path(""))
            .args(flags)
            .output()
            .unwrap();
        String::from_utf8(run.stderr).unwrap()
    };
    let error = run_of(&convert);
    assert!(
        error.contains("by a run") && error.contains(&process),
        "{error}"
    );
    assert!(!dir.path("state.pth").exists());
    // Another name is another run's.
    assert_eq!(run_of(&["convert", &tuned, "fourth.pth", "--to=state"]), "");
    dir.succeeds(&["--save_filename=third.pth", SHORT]);
    common::signal(&run, "TERM");
    assert_eq!(run.wait().unwrap().code(), Some(143));
    dir.succeeds(&[SHORT]);
}

#[test]
fn a_dry_run_writes_nothing() {
    let dir = Dir::new();
    // As if a run were writing its state just now, and one had been killed long ago.
    dir.write(".state-tune-state.pth-1-new", "half");
    dir.write(".state-tune-state.pth-1-old", "half");
    let old = fs::File::options()
        .write(true)
        .open(dir.path(".state-tune-state.pth-1-old"))
        .unwrap();
    old.set_modified(SystemTime::UNIX_EPOCH).unwrap();
    let modified = || fs::metadata(dir.path("")).unwrap().modified().unwrap();
    let (before, names) = (modified(), dir.names());
    let flags = [
        "--dry_run",
        "--report=page.html",
        "--log_file=log",
        "--tensorboard=events",
    ];
    dir.succeeds(&flags);
    assert_eq!((modified(), dir.names()), (before, names));
    // A run takes away what is old.
    dir.succeeds(&[SHORT]);
    assert!(dir.path(".state-tune-state.pth-1-new").exists());
    assert!(!dir.path(".state-tune-state.pth-1-old").exists());
}

#[cfg(target_os = "linux")]
#[test]
fn a_run_whose_directory_is_renamed_or_removed_keeps_its_files_together() {
    for removed in [false, true] {
        let dir = Dir::new();
        fs::create_dir(dir.path("out")).unwrap();
        let mut run = dir
            .command(&[
                "--save_filename=out/state.pth",
                "--report=out/page.html",
                "--log_file=log",
                "--max_epochs=100000",
            ])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        common::first_step(&mut run, &dir.path("log"));
        let place = match removed {
            true => {
                fs::remove_dir_all(dir.path("out")).unwrap();
                "out"
            }
            false => {
                fs::rename(dir.path("out"), dir.path("moved")).unwrap();
                "moved"
            }
        };
        common::signal(&run, "TERM");
        let out = BufReader::new(run.stdout.take().unwrap());
        let said: Vec<String> = out.lines().map(Result::unwrap).collect();
        assert_eq!(run.wait().unwrap().code(), Some(143), "{said:?}");
        for file in ["state.pth", "state.pth.ckpt", "state.loss.svg", "page.html"] {
            assert!(dir.path(place).join(file).is_file(), "{file}");
            let path = format!("{place}/{file}");
            assert!(said.iter().any(|line| line.contains(&path)), "{said:?}");
        }
        assert!(pth::read(&dir.path(place).join("state.pth")).is_ok());
        assert_eq!(fs::read_dir(dir.path(place)).unwrap().count(), 4, "no lock");
        assert_eq!(dir.path("out").exists(), removed);
    }
}

/// What came to the state's place during the run is not replaced, and costs no state.
#[test]
fn a_state_whose_place_is_taken_is_beside_it_and_that_is_told() {
    for taken_by in ["a directory", "a file"] {
        let dir = Dir::new();
        let mut run = dir
            .command(&["--log_file=log", "--max_epochs=100000"])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        common::first_step(&mut run, &dir.path("log"));
        match taken_by {
            "a directory" => fs::create_dir(dir.path("state.pth")).unwrap(),
            _ => dir.write("state.pth", "a thesis"),
        }
        common::signal(&run, "TERM");
        let run = run.wait_with_output().unwrap();
        let error = String::from_utf8(run.stderr).unwrap();
        assert_eq!(run.status.code(), Some(1), "{error}");
        let told = "error: state.pth is not what it was when the run began; so state.pth is not \
                    replaced, and what was learnt is in state.pth.new\n";
        assert_eq!(error, told);
        assert!(pth::read(&dir.path("state.pth.new")).is_ok());
        if taken_by == "a file" {
            assert_eq!(
                fs::read_to_string(dir.path("state.pth")).unwrap(),
                "a thesis"
            );
        }
    }
}

/// To open a pipe that nobody writes to any more is to wait for ever.
#[test]
fn pipes_are_read_once_and_not_waited_for() {
    let dir = Dir::new();
    let rows = fs::read_to_string(tiny("train.jsonl")).unwrap();
    let rows: String = rows.split_inclusive('\n').take(10).collect();
    dir.write("rows", rows);
    let run = dir.command(&[
        "--data_path=pipe",
        "--log_file=log",
        "--report=report.html",
        "--max_epochs=1",
    ]);
    let script = "mkfifo pipe other && { cat rows > pipe & } && exec timeout 60 \"$@\"";
    let run = common::under_shell(script, &run).output().unwrap();
    let error = String::from_utf8(run.stderr).unwrap();
    assert!(run.status.success(), "{error}");
    assert!(dir.path("report.html").exists() && dir.path("log").exists());
    dir.refuses(&["--report=other"], 1, &["--report other", "special file"]);
}
