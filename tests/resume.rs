//! Checkpoints: a run that was killed, stopped or refused a disk goes on as if nothing had
//! happened.

mod common;

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::{Dir, golden};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// Flags of a short run with everything that a checkpoint has to remember: moments, a schedule, a
/// walk in mid-epoch, the best state. Its model has 160 tokens, which are single bytes.
const FLAGS: [&str; 14] = [
    "--data_path=data.jsonl",
    "--prompt_formatter={input}",
    "--response_formatter={output}",
    "--batchsize=3",
    "--save_every=0",
    "--init=random",
    "--learningrate=0.05",
    "--lr_schedule=cosine",
    "--warmup_steps=5",
    "--weight_decay=0.01",
    "--grad_clip=1",
    "--eval_split=0.2",
    "--eval_every=7",
    "--keep=best",
];

/// A directory with the run's data; and its flags, with the model's place and `more`.
fn prepared() -> Dir {
    let dir = Dir::new();
    let mut rng = StdRng::seed_from_u64(1);
    let mut text = |length: usize| -> String {
        // Control characters, of which the vocabulary joins no two.
        (0..length)
            .map(|_| format!("\\u00{:02x}", rng.random_range(1..9)))
            .collect()
    };
    let lines: Vec<String> = (0..20)
        .map(|i| {
            format!(
                "{{\"input\": \"{}\", \"output\": \"{}\"}}\n",
                text(i % 7),
                text(1 + i % 5)
            )
        })
        .collect();
    dir.write("data.jsonl", lines.concat());
    dir
}

fn flags<'a>(model: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let mut flags = vec!["--model_location", model];
    flags.extend(FLAGS);
    flags.extend(more);
    flags
}

fn model() -> String {
    golden("model_5.2.pth").display().to_string()
}

/// How many runs are killed: `KILLS=100` for the whole measure.
fn kills() -> usize {
    std::env::var("KILLS").map_or(20, |kills| kills.parse().expect("KILLS is a number"))
}

#[test]
#[cfg(unix)]
fn runs_killed_at_any_moment_go_on_to_the_same_state() {
    let model = model();
    let flags = flags(&model, &["--max_epochs=8"]);
    let undisturbed = prepared();
    let begun = Instant::now();
    undisturbed.succeeds(&flags);
    let length = begun.elapsed();
    let wanted = fs::read(undisturbed.path("state.pth")).unwrap();
    let files = undisturbed.names();

    let again: Vec<&str> = flags.iter().copied().chain(["--resume"]).collect();
    let mut rng = StdRng::seed_from_u64(2);
    let mut taken_up = 0;
    for _ in 0..kills() {
        let dir = prepared();
        // Some are killed a second time, in the run that takes up the first.
        for flags in [&flags, &again].into_iter().take(rng.random_range(1..3)) {
            let mut run = dir.command(flags).stdout(Stdio::null()).spawn().unwrap();
            std::thread::sleep(Duration::from_secs_f64(
                rng.random_range(0.0..length.as_secs_f64()),
            ));
            run.kill().unwrap();
            run.wait().unwrap();
        }
        let said = dir.succeeds(&again);
        taken_up += usize::from(said.contains("\nresume state.pth.ckpt, after step "));
        assert!(
            fs::read(dir.path("state.pth")).unwrap() == wanted,
            "another state: {said}"
        );
        assert_eq!(dir.names(), files, "nothing is left behind");
    }
    println!(
        "{taken_up} of {} runs were killed after a checkpoint",
        kills()
    );
    assert!(
        taken_up > kills() / 4,
        "{taken_up} of {} runs had a checkpoint",
        kills()
    );
}

#[test]
fn a_longer_run_is_the_same_in_two_parts_whatever_the_walk() {
    for model in ["model_5.2.pth", "model_7.pth"] {
        let model = golden(model).display().to_string();
        for walk in ["random", "sequential", "shuffled"] {
            is_the_same_in_two_parts(&model, walk);
        }
    }
}

