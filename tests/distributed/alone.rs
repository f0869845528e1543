//! One rank opens nothing, and libraries that cannot be used are refused by name.

use std::process::{Command, Stdio};

use crate::common::{self, Dir};
use crate::runs::{flags, prepared};

fn refs(flags: &[String]) -> Vec<&str> {
    flags.iter().map(String::as_str).collect()
}

/// The program's output without its numbers, which are times.
fn words(said: &str) -> String {
    said.replace(|c: char| c.is_ascii_digit() || c == '.', "")
}

#[test]
#[cfg(target_os = "linux")]
fn one_rank_opens_no_library_and_says_what_it_says_without_a_launcher() {
    let dir = prepared();
    let flags = flags("model_5.2.pth", &["--max_epochs=1000", "--log_file=log"]);
    for launched in [false, true] {
        let mut command = dir.command(&refs(&flags));
        if launched {
            command
                .env("OMPI_COMM_WORLD_SIZE", "1")
                .env("STATE_TUNE_MPI", "/none");
        }
        let mut run = command.stdout(Stdio::null()).spawn().unwrap();
        common::first_step(&mut run, &dir.path("log"));
        let maps = std::fs::read_to_string(format!("/proc/{}/maps", run.id())).unwrap();
        run.kill().unwrap();
        run.wait().unwrap();
        std::fs::remove_file(dir.path("log")).unwrap();
        assert!(maps.contains("libc.so"), "{maps}");
        assert!(!maps.contains("libmpi"), "{maps}");
    }
    let said = |launched: bool| {
        let dir = prepared();
        let flags = self::flags("model_5.2.pth", &["--max_epochs=1"]);
        let mut command = dir.command(&refs(&flags));
        if launched {
            command.env("PMI_SIZE", "1").env("STATE_TUNE_MPI", "/none");
        }
        let output = command.output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty());
        words(&String::from_utf8(output.stdout).unwrap())
    };
    assert_eq!(said(false), said(true));
}

/// An MPI library of one rank that says `version` of itself, made by the C compiler.
fn library(dir: &Dir, version: &str, threads: i32) -> String {
    let source = format!(
        "#include <string.h>
        int MPI_Get_library_version(char *text, int *n) {{
            strcpy(text, \"{version}\"); *n = strlen(text); return 0; }}
        int MPI_Init_thread(void *a, void *b, int c, int *have) {{ *have = {threads}; return 0; }}
        int MPI_Comm_rank(int c, int *rank) {{ *rank = 0; return 0; }}
        int MPI_Comm_size(int c, int *size) {{ *size = 1 + {threads} / 9; return 0; }}
        int MPI_Allreduce(void *a, void *b, int c, int d, int e, int f) {{ return 0; }}
        int MPI_Abort(int c, int code) {{ return 0; }}
        int MPI_Finalize(void) {{ return 0; }}"
    );
    dir.write("mpi.c", source);
    let path = dir.path("libmpi_of_test.so").display().to_string();
    let built = Command::new("cc")
        .args(["-shared", "-fPIC", "-o", &path, "mpi.c"])
        .current_dir(dir.path(""))
        .status();
    assert!(built.unwrap().success());
    path
}

#[test]
fn libraries_that_cannot_be_used_are_named_and_told_why() {
    let dir = prepared();
    let flags = flags("model_5.2.pth", &[]);
    let refused = |variables: &[(&str, &str)], words: &[&str]| {
        let mut command = dir.command(&refs(&flags));
        let run = command.envs(variables.iter().copied()).output().unwrap();
        let error = String::from_utf8(run.stderr).unwrap();
        assert_eq!(run.status.code(), Some(1), "{error}");
        assert!(
            error.starts_with("error: ") && error.lines().count() == 1,
            "{error}"
        );
        assert!(words.iter().all(|word| error.contains(word)), "{error}");
        assert!(!dir.path("state.pth").exists());
    };
    let named = |library: &str, words: &[&str]| {
        for launcher in ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS"] {
            refused(&[(launcher, "2"), ("STATE_TUNE_MPI", library)], words);
        }
    };
    named(
        "/none/libmpi.so",
        &["/none/libmpi.so", "2 ranks", "STATE_TUNE_MPI"],
    );
    named("libm.so.6", &["libm.so.6", "MPI_Get_library_version"]);
    refused(&[("PMI_SIZE", "two")], &["PMI_SIZE", "\"two\""]);
    let patience = [("PMI_SIZE", "2"), ("STATE_TUNE_MPI_PATIENCE", "soon")];
    refused(&patience, &["STATE_TUNE_MPI_PATIENCE", "\"soon\""]);
    named(
        &library(&dir, "Some MPI 1.0, of a test", 2),
        &["\"Some MPI 1.0\"", "Open MPI 4 and 5"],
    );
    named(
        &library(&dir, "Open MPI v4.1.0", 2),
        &["ompi_mpi_comm_world"],
    );
    let other = library(&dir, "MPICH Version: 4.0", 2);
    named(
        &other,
        &[
            &other,
            "sees 1",
            "does not belong to the launcher",
            "STATE_TUNE_MPI",
        ],
    );
    named(&library(&dir, "Intel(R) MPI Library", 1), &["sees 1"]);
}
