//! What jobs give, and what they refuse before they begin.

use std::path::Path;
use std::process::Command;

use super::{job, launch, launchers, losses_alone, state, succeeds};
use crate::common::{self, Dir};
use crate::runs::{close, flags, prepared};

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
            // Where the other launcher has it, or by the name that the system, Debian's, has.
            let (beside, name) = match family {
                true => ("libmpi.so.12", "libmpich.so.12"),
                false => ("libmpi.so.40", "libmpi.so.40"),
            };
            let installed = Path::new(other).parent().and_then(Path::parent);
            let beside = installed.map(|installed| installed.join("lib").join(beside));
            let library = beside
                .filter(|beside| beside.exists())
                .unwrap_or_else(|| name.into());
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
        // Answers that one rank draws otherwise would be mixed with the others'.
        let shell = "exec \"$@\" --temperature=$rank";
        let run = job(&dir, &launcher, 2, shell, &flags).output().unwrap();
        let error = String::from_utf8_lossy(&run.stderr);
        assert!(
            !run.status.success() && error.contains("has another way to draw answers"),
            "{error}"
        );
    }
}

#[test]
#[ignore = "needs mpirun"]
fn what_all_ranks_would_say_is_said_once_or_by_name() {
    for launcher in launchers() {
        let dir = prepared();
        let said = succeeds(launch(&dir, &launcher, 2, &["--version".to_string()]));
        assert_eq!(said.matches("state-tune").count(), 1, "{said}");
        let said = succeeds(launch(
            &dir,
            &launcher,
            2,
            &flags("model_7.pth", &["--dry_run"]),
        ));
        assert_eq!(
            said.matches("ranks  2 ranks on one host").count(),
            1,
            "{said}"
        );
        assert_eq!(said.matches("nothing was learnt").count(), 1, "{said}");

        let wrong = flags("model_7.pth", &["--batchsize=x"]);
        let run = launch(&dir, &launcher, 2, &wrong).output().unwrap();
        assert_eq!(run.status.code(), Some(2), "{launcher}");
        let error = String::from_utf8_lossy(&run.stderr);
        let told: Vec<&str> = error
            .lines()
            .filter(|line| line.contains("--batchsize"))
            .collect();
        // The launcher may end one before it has told.
        let of_rank = |line: &&&str| line.starts_with("rank 1 (host ");
        assert!(!told.is_empty(), "{error}");
        assert!(told.iter().filter(of_rank).count() <= 1, "{error}");
        assert!(
            told.iter().filter(|line| !of_rank(line)).count() <= 1,
            "{error}"
        );
    }
}