fn is_the_same_in_two_parts(model: &str, walk: &str) {
    let walk = format!("--dataset_walk={walk}");
    let of = |epochs| {
        let constant = ["--lr_schedule=constant", "--keep=last", &walk, epochs];
        flags(model, &constant)
            .into_iter()
            .map(str::to_string)
            .collect::<Vec<_>>()
    };
    let run = |dir: &Dir, flags: &[String], more: &[&str]| {
        let flags: Vec<&str> = flags
            .iter()
            .map(String::as_str)
            .chain(more.iter().copied())
            .collect();
        dir.succeeds(&flags)
    };
    let (whole, parts) = (prepared(), prepared());
    run(&whole, &of("--max_epochs=3"), &["--log_file=log"]);
    run(&parts, &of("--max_epochs=1.3"), &["--log_file=log"]);
    let said = run(
        &parts,
        &of("--max_epochs=3"),
        &["--log_file=log", "--resume"],
    );
    assert!(
        said.contains("--max_epochs is \"3\" now; it was \"1.3\""),
        "{said}"
    );
    let state = |dir: &Dir| fs::read(dir.path("state.pth")).unwrap();
    assert!(state(&whole) == state(&parts), "{walk}");
    let numbers = |dir: &Dir| -> Vec<(f64, f64)> {
        let log = fs::read_to_string(dir.path("log")).unwrap();
        let lines = log
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        let steps = lines.filter(|line| line.get("loss").is_some());
        steps
            .map(|step| {
                (
                    step["loss"].as_f64().unwrap(),
                    step["loss_avg"].as_f64().unwrap(),
                )
            })
            .collect()
    };
    assert_eq!(numbers(&whole), numbers(&parts), "{walk}");
}

#[test]
fn without_a_checkpoint_it_begins_and_with_a_finished_one_it_says_so() {
    let (dir, model) = (prepared(), model());
    let flags = flags(&model, &["--max_epochs=2", "--resume"]);
    let said = dir.succeeds(&flags);
    assert!(
        said.contains("there is no state.pth.ckpt; starting from the beginning"),
        "{said}"
    );
    let state = fs::read(dir.path("state.pth")).unwrap();
    fs::remove_file(dir.path("state.pth")).unwrap();
    let said = dir.succeeds(&flags);
    assert!(
        said.contains("the run is at its end: --max_epochs 2 done; --resume goes on with a higher --max_epochs"),
        "{said}"
    );
    assert!(
        fs::read(dir.path("state.pth")).unwrap() == state,
        "the state is in the checkpoint too"
    );
    let said = dir.succeeds(&flags[..flags.len() - 1]);
    assert!(
        said.contains("state.pth.ckpt is of an earlier run and is now state.pth.ckpt.old"),
        "{said}"
    );
    dir.write("state.pth.ckpt.old", "notes");
    dir.refuses(
        &flags[..flags.len() - 1],
        1,
        &["state.pth.ckpt.old", "in the way"],
    );
}

#[test]
fn epochs_count_examples_whatever_the_batches_were() {
    let (dir, model) = (prepared(), model());
    // 16 examples to learn from.
    let said = dir.succeeds(&flags(
        &model,
        &["--batchsize=2", "--max_epochs=1", "--threads=1"],
    ));
    assert!(said.contains("train  8 steps of 2 examples"), "{said}");
    let more = ["--batchsize=8", "--max_epochs=3", "--threads=2", "--resume"];
    let dry = [&more[..], &["--dry_run"]].concat();
    for more in [&dry[..], &more[..]] {
        let said = dir.succeeds(&flags(&model, more));
        for words in [
            "resume state.pth.ckpt, after step 8\n",
            "train  12 steps of 8 examples\n",
            "--batchsize is \"8\" now; it was \"2\"",
            "the run is computed by CPU (",
            "1 thread), in ",
        ] {
            assert!(said.contains(words), "{words}: {said}");
        }
    }
    let said = dir.succeeds(&flags(
        &model,
        &["--batchsize=8", "--max_epochs=3", "--resume", "--dry_run"],
    ));
    assert!(
        said.contains("the run is at its end: --max_epochs 3 done"),
        "{said}"
    );
}

#[test]
fn a_run_that_its_loss_ended_goes_on_with_a_lower_limit() {
    let (dir, model) = (prepared(), model());
    dir.succeeds(&flags(&model, &["--max_epochs=2", "--exit_loss=100"]));
    let said = dir.succeeds(&flags(
        &model,
        &["--max_epochs=2", "--exit_loss=100", "--resume"],
    ));
    assert!(
        said.contains("the run is at its end: the loss ")
            && said.contains(
                "is below --exit_loss 100; --resume goes on with a lower --exit_loss (0: none)"
            ),
        "{said}"
    );
    let said = dir.succeeds(&flags(
        &model,
        &["--max_epochs=2", "--exit_loss=0", "--resume"],
    ));
    assert!(
        said.contains("--max_epochs 2 done") && !said.contains("at its end"),
        "{said}"
    );
}

