//! Jobs that end early: asked to, killed, failed, hung, or on a full disk.

use std::fs;
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use state_tune::tensors::pth;

use super::{
    SOON, ends, job, launch, launchers, losses_alone, process, processes, state, succeeds,
    undisturbed,
};
use crate::common::{Dir, first_step, signal_process};
use crate::runs::{flags, prepared};

/// Disturbs a run on two ranks in its middle, by what `disturb` does to the process of the launcher, to
/// that of rank 0 and to that of rank 1, and resumes it: as if nothing had happened. `ended` looks at how
/// the disturbed run ended.
fn disturbed(disturb: impl Fn(&Dir, u32), ended: impl Fn(&Dir, ExitStatus)) {
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
            let process = victim.map_or(run.id(), |rank| process(&dir, rank));
            disturb(&dir, process);
            ended(&dir, ends(&dir, &mut run, SOON));
            let steps = losses_alone(&dir).len();
            assert!(steps < losses_alone(&whole).len(), "it was disturbed");
            let mut again = flags.clone();
            again.push("--resume".to_string());
            let said = succeeds(launch(&dir, &launcher, 2, &again));
            let resumed = "resume state.pth.ckpt, after step ";
            assert!(said.contains(resumed), "{said}");
            assert!(state(&dir) == state(&whole), "{launcher} {victim:?}");
            assert_eq!(dir.names(), whole.names(), "nothing is left behind");
        }
    }
}

#[test]
#[ignore = "needs mpirun"]
fn a_job_that_is_asked_to_finish_saves_and_goes_on_as_if_nothing_had_happened() {
    disturbed(
        |dir, process| {
            // Twice: what a launcher sends again must not end a rank that is saving.
            signal_process(process, "USR1");
            thread::sleep(Duration::from_millis(1200));
            if processes(dir).iter().any(|found| found.1 == process) {
                signal_process(process, "USR1");
            }
        },
        |dir, status| {
            assert_eq!(status.code(), Some(138));
            assert!(pth::read(&dir.path("state.pth")).is_ok());
        },
    );
}

#[test]
#[ignore = "needs mpirun"]
fn a_job_of_which_something_is_killed_ends_and_goes_on_as_if_nothing_had_happened() {
    disturbed(
        |_, process| signal_process(process, "KILL"),
        |_, status| assert!(!status.success()),
    );
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
        signal_process(process(&dir, 1), "STOP");
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
