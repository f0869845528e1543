//! `examples/ci-job.sh` is run as it stands: a job that takes every setting from its environment.
#![cfg(unix)]

use std::path::Path;
use std::process::Command;

#[test]
fn the_job_trains_and_answers() {
    let out = tempfile::tempdir().unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/ci-job.sh");
    let mut job = Command::new("sh");
    // The caller's own settings are not the job's.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("STATE_TUNE_") {
            job.env_remove(name);
        }
    }
    let run = job
        .arg(script)
        .env("BIN", env!("CARGO_BIN_EXE_state-tune"))
        .env("OUT", out.path())
        .current_dir(out.path())
        .output()
        .unwrap();
    let text = String::from_utf8(run.stdout).unwrap();
    assert!(
        run.status.success(),
        "{text}\n{}",
        String::from_utf8_lossy(&run.stderr)
    );
    assert!(
        text.contains("37 steps") && text.contains("== tuned state ==\n Arr, "),
        "{text}"
    );
    let log = std::fs::read_to_string(out.path().join("log.jsonl")).unwrap();
    assert_eq!(log.lines().count(), 37);
    assert!(
        log.lines().all(|line| line.contains("\"lr\":0.1")),
        "--learningrate came from the environment"
    );
    assert!(out.path().join("state.pth").exists() && out.path().join("state.loss.svg").exists());
}