/// The first version kept each flag as it was typed. Its checkpoint here is of a run of two steps
/// with `--learningrate=1e-2 --seed=07 --tune=wkv,shift`, of a model that lay beside it.
#[test]
fn a_checkpoint_of_the_first_version_goes_on() {
    let (dir, model) = (Dir::new(), model());
    let lines = [
        r#"{"input": "\u0001", "output": "\u0002\u0003"}"#,
        r#"{"input": "\u0004\u0002", "output": "\u0005"}"#,
        r#"{"input": "\u0006", "output": "\u0007\u0001"}"#,
        r#"{"input": "\u0003", "output": "\u0003"}"#,
    ];
    dir.write("data.jsonl", lines.join("\n"));
    let first = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/first_version.ckpt");
    fs::copy(first, dir.path("state.pth.ckpt")).unwrap();
    let flags = [
        "--model_location",
        &model,
        "--data_path=data.jsonl",
        "--prompt_formatter={input}",
        "--response_formatter={output}",
        "--batchsize=3",
        "--save_every=0",
        "--learningrate=0.01",
        "--dtype=f32",
        "--seed=7",
        "--max_epochs=4",
        "--resume",
    ];
    let with = |tune| [&flags[..], &[tune]].concat();
    dir.refuses(
        &with("--tune=wkv"),
        1,
        &["it says --tune shift,wkv --init ones --seed 7"],
    );
    let said = dir.succeeds(&with("--tune=shift,wkv"));
    assert!(
        said.contains("resume state.pth.ckpt, after step 2"),
        "{said}"
    );
    let changed = |line: &&str| line.starts_with("note   --");
    let changed: Vec<&str> = said.lines().filter(changed).collect();
    let place = format!("note   --model_location is {model:?} now; it was \"model.pth\"");
    let epochs = "note   --max_epochs is \"4\" now; it was \"2\"";
    assert_eq!(changed, [epochs, &place], "typed otherwise is no change");
}

#[test]
fn a_checkpoint_of_something_else_is_refused() {
    let (dir, model) = (prepared(), model());
    dir.succeeds(&flags(&model, &["--max_epochs=2"]));
    let refuses = |more: &[&str], words: &[&str]| {
        let more = [&["--resume", "--max_epochs=3"], more].concat();
        let words = [&["state.pth.ckpt"], words].concat();
        dir.refuses(&flags(&model, &more), 1, &words);
    };
    refuses(
        &["--tune=softprompt,wkv"],
        &["--tune", "softprompt,shift,wkv"],
    );
    refuses(&["--eval_split=0.3"], &["examples are not the same"]);
    refuses(
        &["--prompt_cutoff=2"],
        &["training examples are not the same"],
    );

    let whole = fs::read(dir.path("state.pth.ckpt")).unwrap();
    dir.write("state.pth.ckpt", &whole[..whole.len() - 1]);
    refuses(&[], &["state.pth.ckpt"]);
    // Not even looked at unless it is one: a file of the user's own.
    dir.write("state.pth.ckpt", "notes");
    refuses(&[], &["not replaced"]);
    dir.refuses(&flags(&model, &[]), 1, &["state.pth.ckpt", "not replaced"]);
}

#[test]
#[cfg(target_os = "linux")]
#[ignore = "needs user namespaces, for a small disk"]
fn a_full_disk_spares_the_old_files_and_the_run() {
    let (dir, model) = (prepared(), model());
    // A checkpoint takes about 100 kB. The first ones find room; then something fills the disk, and
    // makes room again.
    let program = env!("CARGO_BIN_EXE_state-tune");
    let flags = flags(
        &model,
        &[
            "--max_epochs=60",
            "--save_filename=disk/state.pth",
            "--log_file=log",
        ],
    );
    let flags: Vec<String> = flags.iter().map(|flag| format!("'{flag}'")).collect();
    let mount = "mount -t tmpfs -o size=1m tmpfs disk";
    let inside = |script: &str| {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--map-root-user", "--user", "sh", "-c", script]);
        command.current_dir(dir.path(""));
        command.output()
    };
    fs::create_dir(dir.path("disk")).unwrap();
    let script = format!(
        "{mount}
        '{program}' {} > said 2>&1 &
        until test -s disk/state.pth.ckpt; do :; done
        dd if=/dev/zero of=disk/other bs=1k count=1000 2>/dev/null
        until grep -q 'cannot write the checkpoint' said; do :; done
        rm disk/other
        wait $! && cp disk/state.pth .",
        flags.join(" ")
    );
    let ran = inside(&script).unwrap();
    let said = fs::read_to_string(dir.path("said")).unwrap();
    assert!(ran.status.success(), "{said}");
    assert!(said.contains("the run goes on"), "{said}");

    let undisturbed = prepared();
    undisturbed.succeeds(&self::flags(&model, &["--max_epochs=60"]));
    assert!(
        fs::read(dir.path("state.pth")).unwrap()
            == fs::read(undisturbed.path("state.pth")).unwrap()
    );
}

