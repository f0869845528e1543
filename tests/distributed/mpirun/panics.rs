//! A rank that panics. Nothing that the program is given makes it do so; so a job of these tests stands in
//! for it, with a console that panics when it is written to.

use std::env::{current_exe, var_os, vars_os};
use std::fs;
use std::io::{self, Write};
use std::process::{Command, Stdio};

use state_tune::cli;
use state_tune::console::Console;
use state_tune::distributed;
use state_tune::train;

use super::{SOON, ends, job_of, launch, launchers, losses_alone, state, succeeds, undisturbed};
use crate::common::{first_step, golden};
use crate::runs::prepared;

/// Has the test below be a rank of its job, with these flags, a line each.
const FLAGS: &str = "RANK_OF_TEST";

struct Panics;

impl Write for Panics {
    fn write(&mut self, _bytes: &[u8]) -> io::Result<usize> {
        panic!("as a test wants it")
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What `main` does, but for the run's console.
fn train_as_rank(flags: &str) {
    let flags = ["state-tune"].into_iter().chain(flags.lines());
    let Ok(cli::Command::Train { options }) = cli::parse(flags.map(Into::into), vars_os()) else {
        panic!("the flags are those of a run");
    };
    let ranks = distributed::join(|name| var_os(name), &Console::standard()).unwrap();
    ranks.own(&Console::standard()).tell_panics();
    let console = match ranks.rank() {
        0 => Console::silent(),
        _ => Console::to(Panics),
    };
    let train = || train::run_on(&ranks, &options, &console);
    ranks.unless_panicked(|| options.processor.run(train).unwrap());
}

#[test]
#[ignore = "needs mpirun"]
fn a_panic_on_one_rank_ends_the_job_and_spares_what_was_saved() {
    if let Some(flags) = var_os(FLAGS) {
        return train_as_rank(&flags.to_string_lossy());
    }
    for launcher in launchers() {
        let (whole, mut flags) = undisturbed(&launcher);
        let dir = prepared();
        for rank in 0..2 {
            fs::create_dir(dir.path(&format!("{rank}"))).unwrap();
            fs::copy(
                golden("model_5.2.pth"),
                dir.path(&format!("{rank}/model.pth")),
            )
            .unwrap();
        }
        flags.retain(|flag| !flag.starts_with("--model_location"));
        let all = [
            &flags[..],
            &["--device=cpu", "--exit_loss=0", "--threads=1"].map(Into::into),
        ];
        let mut program = Command::new(current_exe().unwrap());
        let name = "mpirun::panics::a_panic_on_one_rank_ends_the_job_and_spares_what_was_saved";
        program.args(["--exact", name, "--ignored", "--nocapture"]);
        let own = format!("{FLAGS}=\"${FLAGS}\n--model_location=$rank/model.pth\"");
        let shell = format!("export {own}; exec \"$@\"");
        let mut run = job_of(&program, &dir, &launcher, 2, &shell);
        run.env(FLAGS, all.concat().join("\n"));
        let mut run = run
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        first_step(&mut run, &dir.path("log"));
        while !dir.path("state.pth.ckpt").exists() {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        // It writes a note of that.
        fs::remove_file(dir.path("1/model.pth")).unwrap();
        let status = ends(&dir, &mut run, SOON);
        let error = io::read_to_string(run.stderr.take().unwrap()).unwrap();
        assert!(!status.success(), "{error}");
        assert!(error.contains("as a test wants it"), "{error}");
        // Open MPI 5 has a zero byte before it.
        let told: Vec<&str> = error
            .lines()
            .filter(|line| line.contains("rank 1 (host "))
            .collect();
        assert!(
            matches!(told[..], [told] if told.contains("a fault of the program at ")),
            "{error}"
        );
        assert!(losses_alone(&dir).len() < losses_alone(&whole).len());

        flags.extend(["--resume", "--model_location=0/model.pth"].map(String::from));
        succeeds(launch(&dir, &launcher, 2, &flags));
        assert!(state(&dir) == state(&whole), "{launcher}");
        for rank in 0..2 {
            fs::remove_dir_all(dir.path(&format!("{rank}"))).unwrap();
        }
        assert_eq!(dir.names(), whole.names(), "nothing is left behind");
    }
}
