//! The real program under real launchers: each that is named in MPI_LAUNCHERS, or `mpirun`.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use state_tune::tensors::pth;

use crate::common::{self, Dir, first_step, losses};
use crate::runs::{close, flags, prepared};

/// How long a job may take to end after one of its processes was killed.
const SOON: Duration = Duration::from_secs(20);

/// The launchers that are to be tested.
fn launchers() -> Vec<String> {
    let named = std::env::var("MPI_LAUNCHERS").unwrap_or_else(|_| "mpirun".to_string());
    named.split_whitespace().map(str::to_string).collect()
}

/// Words of a shell, in which each rank knows itself as `$rank`, before the program.
const RANK: &str = "rank=${OMPI_COMM_WORLD_RANK:-$PMI_RANK};";

/// The program on so many ranks, each started by a line of shell that ends in `exec "$@"`.
fn job(dir: &Dir, launcher: &str, ranks: usize, shell: &str, flags: &[String]) -> Command {
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let program = dir.command(&flags);
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
        .arg("--threads=1")
        .current_dir(dir.path(""));
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

fn launch(dir: &Dir, launcher: &str, ranks: usize, flags: &[String]) -> Command {
    job(dir, launcher, ranks, "exec \"$@\"", flags)
}

#[track_caller]
fn succeeds(mut command: Command) -> String {
    let run = command.output().unwrap();
    let said = String::from_utf8_lossy(&run.stdout).into_owned();
    assert!(
        run.status.success(),
        "{said}{}",
        String::from_utf8_lossy(&run.stderr)
    );
    said
}

fn state(dir: &Dir) -> Vec<u8> {
    fs::read(dir.path("state.pth")).unwrap()
}

/// The processes of the program that run in a directory, by rank.
fn processes(dir: &Dir) -> Vec<(usize, u32)> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Ok(process) = entry.file_name().to_string_lossy().parse::<u32>() else {
            continue;
        };
        let at = |what: &str| fs::read_link(entry.path().join(what));
        let is_ours = at("exe").is_ok_and(|exe| exe == Path::new(env!("CARGO_BIN_EXE_state-tune")))
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

fn kill(signal: &str, process: u32) {
    let kill = format!("kill -s {signal} {process}");
    assert!(
        Command::new("sh")
            .args(["-c", &kill])
            .status()
            .unwrap()
            .success()
    );
}

/// Waits for the end of a job and of all its processes.
#[track_caller]
fn ends(dir: &Dir, job: &mut Child, within: Duration) -> ExitStatus {
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
fn undisturbed(launcher: &str) -> (Dir, Vec<String>) {
    let flags = flags(
        "model_5.2.pth",
        &["--batchsize=16", "--max_epochs=60", "--log_file=log"],
    );
    let dir = prepared();
    succeeds(launch(&dir, launcher, 2, &flags));
    (dir, flags)
}

#[test]
#[ignore = "needs mpirun"]
fn jobs_repeat_bit_for_bit_and_give_what_one_process_gives() {
    for launcher in launchers() {
        for model in ["model_5.2.pth", "model_7.pth"] {
            let flags = flags(
                model,
                &[
                    "--batchsize=8",
                    "--max_epochs=5",
                    "--tune=shift,wkv",
                    "--log_file=log",
                ],
            );
            let alone = prepared();
            alone.succeeds(&flags.iter().map(String::as_str).collect::<Vec<_>>());
            for ranks in [2, 3] {
                let runs = [prepared(), prepared()];
                for dir in &runs {
                    let said = succeeds(launch(dir, &launcher, ranks, &flags));
                    assert!(
                        said.contains(&format!("ranks  {ranks} ranks on one host, by ")),
                        "{said}"
                    );
                    assert_eq!(said.matches("\nstate       state.pth").count(), 1, "{said}");
                    close(&losses_alone(dir), &losses_alone(&alone), 1e-6);
                    assert_eq!(dir.names(), alone.names());
                }
                assert!(
                    state(&runs[0]) == state(&runs[1]),
                    "{launcher}, {ranks} ranks"
                );
            }
        }
    }
}

/// The losses of the steps in a log that tells of evaluations, too.
fn losses_alone(dir: &Dir) -> Vec<f64> {
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

#[test]
#[ignore = "needs mpirun"]
fn a_job_that_is_asked_to_finish_saves_and_goes_on_as_if_nothing_had_happened() {
    for launcher in launchers() {
        let (whole, flags) = undisturbed(&launcher);
        for to in [None, Some(0), Some(1)] {
            let dir = prepared();
            let mut run = launch(&dir, &launcher, 2, &flags)
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            first_step(&mut run, &dir.path("log"));
            let process = match to {
                None => run.id(),
                Some(rank) => {
                    processes(&dir)
                        .into_iter()
                        .find(|found| found.0 == rank)
                        .unwrap()
                        .1
                }
            };
            // Twice: what a launcher sends again must not end a rank that is saving.
            kill("USR1", process);
            thread::sleep(Duration::from_millis(1200));
            if processes(&dir).iter().any(|found| found.1 == process) {
                kill("USR1", process);
            }
            let status = ends(&dir, &mut run, SOON);
            assert_eq!(status.code(), Some(138), "{launcher} {to:?}");
            assert!(pth::read(&dir.path("state.pth")).is_ok());
            assert!(
                losses_alone(&dir).len() < losses_alone(&whole).len(),
                "it was stopped"
            );
            let again: Vec<String> = flags
                .iter()
                .cloned()
                .chain(["--resume".to_string()])
                .collect();
            succeeds(launch(&dir, &launcher, 2, &again));
            assert!(state(&dir) == state(&whole), "{launcher} {to:?}");
        }
    }
}

#[test]
#[ignore = "needs mpirun"]
fn a_job_of_which_something_is_killed_ends_and_goes_on_as_if_nothing_had_happened() {
    for launcher in launchers() {
        let (whole, flags) = undisturbed(&launcher);
        for victim in [None, Some(0), Some(1)] {
            let dir = prepared();
            let mut run = launch(&dir, &launcher, 2, &flags);
            let mut run = run
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            first_step(&mut run, &dir.path("log"));
            while !dir.path("state.pth.ckpt").exists() {
                thread::sleep(Duration::from_millis(5));
            }
            let process = match victim {
                None => run.id(),
                Some(rank) => {
                    processes(&dir)
                        .into_iter()
                        .find(|found| found.0 == rank)
                        .unwrap()
                        .1
                }
            };
            kill("KILL", process);
            let status = ends(&dir, &mut run, SOON);
            assert!(!status.success(), "{launcher} {victim:?}");
            let again: Vec<String> = flags
                .iter()
                .cloned()
                .chain(["--resume".to_string()])
                .collect();
            let said = succeeds(launch(&dir, &launcher, 2, &again));
            assert!(
                said.contains("resume state.pth.ckpt, after step "),
                "{said}"
            );
            assert!(state(&dir) == state(&whole), "{launcher} {victim:?}");
            assert_eq!(dir.names(), whole.names(), "nothing is left behind");
        }
    }
}

#[test]
#[ignore = "needs mpirun"]
fn what_fails_on_one_rank_is_told_once_and_ends_all() {
    for launcher in launchers() {
        // Before a step: one rank has no data where it is.
        let dir = prepared();
        fs::create_dir(dir.path("elsewhere")).unwrap();
        let flags = flags(
            "model_5.2.pth",
            &["--batchsize=16", "--max_epochs=400", "--log_file=log"],
        );
        let shell = "if [ $rank = 1 ]; then cd elsewhere; fi; exec \"$@\"";
        let mut run = job(&dir, &launcher, 2, shell, &flags);
        let run = run.output().unwrap();
        let error = String::from_utf8(run.stderr).unwrap();
        assert_eq!(run.status.code(), Some(1), "{error}");
        let told = |error: &str, words: &[&str]| {
            let is_told = |line: &&str| words.iter().all(|word| line.contains(word));
            assert_eq!(error.lines().filter(is_told).count(), 1, "{error}");
        };
        told(
            &error,
            &["error: rank 1 (host ", "data.jsonl does not exist"],
        );
        assert!(!dir.path("state.pth").exists());

        // In a step: one rank's model is cut short. What was learnt is saved.
        let dir = prepared();
        let model = crate::common::golden("model_5.2.pth");
        for rank in 0..2 {
            fs::create_dir(dir.path(&format!("{rank}"))).unwrap();
            fs::copy(&model, dir.path(&format!("{rank}/model.pth"))).unwrap();
        }
        let mut own = flags.clone();
        own.retain(|flag| !flag.starts_with("--model_location"));
        let shell = "exec \"$@\" --model_location=$rank/model.pth";
        let mut run = job(&dir, &launcher, 2, shell, &own);
        let mut run = run
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        first_step(&mut run, &dir.path("log"));
        while losses_alone(&dir).len() < 3 {
            thread::sleep(Duration::from_millis(20));
        }
        let file = fs::OpenOptions::new()
            .write(true)
            .open(dir.path("1/model.pth"))
            .unwrap();
        file.set_len(1000).unwrap();
        let status = ends(&dir, &mut run, SOON);
        let error = std::io::read_to_string(run.stderr.take().unwrap()).unwrap();
        assert_eq!(status.code(), Some(1), "{error}");
        told(
            &error,
            &[
                "error: rank 1 (host ",
                "1/model.pth",
                "last good state is in state.pth",
            ],
        );
        assert!(pth::read(&dir.path("state.pth")).is_ok());
    }
}

#[test]
#[ignore = "needs mpirun"]
fn a_rank_that_hangs_ends_the_job_when_patience_is_over() {
    for launcher in launchers() {
        let dir = prepared();
        let flags = flags(
            "model_5.2.pth",
            &["--batchsize=16", "--max_epochs=4000", "--log_file=log"],
        );
        let mut run = launch(&dir, &launcher, 2, &flags);
        run.env("STATE_TUNE_MPI_PATIENCE", "3");
        let mut run = run
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        first_step(&mut run, &dir.path("log"));
        let hung = processes(&dir)
            .into_iter()
            .find(|found| found.0 == 1)
            .unwrap()
            .1;
        kill("STOP", hung);
        let begun = Instant::now();
        let status = ends(&dir, &mut run, SOON);
        let error = std::io::read_to_string(run.stderr.take().unwrap()).unwrap();
        assert!(
            !status.success() && error.contains("have not answered for so long"),
            "{error}"
        );
        assert!(begun.elapsed() > Duration::from_secs(2));
    }
}

#[test]
#[ignore = "needs mpirun"]
fn a_library_that_does_not_belong_to_the_launcher_is_refused() {
    let all = launchers();
    let is_open_mpi = |launcher: &String| {
        let version = Command::new(launcher).arg("--version").output().unwrap();
        String::from_utf8_lossy(&version.stdout).contains("Open MPI")
    };
    let families = all.iter().map(|launcher| (launcher, is_open_mpi(launcher)));
    for (launcher, family) in families.clone() {
        let dir = prepared();
        let mut run = launch(&dir, launcher, 2, &flags("model_5.2.pth", &[]));
        run.env("STATE_TUNE_MPI", "/none/libmpi.so");
        let run = run.output().unwrap();
        let error = String::from_utf8_lossy(&run.stderr);
        assert!(
            !run.status.success() && error.contains("/none/libmpi.so"),
            "{error}"
        );
        for (other, _) in families.clone().filter(|other| other.1 != family) {
            let name = if family {
                "libmpi.so.12"
            } else {
                "libmpi.so.40"
            };
            let installed = Path::new(other).parent().unwrap().parent().unwrap();
            let library = installed.join("lib").join(name);
            if !library.exists() {
                continue;
            }
            let mut run = launch(&dir, launcher, 2, &flags("model_5.2.pth", &[]));
            run.env("STATE_TUNE_MPI", &library);
            let run = run.output().unwrap();
            let error = String::from_utf8_lossy(&run.stderr);
            assert!(
                !run.status.success(),
                "{launcher} with {}",
                library.display()
            );
            // Some libraries end the process themselves, since they are not started as they should be.
            let told = ["sees 1: it does not belong to the launcher", "Init_thread"];
            assert!(told.iter().any(|told| error.contains(told)), "{error}");
        }
        assert_eq!(dir.names(), ["data.jsonl"]);
    }
}

#[test]
#[ignore = "needs mpirun"]
fn answers_come_in_the_order_of_their_prompts() {
    for launcher in launchers() {
        let dir = Dir::new();
        let state = common::golden("tiny_state.pth").display().to_string();
        let asked: Vec<String> = (0..7)
            .map(|i| format!("\"user: Is it {i}?\\n\\nassistant:\""))
            .collect();
        dir.write("prompts.jsonl", asked.join("\n"));
        let flags = [
            "--prompts=prompts.jsonl",
            "--max_tokens=12",
            "--save_filename",
            &state,
        ];
        let command = |flags: &[&str]| {
            // The program's own flags of training have no part in this.
            let mut command = dir.command(flags);
            command.output().unwrap()
        };
        let alone = command(&flags);
        assert!(
            alone.status.success(),
            "{}",
            String::from_utf8_lossy(&alone.stderr)
        );
        let flags: Vec<String> = flags.iter().map(|flag| flag.to_string()).collect();
        for ranks in [2, 3] {
            let said = succeeds(launch(&dir, &launcher, ranks, &flags));
            assert_eq!(said.as_bytes(), alone.stdout, "{launcher}, {ranks} ranks");
        }
    }
}

#[test]
#[cfg(target_os = "linux")]
#[ignore = "needs mpirun and user namespaces, for a small disk"]
fn a_full_disk_on_the_first_rank_spares_the_old_files_and_the_job() {
    for launcher in launchers() {
        let (whole, mut flags) = undisturbed(&launcher);
        flags.retain(|flag| !flag.starts_with("--log_file"));
        flags.push("--save_filename=disk/state.pth".to_string());
        let dir = prepared();
        fs::create_dir(dir.path("disk")).unwrap();
        let run = launch(&dir, &launcher, 2, &flags);
        let words = [run.get_program()].into_iter().chain(run.get_args());
        let words: Vec<String> = words
            .map(|word| format!("'{}'", word.to_string_lossy().replace('\'', "'\\''")))
            .collect();
        let script = format!(
            "mount -t tmpfs -o size=1m tmpfs disk
            {} > said 2>&1 &
            until test -s disk/state.pth.ckpt; do :; done
            dd if=/dev/zero of=disk/other bs=1k count=1000 2>/dev/null
            until grep -q 'cannot write the checkpoint' said; do :; done
            rm disk/other
            wait $! && cp disk/state.pth .",
            words.join(" ")
        );
        let mut inside = Command::new("unshare");
        inside.args(["--mount", "--map-root-user", "--user", "sh", "-c", &script]);
        inside.current_dir(dir.path(""));
        inside.envs(
            run.get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        );
        let ran = inside.output().unwrap();
        let said = fs::read_to_string(dir.path("said")).unwrap();
        assert!(
            ran.status.success() && said.contains("the run goes on"),
            "{said}"
        );
        assert!(state(&dir) == state(&whole));
    }
}
