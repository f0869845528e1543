//! A tiny language for tests of the real program: a fresh directory, a run in it, and what must be
//! true afterwards.
#![allow(dead_code)] // each test file speaks a part of it

#[path = "../../src/ops/testing/close.rs"]
pub mod close;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

/// A file of the shipped tiny model.
pub fn tiny(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("examples/tiny")
        .join(file)
}

/// A file that the oracle made, or a model it made it with.
pub fn golden(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(file)
}

/// A shipped tiny model, a state that PyTorch tuned on it, and what the oracle answers from both.
#[derive(Clone, Copy)]
pub struct Generation {
    /// As `--generation` has it.
    pub name: &'static str,
    model: &'static str,
    state: &'static str,
    answers: &'static str,
}

pub const GENERATIONS: [Generation; 2] = [
    Generation {
        name: "5",
        model: "model.pth",
        state: "tiny_state.pth",
        answers: "tiny_greedy.json",
    },
    Generation {
        name: "7",
        model: "model_7.pth",
        state: "tiny_7_state.pth",
        answers: "tiny_7_greedy.json",
    },
];

impl Generation {
    pub fn model(self) -> PathBuf {
        tiny(self.model)
    }

    pub fn state(self) -> PathBuf {
        golden(self.state)
    }

    /// An object a prompt.
    pub fn answers(self) -> Vec<serde_json::Value> {
        serde_json::from_str(&fs::read_to_string(golden(self.answers)).unwrap()).unwrap()
    }
}

/// A directory of a test's own, and the program in it.
pub struct Dir(TempDir);

impl Dir {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub fn path(&self, file: &str) -> PathBuf {
        self.0.path().join(file)
    }

    pub fn write(&self, file: &str, content: impl AsRef<[u8]>) {
        fs::write(self.path(file), content).unwrap();
    }

    /// What the directory holds, sorted.
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(self.0.path())
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    /// The program on the tiny model and data; later flags win.
    pub fn command(&self, flags: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_state-tune"));
        #[cfg(unix)]
        heed_signals(&mut command);
        // The settings of whoever runs the tests are none of theirs.
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("STATE_TUNE_") || text.starts_with("--") {
                command.env_remove(&name);
            }
        }
        // Flags that answers do not use would be named if they were typed.
        command
            .env("STATE_TUNE_DATA_PATH", tiny("train.jsonl"))
            .env("STATE_TUNE_EXIT_LOSS", "0");
        command
            .current_dir(self.0.path())
            .arg("--model_location")
            .arg(tiny("model.pth"))
            .args(["--device", "cpu"])
            .args(flags);
        command
    }

    pub fn run(&self, flags: &[&str]) -> Output {
        self.command(flags).output().unwrap()
    }

    /// Runs to a good end, says nothing on standard error, and gives back what it said.
    #[track_caller]
    pub fn succeeds(&self, flags: &[&str]) -> String {
        let run = self.run(flags);
        let error = String::from_utf8(run.stderr).unwrap();
        assert!(
            run.status.success() && error.is_empty(),
            "{flags:?}: {error}"
        );
        String::from_utf8(run.stdout).unwrap()
    }

    /// Fails with `code`, in one line that holds all of `words`, and leaves no state and no
    /// temporary file.
    #[track_caller]
    pub fn refuses(&self, flags: &[&str], code: i32, words: &[&str]) {
        let before = self.names();
        let run = self.run(flags);
        let error = String::from_utf8(run.stderr).unwrap();
        assert_eq!(run.status.code(), Some(code), "{flags:?}: {error}");
        assert!(
            error.starts_with("error: ") && error.lines().count() == 1,
            "{flags:?}: {error}"
        );
        assert!(
            words.iter().all(|word| error.contains(word)),
            "{flags:?}: {error}"
        );
        assert_eq!(self.names(), before, "{flags:?}");
    }
}

/// The loss of each step that a log tells of.
pub fn losses(log: &Path) -> Vec<f64> {
    let text = fs::read_to_string(log).unwrap();
    text.lines()
        .map(|l| {
            serde_json::from_str::<serde_json::Value>(l).unwrap()["loss"]
                .as_f64()
                .unwrap()
        })
        .collect()
}

/// Has a program heed signals that the tests themselves ignore, as a job in the background of a
/// script does.
#[cfg(unix)]
pub fn heed_signals(command: &mut Command) {
    use std::os::unix::process::CommandExt;
    // SAFETY: between fork and exec nothing but `signal` is called, which is allowed there.
    unsafe {
        command.pre_exec(|| {
            use libc::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};
            for signal in [SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2] {
                libc::signal(signal, libc::SIG_DFL);
            }
            Ok(())
        });
    }
}

/// A command started by a line of shell that ends in `exec "$@"`.
#[cfg(unix)]
pub fn under_shell(script: &str, run: &Command) -> Command {
    let mut command = Command::new("sh");
    command
        .args(["-c", script, "sh"])
        .arg(run.get_program())
        .args(run.get_args())
        .current_dir(run.get_current_dir().unwrap());
    take_environment(&mut command, run);
    heed_signals(&mut command);
    command
}

/// Gives a command the variables of another.
pub fn take_environment(command: &mut Command, of: &Command) {
    for (name, value) in of.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
}

/// Sends a signal to a run.
#[cfg(unix)]
pub fn signal(run: &std::process::Child, name: &str) {
    signal_process(run.id(), name);
}

/// Sends a signal. `kill` as a program is not on every machine; every shell has it built in.
#[cfg(unix)]
pub fn signal_process(process: u32, name: &str) {
    let kill = format!("kill -s {name} {process}");
    assert!(
        Command::new("sh")
            .args(["-c", &kill])
            .status()
            .unwrap()
            .success()
    );
}

/// Waits for the first step of a run that logs to `log`.
pub fn first_step(run: &mut std::process::Child, log: &Path) {
    while !fs::metadata(log).is_ok_and(|log| log.len() > 0) {
        assert!(run.try_wait().unwrap().is_none(), "it ended before a step");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}
