//! The real program under real launchers: each that is named in MPI_LAUNCHERS, or `mpirun`.

mod endings;
mod panics;
mod results;

use std::env::current_exe;
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

use crate::common::{self, Dir, losses};
use crate::runs::{flags, prepared};

/// How long a job may take to end after one of its processes was killed.
pub const SOON: Duration = Duration::from_secs(20);

/// The launchers that are to be tested.
pub fn launchers() -> Vec<String> {
    let named = std::env::var("MPI_LAUNCHERS").unwrap_or_else(|_| "mpirun".to_string());
    named.split_whitespace().map(str::to_string).collect()
}

/// Words of a shell, in which each rank knows itself as `$rank`, before the program.
const RANK: &str = "rank=${OMPI_COMM_WORLD_RANK:-$PMI_RANK};";

/// The program on so many ranks, each started by a line of shell that ends in `exec "$@"`.
pub fn job(dir: &Dir, launcher: &str, ranks: usize, shell: &str, flags: &[String]) -> Command {
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let mut program = dir.command(&flags);
    program.arg("--threads=1");
    job_of(&program, dir, launcher, ranks, shell)
}

/// The same of another program.
pub fn job_of(program: &Command, dir: &Dir, launcher: &str, ranks: usize, shell: &str) -> Command {
    let mut command = Command::new(launcher);
    common::heed_signals(&mut command);
    command
        .args([
            "-n",
            &ranks.to_string(),
            "sh",
            "-c",
            &format!("{RANK} {shell}"),
            "sh",
        ])
        .arg(program.get_program())
        .args(program.get_args())
        .current_dir(dir.path(""));
    common::take_environment(&mut command, program);
    // As many ranks as are asked for, wherever they have room, and as whoever the tests run as.
    for (name, value) in [
        ("OMPI_ALLOW_RUN_AS_ROOT", "1"),
        ("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1"),
        ("OMPI_MCA_rmaps_base_oversubscribe", "1"),
        ("OMPI_MCA_hwloc_base_binding_policy", "none"),
        ("PRTE_MCA_rmaps_default_mapping_policy", ":oversubscribe"),
        ("PRTE_MCA_hwloc_default_binding_policy", "none"),
    ] {
        command.env(name, value);
    }
    command
}

pub fn launch(dir: &Dir, launcher: &str, ranks: usize, flags: &[String]) -> Command {
    job(dir, launcher, ranks, "exec \"$@\"", flags)
}

#[track_caller]
pub fn succeeds(mut command: Command) -> String {
    let run = command.output().unwrap();
    let said = String::from_utf8_lossy(&run.stdout).into_owned();
    assert!(
        run.status.success(),
        "{said}{}",
        String::from_utf8_lossy(&run.stderr)
    );
    said
}

pub fn state(dir: &Dir) -> Vec<u8> {
    fs::read(dir.path("state.pth")).unwrap()
}

/// The processes of the program, and of tests that stand in for it, that run in a directory, by rank.
pub fn processes(dir: &Dir) -> Vec<(usize, u32)> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Ok(process) = entry.file_name().to_string_lossy().parse::<u32>() else {
            continue;
        };
        let at = |what: &str| fs::read_link(entry.path().join(what));
        let programs = [
            PathBuf::from(env!("CARGO_BIN_EXE_state-tune")),
            current_exe().unwrap(),
        ];
        let is_ours = at("exe").is_ok_and(|exe| programs.contains(&exe))
            && at("cwd").is_ok_and(|cwd| cwd == dir.path("").canonicalize().unwrap());
        let variables = fs::read(entry.path().join("environ")).unwrap_or_default();
        let rank = variables.split(|&byte| byte == 0).find_map(|variable| {
            let text = String::from_utf8_lossy(variable);
            let names = ["OMPI_COMM_WORLD_RANK=", "PMI_RANK="];
            names
                .iter()
                .find_map(|name| text.strip_prefix(name)?.parse().ok())
        });
        if let (true, Some(rank)) = (is_ours, rank) {
            found.push((rank, process));
        }
    }
    found
}

/// The process of a rank of the job that runs in a directory.
pub fn process(dir: &Dir, rank: usize) -> u32 {
    let all = processes(dir);
    all.iter().find(|found| found.0 == rank).unwrap().1
}

/// Waits for the end of a job and of all its processes.
#[track_caller]
pub fn ends(dir: &Dir, job: &mut Child, within: Duration) -> ExitStatus {
    let begun = Instant::now();
    let status = loop {
        if let Some(status) = job.try_wait().unwrap() {
            break status;
        }
        assert!(begun.elapsed() < within, "the launcher runs on");
        thread::sleep(Duration::from_millis(20));
    };
    while !processes(dir).is_empty() {
        assert!(begun.elapsed() < within, "{:?} run on", processes(dir));
        thread::sleep(Duration::from_millis(20));
    }
    status
}

/// A run on two ranks that nothing disturbed, and its flags.
pub fn undisturbed(launcher: &str) -> (Dir, Vec<String>) {
    let flags = flags(
        "model_5.2.pth",
        &["--batchsize=16", "--max_epochs=300", "--log_file=log"],
    );
    let dir = prepared();
    succeeds(launch(&dir, launcher, 2, &flags));
    (dir, flags)
}

/// The losses of the steps in a log that tells of evaluations, too.
pub fn losses_alone(dir: &Dir) -> Vec<f64> {
    let log = fs::read_to_string(dir.path("log")).unwrap();
    let steps: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("\"loss\""))
        .collect();
    dir.write("steps", steps.join("\n"));
    let losses = losses(&dir.path("steps"));
    fs::remove_file(dir.path("steps")).unwrap();
    losses
}
