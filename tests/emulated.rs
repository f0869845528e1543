//! What a person is told when a GPU is missing, too old, too small, or fails in the middle of a
//! run. The emulator can be asked to be all of these:
//!
//!     tools/cuda-emulator/run cargo test --features cuda --test emulated -- --ignored

mod common;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::thread;

use common::{Dir, losses, tiny};
use state_tune::console::Console;
use state_tune::distributed::{self, Ranks};
use state_tune::ops::device::DeviceChoice;
use state_tune::train::{self, Options};

/// The program on an emulated GPU that is `like`.
#[track_caller]
fn run(dir: &Dir, like: &[(&str, &str)], flags: &[&str]) -> Output {
    assert!(
        std::env::var_os("EMULATED_CUDA").is_some(),
        "tools/cuda-emulator/run runs these tests"
    );
    let mut command = dir.command(&["--batchsize=8", "--max_epochs=0.1", "--learningrate=0.1"]);
    command.args(flags).envs(like.iter().copied());
    // candle's errors would bring theirs into the line.
    command.env("RUST_BACKTRACE", "0");
    command.output().unwrap()
}

/// It fails, in one line with all these words.
#[track_caller]
fn fails(output: &Output, words: &[&str]) {
    let error = String::from_utf8_lossy(&output.stderr);
    let told: Vec<&str> = error
        .lines()
        .filter(|l| !l.starts_with("cuda-emulator:"))
        .collect();
    assert_eq!(output.status.code(), Some(1), "{error}");
    let [line] = told[..] else {
        panic!("not one line: {error}");
    };
    assert!(line.starts_with("error: "), "{line}");
    for word in words {
        assert!(line.contains(word), "no {word:?} in {line}");
    }
}

#[test]
#[ignore = "needs tools/cuda-emulator and --features cuda"]
fn a_gpu_that_cannot_be_had_is_told_in_one_line() {
    let dir = Dir::new();
    for (like, device, words) in [
        (
            ("EMULATED_CUDA_DEVICES", "0"),
            "cuda",
            ["no NVIDIA GPU", "--device cpu"],
        ),
        (
            ("EMULATED_CUDA_DEVICES", "2"),
            "cuda:2",
            ["--device cuda:2", "no GPU 2"],
        ),
        (
            ("EMULATED_CUDA_CAPABILITY", "7.5"),
            "cuda",
            ["capability 7.5", "8.0"],
        ),
        (
            ("EMULATED_CUDA_DRIVER_VERSION", "12080"),
            "cuda",
            ["driver", "update"],
        ),
        (
            ("EMULATED_CUDA_MEMORY", "20000000"),
            "cuda",
            ["memory does not hold it", "--weights"],
        ),
    ] {
        let output = run(&dir, &[like], &["--device", device]);
        fails(&output, &words);
        assert!(dir.names().is_empty(), "{:?}", dir.names());
    }
}

#[test]
#[ignore = "needs tools/cuda-emulator and --features cuda"]
fn auto_falls_back_to_the_processor() {
    let dir = Dir::new();
    for (like, note) in [
        (("EMULATED_CUDA_DEVICES", "0"), false),
        (("EMULATED_CUDA_CAPABILITY", "7.5"), true),
    ] {
        let output = run(&dir, &[like], &["--device=auto", "--dry_run"]);
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{text}");
        assert_eq!(text.contains("computing on the processor"), note, "{text}");
        assert!(!text.contains("\ndevice "), "{text}");
    }
}

#[test]
#[ignore = "needs tools/cuda-emulator and --features cuda"]
fn what_memory_does_not_hold_is_computed_in_halves_to_the_same_losses() {
    let dir = Dir::new();
    let log = |name: &str| format!("--log_file={name}");
    let whole = ["--device=cuda", "--micro_batch=1000", &log("whole")];
    let output = run(&dir, &[], &whole);
    assert!(!String::from_utf8_lossy(&output.stdout).contains("memory is full"));
    // The model takes 36 MB of it; the logits of eight examples and their gradient as much.
    let like = [("EMULATED_CUDA_MEMORY", "60000000")];
    let halves = ["--device=cuda", "--micro_batch=1000", &log("halves")];
    let output = run(&dir, &like, &halves);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{output:?}");
    assert!(
        text.contains("the GPU's memory is full; the step is computed again"),
        "{text}"
    );
    let [whole, halves] = ["whole", "halves"].map(|log| losses(&dir.path(log)));
    assert_eq!(whole.len(), 3);
    for (a, b) in whole.iter().zip(&halves) {
        assert!((a - b).abs() <= 2e-3 * a, "{whole:?} {halves:?}");
    }
}