#[test]
#[cfg(unix)]
fn an_evaluation_that_a_signal_prevented_is_made_up_for() {
    let model = model();
    let flags = flags(
        &model,
        &["--max_epochs=40", "--eval_every=1", "--log_file=log"],
    );
    let (whole, parts) = (prepared(), prepared());
    whole.succeeds(&flags);
    let mut run = parts.command(&flags).stdout(Stdio::null()).spawn().unwrap();
    common::first_step(&mut run, &parts.path("log"));
    common::signal(&run, "INT");
    assert_eq!(run.wait().unwrap().code(), Some(130));
    parts.succeeds(&[flags.as_slice(), &["--resume"]].concat());
    let state = |dir: &Dir| fs::read(dir.path("state.pth")).unwrap();
    assert!(state(&whole) == state(&parts));
    let evaluated = |dir: &Dir| {
        let log = fs::read_to_string(dir.path("log")).unwrap();
        log.lines()
            .filter(|line| line.contains("eval_loss"))
            .map(str::to_string)
            .collect::<Vec<_>>()
    };
    assert_eq!(evaluated(&whole), evaluated(&parts));
}

#[test]
fn a_checkpoint_holds_only_what_gave_a_finite_loss() {
    let (dir, model) = (prepared(), model());
    // The rate grows until the numbers are lost.
    let lost = [
        "--lr_schedule=exponential",
        "--lr_final=1e30",
        "--max_epochs=4",
        "--eval_every=0",
        "--keep=last",
        "--grad_clip=0",
    ];
    let run = dir.run(&flags(&model, &lost));
    let error = String::from_utf8(run.stderr).unwrap();
    assert_eq!(run.status.code(), Some(1));
    assert!(
        error.contains("lower --learningrate") && error.contains("last good state is in"),
        "{error}"
    );
    let said = dir.succeeds(&flags(
        &model,
        &["--learningrate=0.01", "--max_epochs=4", "--resume"],
    ));
    assert!(said.contains("resume state.pth.ckpt, after step"), "{said}");
}

#[test]
fn a_start_that_fails_leaves_the_checkpoint_in_its_place() {
    let (dir, model) = (prepared(), model());
    dir.succeeds(&flags(&model, &["--max_epochs=2"]));
    dir.refuses(
        &flags(&model, &["--tensorboard=state.pth/board"]),
        1,
        &["--tensorboard"],
    );
    dir.refuses(
        &flags(&model, &["--log_file=state.pth.ckpt.old"]),
        1,
        &["--log_file", "an earlier checkpoint"],
    );
    // Forgotten, and stopped before a step: the way back is told.
    fs::rename(dir.path("state.pth.ckpt"), dir.path("state.pth.ckpt.old")).unwrap();
    let said = dir.succeeds(&flags(&model, &["--max_epochs=2", "--resume"]));
    assert!(
        said.contains("state.pth.ckpt.old is of an earlier run"),
        "{said}"
    );
}

#[test]
fn a_last_step_that_loses_the_numbers_is_no_good_end() {
    let (dir, model) = (prepared(), model());
    let lost = [
        "--learningrate=1e38",
        "--warmup_steps=0",
        "--eval_every=0",
        "--grad_clip=0",
    ];
    let flags = flags(&model, &lost);
    let flags: Vec<&str> = flags
        .into_iter()
        .filter(|flag| !flag.starts_with("--eval_split") && *flag != "--keep=best")
        .collect();
    for epochs in ["--max_epochs=0.15", "--max_epochs=1"] {
        let run = dir.run(&[flags.as_slice(), &[epochs]].concat());
        let error = String::from_utf8(run.stderr).unwrap();
        assert_eq!(run.status.code(), Some(1), "{error}");
        assert!(error.contains("nothing was learnt before that"), "{error}");
        assert_eq!(dir.names(), ["data.jsonl"]);
    }
}
