//! Every flag in every spelling, once or repeated.

use std::collections::BTreeSet;
use std::path::Path;

use super::files::{address, dataset};
use super::*;
use crate::data::Walk;
use crate::data::bad_rows::OnBadRow;
use crate::data::format::{self, DataFormat};
use crate::data::line_ends::LineEnds;
use crate::fetch::Remote;
use crate::ops::cpu::level::Level;
use crate::ops::device::DeviceChoice;
use crate::ops::linear::ProductType;
use crate::ops::linear::Weights;
use crate::sample::Ask;
use crate::setting::DATA_URL;
use crate::setting::MODEL_URL;
use crate::state_file::OtherModel;
use crate::train::HeldOut;
use crate::train::Init;
use crate::train::Recompute;
use crate::train::Tune;
use crate::train::schedule::Shape;

/// One value other than the default for every flag, and whether it arrived.
type Arrives = fn(&Command) -> bool;

#[rustfmt::skip] // one flag a line
const EVERY_FLAG: [(&str, &str, Arrives); 51] = [
    ("learningrate", "1e-2", |c| options(c).schedule.learning_rate == 0.01),
    ("batchsize", "3", |c| options(c).batch_size == 3),
    ("exit_loss", "-1", |c| options(c).exit_loss == -1.0),
    ("max_epochs", "0.25", |c| options(c).max_epochs == 0.25),
    ("max_time", "1e3", |c| options(c).max_time == 1000.0),
    ("dataset_walk", "sequential", |c| options(c).walk == Walk::Sequential),
    ("tune", "wkv", |c| options(c).tune == Tune { soft_prompt: false, shift: false, wkv: true }),
    ("init", "random", |c| options(c).init == Some(Init::Random)),
    ("seed", "18446744073709551615", |c| options(c).seed == u64::MAX),
    ("lr_schedule", "cosine", |c| options(c).schedule.shape == Shape::Cosine),
    ("lr_final", "1e-5", |c| options(c).schedule.last == Some(1e-5)),
    ("warmup_steps", "9", |c| options(c).schedule.warmup == 9),
    ("grad_clip", "1.5", |c| options(c).grad_clip == 1.5),
    ("adam_beta1", "0.8", |c| options(c).adam.beta1 == 0.8),
    ("adam_beta2", "0", |c| options(c).adam.beta2 == 0.0),
    ("weight_decay", "0.1", |c| options(c).adam.weight_decay == 0.1),
    ("eval_path", "e.jsonl", |c| options(c).evaluation.examples == HeldOut::File("e.jsonl".into())),
    ("eval_split", "0.1", |c| options(c).evaluation.examples == HeldOut::Share(0.1)),
    ("eval_every", "0", |c| options(c).evaluation.every == 0),
    ("resume", "true", |c| options(c).resume),
    ("save_every", "0", |c| options(c).save_every == 0.0),
    ("data_format", "alpaca", |c| options(c).formats.format == Some(DataFormat::Shape(format::Shape::Alpaca))),
    ("skip_bad", "true", |c| options(c).formats.on_bad_row == OnBadRow::Skip),
    ("keep_cr", "true", |c| options(c).formats.line_ends == LineEnds::Keep),
    ("prompt_formatter", "-{q}\\n", |c| options(c).formats.prompt == template("-{q}\n")),
    ("response_formatter", "--{a}\\n", |c| options(c).formats.response == template("--{a}\n")),
    ("system_formatter", "{system}\\n", |c| options(c).formats.system == template("{system}\n")),
    ("response_end", "-\\n", |c| options(c).formats.end == "-\n"),
    ("prompt_cutoff", "0", |c| options(c).formats.prompt_cutoff == Some(0)),
    ("completion_cutoff", "7", |c| options(c).formats.completion_cutoff == Some(7)),
    ("model_location", "m.st", |c| options(c).model == Path::new("m.st")),
    ("model_url", "https://m", |c| options(c).model_remote == address(MODEL_URL, "https://m")),
    ("data_path", "d.jsonl", |c| options(c).data == Path::new("d.jsonl")),
    ("data_url", "https://d", |c| options(c).data_remote == address(DATA_URL, "https://d")),
    ("huggingface_dataset", "me/mine", |c| options(c).data_remote == dataset("me/mine")),
    ("dataset_split", "test", |c| matches!(&options(c).data_remote, Some(Remote::Dataset { split, .. }) if split == "test")),
    ("dry_run", "true", |c| matches!(c, Command::DryRun { .. })),
    ("save_filename", "s.pth", |c| options(c).save == Path::new("s.pth")),
    ("log_file", "l.jsonl", |c| options(c).log_file.as_deref() == Some(Path::new("l.jsonl"))),
    ("report", "r.html", |c| options(c).report.as_deref() == Some(Path::new("r.html"))),
    ("tensorboard", "runs", |c| options(c).tensorboard.as_deref() == Some(Path::new("runs"))),
    ("prompt", "- a\\nb", |c| asked(c) == &Ask::Prompt("- a\nb".into())),
    ("prompts", "p.jsonl", |c| asked(c) == &Ask::Prompts("p.jsonl".into())),
    ("interactive", "true", |c| asked(c) == &Ask::Interactive),
    ("device", "cuda:1", |c| options(c).device == DeviceChoice::Cuda(1)),
    ("dtype", "bf16", |c| options(c).product == Some(ProductType::Bf16)),
    ("weights", "nf4", |c| options(c).weights == Weights::Nf4),
    ("cpu", "plain", |c| options(c).processor.level == Some(Level::Plain)),
    ("recompute", "always", |c| options(c).recompute == Recompute::Always),
    ("micro_batch", "512", |c| options(c).micro_batch == Some(512)),
    ("threads", "2", |c| options(c).processor.threads == Some(2)),
];