#[test]
#[ignore = "needs tools/cuda-emulator and --features cuda"]
fn held_out_examples_and_a_report_on_a_small_gpu() {
    let dir = Dir::new();
    let eval = format!("--eval_path={}", tiny("eval.jsonl").display());
    let like = [("EMULATED_CUDA_MEMORY", "46000000")];
    let flags = [
        "--device=cuda",
        "--micro_batch=30",
        "--report=run.html",
        &eval,
    ];
    let output = run(&dir, &like, &flags);
    assert!(output.status.success(), "{output:?}");
    let page = std::fs::read_to_string(dir.path("run.html")).unwrap();
    assert!(page.contains("held-out"), "{page}");
}

#[test]
#[ignore = "needs tools/cuda-emulator and --features cuda"]
fn a_gpu_too_small_for_one_example_says_what_to_do() {
    let dir = Dir::new();
    let like = [("EMULATED_CUDA_MEMORY", "37000000")];
    let output = run(&dir, &like, &["--device=cuda", "--micro_batch=1000"]);
    fails(
        &output,
        &[
            "memory does not hold the longest example",
            "--prompt_cutoff",
        ],
    );
}

#[test]
#[ignore = "needs tools/cuda-emulator and --features cuda"]
fn a_run_that_fails_on_the_gpu_has_saved_its_state() {
    let dir = Dir::new();
    // A step of this model is some 95 launches: the second one fails, and the third.
    for launch in ["150", "250"] {
        let like = [("EMULATED_CUDA_FAIL_AT", launch)];
        let output = run(&dir, &like, &["--device=cuda"]);
        fails(
            &output,
            &["the GPU failed at", "the last good state is in state.pth"],
        );
        std::fs::remove_file(dir.path("state.pth")).unwrap();
    }
}

/// Three steps on two ranks, which are threads of this process; the first one logs and prints into a
/// directory.
fn train_on_two_ranks(dir: &Path) {
    thread::scope(|scope| {
        for engine in distributed::threads(2) {
            scope.spawn(move || {
                let ranks = &Ranks::new(engine, "host");
                let console = match ranks.rank() {
                    0 => Console::to(std::fs::File::create(dir.join("said")).unwrap()),
                    _ => Console::silent(),
                };
                let mut options = Options {
                    model: tiny("model.pth"),
                    data: tiny("train.jsonl"),
                    save: dir.join("state.pth"),
                    log_file: Some(dir.join("log")),
                    batch_size: 8,
                    exit_loss: 0.0,
                    max_epochs: 0.1,
                    micro_batch: Some(1000),
                    device: DeviceChoice::Auto,
                    ..Options::default()
                };
                options.schedule.learning_rate = 0.1;
                train::run_on(ranks, &options, &console).unwrap();
            });
        }
    });
}

#[test]
#[ignore = "needs tools/cuda-emulator and --features cuda"]
fn each_rank_has_a_gpu_and_all_compute_in_halves_what_one_of_them_does_not_hold() {
    /// Has this test be the ranks, in this directory.
    const DIRECTORY: &str = "RANKS_OF_TEST";
    const NAME: &str =
        "each_rank_has_a_gpu_and_all_compute_in_halves_what_one_of_them_does_not_hold";
    if let Some(dir) = std::env::var_os(DIRECTORY) {
        return train_on_two_ranks(&PathBuf::from(dir));
    }
    let (plenty, little) = ("1000000000", "46000000");
    let ranks = |memory: [&str; 2]| {
        let dir = Dir::new();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", NAME, "--ignored", "--nocapture"]);
        command.env(DIRECTORY, dir.path(""));
        command.env("EMULATED_CUDA_DEVICES", "2");
        command.env("EMULATED_CUDA_MEMORY", memory.join(","));
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let said = std::fs::read_to_string(dir.path("said")).unwrap();
        assert!(said.contains("Emulated CUDA device 0"), "{said}");
        let halved = said.contains("the GPU's memory is full; the step is computed again");
        (losses(&dir.path("log")), halved)
    };
    let (whole, halved) = ranks([plenty, plenty]);
    assert!(!halved && whole.len() == 3);
    // The first rank has the first GPU, and the second rank the second.
    for memory in [[little, plenty], [plenty, little]] {
        let (losses, halved) = ranks(memory);
        assert!(halved, "{memory:?}");
        for (a, b) in whole.iter().zip(&losses) {
            assert!((a - b).abs() <= 2e-3 * a, "{whole:?} {losses:?}");
        }
    }
}