fn options(command: &Command) -> &train::Options {
    match command {
        Command::Train { options, .. } | Command::DryRun { options } => options,
        other => panic!("it should train: {other:?}"),
    }
}

fn asked(command: &Command) -> &Ask {
    match command {
        Command::Sample { options, .. } => &options.ask,
        other => panic!("it should answer: {other:?}"),
    }
}

#[test]
fn every_flag_is_taken_in_every_spelling() {
    let known: BTreeSet<String> = command()
        .get_arguments()
        .map(|argument| argument.get_id().to_string())
        .collect();
    let tried = EVERY_FLAG.iter().map(|(flag, ..)| flag.to_string());
    // Read only in a test run, or of use only with another; they have tests of their own below.
    let tested = [
        "max_tokens",
        "temperature",
        "top_p",
        "force",
        "keep",
        "patience",
    ]
    .map(str::to_string);
    let tried: BTreeSet<String> = tried.chain(tested).collect();
    assert_eq!(known, tried, "each flag is tried here");

    for (flag, value, arrives) in EVERY_FLAG {
        for flag in [flag.to_string(), flag.replace('_', "-")] {
            let spelt = format!("--{flag}");
            let joined = format!("{spelt}={value}");
            let shouted = format!("STATE_TUNE_{}", flag.to_uppercase());
            for command in [
                parsed(&[&joined], &[]),
                parsed(&[&spelt, value], &[]),
                parsed(&[], &[(&spelt, value)]),
                parsed(&[], &[(&shouted, value)]),
            ] {
                assert!(arrives(command.as_ref().unwrap()), "{joined}: {command:?}");
            }
        }
    }
}

#[test]
fn flags_of_a_test_run_are_taken_in_every_spelling() {
    for typed in [
        ["--prompt=x", "--max_tokens=9"].as_slice(),
        &["--prompt=x", "--max-tokens", "9"],
    ] {
        assert_eq!(sample(typed).settings.max_tokens, 9);
    }
    let typed = ["--prompt=x", "--temperature=.5", "--top-p=0.9", "--seed=7"];
    let settings = sample(&typed).settings;
    assert_eq!((settings.temperature, settings.top_p), (0.5, 0.9));
    assert_eq!(settings.seed, 7);
    assert_eq!(
        sample(&["--prompt=x", "--weights=int8"]).weights,
        Weights::Int8
    );
    for typed in ["--force", "--force=true"] {
        let options = sample(&["--prompt=x", typed]);
        assert_eq!(options.other_model, OtherModel::Accept);
    }
}

#[test]
fn of_a_repeated_flag_the_last_counts() {
    assert_eq!(train(&["--batchsize=1", "--batchsize", "2"]).batch_size, 2);
    assert_eq!(train(&["--exit-loss=1", "--exit_loss=2"]).exit_loss, 2.0);
    let two = Ask::Prompt("two".into());
    assert_eq!(sample(&["--prompt=one", "--prompt=two"]).ask, two);
}

#[test]
fn a_later_list_of_groups_replaces_an_earlier_one() {
    let only_shift = Tune {
        soft_prompt: false,
        shift: true,
        wkv: false,
    };
    assert_eq!(train(&["--tune=wkv", "--tune=shift"]).tune, only_shift);
    let variables = [("STATE_TUNE_TUNE", "wkv"), ("--tune", "softprompt,wkv")];
    assert_eq!(
        train_with(&["--tune", "shift"], &variables).tune,
        only_shift
    );
    let spelt = Tune {
        soft_prompt: true,
        shift: false,
        wkv: true,
    };
    assert_eq!(train_with(&[], &variables).tune, spelt);
}

#[test]
fn an_unknown_flag_is_named() {
    for typed in [["--typo", "1"].as_slice(), &["--typo=1"], &["--typo"]] {
        let message = misuse(typed, &[]);
        assert!(message.contains("--typo"), "{message}");
        assert!(!message.contains("environment"), "{message}");
    }
    let message = misuse(&["data.jsonl"], &[]);
    assert!(message.contains("data.jsonl"), "{message}");
}
