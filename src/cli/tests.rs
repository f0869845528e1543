//! What is typed and what stands in the environment, against the options it comes to.

use std::collections::BTreeSet;
use std::path::Path;

use super::*;
use crate::data::Walk;
use crate::data::template::Template;
use crate::ops::device::Choice;
use crate::ops::linear::{Product, Weights};
use crate::state_file::{Format, OtherModel};
use crate::train::schedule::Shape;
use crate::train::{Init, Recompute, Tune};

/// Parses a command line and an environment.
fn parsed(typed: &[&str], variables: &[(&str, &str)]) -> Result<Command, Exit> {
    let name = ["state-tune"];
    parse(
        name.iter().chain(typed).map(OsString::from),
        variables
            .iter()
            .map(|(name, value)| (name.into(), value.into())),
    )
}

fn train_with(typed: &[&str], variables: &[(&str, &str)]) -> train::Options {
    match parsed(typed, variables) {
        Ok(Command::Train { options, .. }) => *options,
        other => panic!("{typed:?} {variables:?} should train, but gave {other:?}"),
    }
}

fn train(typed: &[&str]) -> train::Options {
    train_with(typed, &[])
}

fn sample(typed: &[&str]) -> sample::Options {
    match parsed(typed, &[]) {
        Ok(Command::Sample { options, .. }) => *options,
        other => panic!("{typed:?} should answer a prompt, but gave {other:?}"),
    }
}

/// The message of what must be refused as wrong usage, in one line.
fn misuse(typed: &[&str], variables: &[(&str, &str)]) -> String {
    match parsed(typed, variables) {
        Err(Exit::Usage(message)) => {
            assert_eq!(message.lines().count(), 1, "{message}");
            message
        }
        other => panic!("{typed:?} {variables:?} is wrong usage, but gave {other:?}"),
    }
}

fn template(text: &str) -> Template {
    Template::parse(text).unwrap()
}

fn dataset(name: &str) -> Option<Remote> {
    let dataset = name.parse().unwrap();
    let split = "train".to_string();
    Some(Remote::Dataset { dataset, split })
}

fn address(setting: Setting, url: &str) -> Option<Remote> {
    let address = url.parse().unwrap();
    Some(Remote::Url { setting, address })
}

#[test]
fn nothing_typed_is_a_training_run_with_every_default() {
    // Destructured, so that a new option must say its default here.
    let Command::Train { options, machine } = parsed(&[], &[]).unwrap() else {
        panic!("without --prompt it trains");
    };
    let train::Options {
        model,
        model_remote,
        data,
        data_remote,
        formats,
        save,
        log_file,
        report,
        tensorboard,
        resume,
        save_every,
        evaluation,
        schedule,
        adam,
        grad_clip,
        batch_size,
        walk,
        seed,
        init,
        tune,
        exit_loss,
        max_epochs,
        max_time,
        device,
        product,
        weights,
        recompute,
        micro_batch,
        flags,
    } = *options;
    let constant = Schedule {
        shape: Shape::Constant,
        learning_rate: 0.01,
        last: 0.0001,
        warmup: 0,
    };
    assert_eq!(schedule, constant);
    let adam_of_pytorch = Adam {
        beta1: 0.9,
        beta2: 0.999,
        weight_decay: 0.0,
    };
    assert_eq!((adam, grad_clip), (adam_of_pytorch, 0.0));
    assert_eq!((resume, save_every), (false, 300.0));
    assert_eq!(evaluation.examples, HeldOut::None);
    assert_eq!(
        (evaluation.every, evaluation.keep, evaluation.patience),
        (50, Keep::Last, 0)
    );
    assert_eq!(micro_batch, None);
    assert!(
        flags.contains(&("--learningrate".to_string(), "0.01".to_string())),
        "{flags:?}"
    );
    assert_eq!(batch_size, 8);
    assert_eq!(exit_loss, 0.5);
    assert_eq!(max_epochs, 10.0);
    assert_eq!(max_time, 3600.0);
    assert_eq!(walk, Walk::Shuffled);
    assert_eq!(seed, 1);
    assert_eq!(init, Init::Ones);
    let everything = Tune {
        soft_prompt: true,
        shift: true,
        wkv: true,
    };
    assert_eq!(tune, everything);
    assert_eq!(formats.prompt, template("user: {input}\n\nassistant:"));
    assert_eq!(formats.response, template(" {output}"));
    assert_eq!(formats.prompt_cutoff, None);
    assert_eq!(formats.completion_cutoff, None);
    assert_eq!(model, Path::new("model.pth"));
    assert_eq!(model_remote, None);
    assert_eq!(data, Path::new("data.jsonl"));
    assert_eq!(data_remote, dataset("lonestar108/naughty-chat"));
    assert_eq!(save, Path::new("state.pth"));
    assert_eq!((log_file, report, tensorboard), (None, None, None));
    assert_eq!((device, product), (Choice::Auto, None));
    assert_eq!(weights, Weights::File);
    assert_eq!(recompute, Recompute::Auto);
    assert_eq!((machine.threads, machine.level), (None, None));
}

#[test]
fn a_prompt_is_answered_with_its_own_defaults() {
    let Ok(Command::Sample { options, machine }) = parsed(&["--prompt", "Hi"], &[]) else {
        panic!("with --prompt it answers");
    };
    let sample::Options {
        model,
        model_remote,
        state,
        ask,
        settings,
        other_model,
        device,
        product,
        weights,
    } = *options;
    assert_eq!(other_model, OtherModel::Refuse);
    assert_eq!(model, Path::new("model.pth"));
    assert_eq!(model_remote, None);
    assert_eq!(state, Path::new("state.pth"));
    assert_eq!(ask, Ask::Prompt("Hi".into()));
    let defaults = Settings {
        max_tokens: 50,
        temperature: 0.0,
        top_p: 1.0,
        seed: 1,
        stop: None,
    };
    assert_eq!(settings, defaults);
    assert_eq!((device, product), (Choice::Auto, None));
    assert_eq!(weights, Weights::File);
    assert_eq!((machine.threads, machine.level), (None, None));
}

/// One value other than the default for every flag, and whether it arrived.
type Arrives = fn(&Command) -> bool;
#[rustfmt::skip] // one flag a line
const EVERY_FLAG: [(&str, &str, Arrives); 48] = [
    ("learningrate", "1e-2", |c| options(c).schedule.learning_rate == 0.01),
    ("batchsize", "3", |c| options(c).batch_size == 3),
    ("exit_loss", "-1", |c| options(c).exit_loss == -1.0),
    ("max_epochs", "0.25", |c| options(c).max_epochs == 0.25),
    ("max_time", "1e3", |c| options(c).max_time == 1000.0),
    ("dataset_walk", "sequential", |c| options(c).walk == Walk::Sequential),
    ("tune", "wkv", |c| options(c).tune == Tune { soft_prompt: false, shift: false, wkv: true }),
    ("init", "random", |c| options(c).init == Init::Random),
    ("seed", "18446744073709551615", |c| options(c).seed == u64::MAX),
    ("lr_schedule", "cosine", |c| options(c).schedule.shape == Shape::Cosine),
    ("lr_final", "1e-5", |c| options(c).schedule.last == 1e-5),
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
    ("prompts", "p.jsonl", |c| matches!(asked(c), Ask::Prompts { path, formats } if path == Path::new("p.jsonl") && formats.prompt == template(PROMPT))),
    ("interactive", "true", |c| asked(c) == &Ask::Interactive { formatter: template(PROMPT) }),
    ("device", "cuda:1", |c| options(c).device == Choice::Cuda(1)),
    ("dtype", "bf16", |c| options(c).product == Some(Product::Bf16)),
    ("weights", "nf4", |c| options(c).weights == Weights::Nf4),
    ("cpu", "plain", |c| matches!(c, Command::Train { machine: Machine { level: Some(Level::Plain), .. }, .. })),
    ("recompute", "always", |c| options(c).recompute == Recompute::Always),
    ("micro_batch", "512", |c| options(c).micro_batch == Some(512)),
    ("threads", "2", |c| matches!(c, Command::Train { machine: Machine { threads: Some(2), .. }, .. })),
];

fn options(command: &Command) -> &train::Options {
    match command {
        Command::Train { options, .. } | Command::DryRun { options } => options,
        other => panic!("it should train: {other:?}"),
    }
}

const PROMPT: &str = "user: {input}\n\nassistant:";

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
fn every_setting_that_a_message_names_is_a_flag() {
    let mut known: BTreeSet<String> = BTreeSet::new();
    for command in [command(), Tool::command()] {
        let inner = command
            .get_subcommands()
            .flat_map(clap::Command::get_arguments);
        let arguments = command.get_arguments().chain(inner);
        known.extend(arguments.map(|argument| argument.get_id().to_string()));
    }
    for setting in setting::NAMED {
        assert!(known.contains(setting.name()), "{}", setting.name());
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
fn what_goes_by_held_out_examples_needs_some() {
    let with = |flag| train(&["--eval_split=0.2", flag]).evaluation;
    assert_eq!(with("--keep=best").keep, Keep::Best);
    assert_eq!(with("--patience=3").patience, 3);
    for flag in ["--keep=best", "--patience=3"] {
        assert!(misuse(&[flag], &[]).contains("--eval_split"));
    }
    assert!(misuse(&["--eval_split=0.2", "--eval_path=e"], &[]).contains("--eval_path"));
}

#[test]
fn flags_that_are_remembered_hold_no_address() {
    let flags = train(&["--data_url=https://me:secret@example.org/d.jsonl"]).flags;
    assert!(!format!("{flags:?}").contains("secret"));
}

#[test]
fn the_command_line_beats_a_spelt_variable_and_that_a_shouted_one() {
    let shouted = ("STATE_TUNE_BATCHSIZE", "1");
    let spelt = ("--batchsize", "2");
    assert_eq!(train_with(&[], &[shouted]).batch_size, 1);
    assert_eq!(train_with(&[], &[shouted, spelt]).batch_size, 2);
    assert_eq!(train_with(&[], &[spelt, shouted]).batch_size, 2);
    let typed = train_with(&["--batchsize", "3"], &[spelt, shouted]);
    assert_eq!(typed.batch_size, 3);
    // However each of them is spelt.
    let dashes = train_with(&["--max-time=3"], &[("STATE_TUNE_MAX_TIME", "1")]);
    assert_eq!(dashes.max_time, 3.0);
    let dashes = train_with(&[], &[("--max_time", "2"), ("STATE_TUNE_MAX-TIME", "1")]);
    assert_eq!(dashes.max_time, 2.0);
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
fn negative_numbers_and_exponents_are_numbers() {
    for typed in [
        [
            "--learningrate=1e-2",
            "--exit_loss=-1",
            "--prompt_cutoff=-1",
        ]
        .as_slice(),
        &["--learningrate", "1e-2"],
        &["--learningrate", ".01", "--exit_loss", "-1.5e-3"],
        &["--prompt_cutoff", "-1", "--completion_cutoff", "-1"],
    ] {
        let options = train(typed);
        assert_eq!(options.schedule.learning_rate, 0.01);
        assert_eq!(options.formats.prompt_cutoff, None);
        assert_eq!(options.formats.completion_cutoff, None);
    }
    assert_eq!(
        train(&["--exit_loss", "-1.5e-3"]).exit_loss,
        -0.0015,
        "a loss is never below it, which is how never to stop by it"
    );
}

#[test]
fn the_two_characters_backslash_n_are_a_newline_and_a_newline_stays_one() {
    let typed = train(&[
        "--prompt_formatter",
        "a\\nb\n{c}",
        "--response_formatter=\\n",
    ]);
    assert_eq!(typed.formats.prompt, template("a\nb\n{c}"));
    assert_eq!(typed.formats.response, template("\n"));
    let prompt = Ask::Prompt("a\n\nb:".into());
    assert_eq!(sample(&["--prompt", "a\\n\\nb:"]).ask, prompt);
}

#[test]
fn a_value_out_of_range_is_refused_with_its_flag_and_its_value() {
    let wrong: [(&str, &[&str]); 26] = [
        (
            "learningrate",
            &["0", "-1", "nan", "inf", "1e999", "fast", " "],
        ),
        ("batchsize", &["0", "-1", "1.5", "1000000001", "1e3"]),
        ("exit_loss", &["nan", "-inf", "low"]),
        ("max_epochs", &["0", "-1", "nan", "inf"]),
        ("max_time", &["0", "-0.5", "nan", "1h"]),
        ("dataset_walk", &["backwards", "Shuffled"]),
        ("tune", &["all", "shift,all", "shift wkv"]),
        ("init", &["twos"]),
        ("seed", &["-1", "1.5", "18446744073709551616"]),
        ("prompt_formatter", &["{", "}", "{}", "{0}", "{a.b}"]),
        ("response_formatter", &["{a", "a}"]),
        ("system_formatter", &["{", "{}"]),
        ("prompt_cutoff", &["-2", "1.5", "all"]),
        ("completion_cutoff", &["0", "-2"]),
        ("device", &["gpu", "cuda:", "cuda:x", "cuda:-1", "cpu:0"]),
        ("dtype", &["f16", "F32"]),
        ("weights", &["auto", "int4", "NF4"]),
        ("cpu", &["sse", "AVX2"]),
        ("recompute", &["sometimes"]),
        ("threads", &["0", "-1", "1025", "many"]),
        ("max_tokens", &["0", "-1", "1000000001"]),
        ("temperature", &["-0.1", "nan", "inf", "hot"]),
        ("top_p", &["0", "-0.5", "1.01", "nan", "most"]),
        ("interactive", &["perhaps"]),
        // Nothing can be said by these but that they are empty, which shows no value.
        ("prompt", &[""]),
        ("save_filename", &[""]),
    ];
    for (flag, values) in wrong {
        let (spelt, shouted) = (
            format!("--{flag}"),
            format!("STATE_TUNE_{}", flag.to_uppercase()),
        );
        for value in values {
            for message in [
                misuse(&[&spelt, value], &[]),
                misuse(&[&format!("{spelt}={value}")], &[]),
                misuse(&[], &[(&spelt, value)]),
                misuse(&[], &[(&shouted, value)]),
            ] {
                // Of a list the wrong item is enough.
                let item = value.split(',').next_back().unwrap_or(value);
                assert!(
                    message.contains(&spelt) && message.contains(item),
                    "{value}: {message}"
                );
            }
        }
    }
}

#[test]
fn empty_names_of_files_are_refused() {
    for flag in [
        "--model_location",
        "--data_path",
        "--save_filename",
        "--log_file",
        "--prompts",
    ] {
        let message = misuse(&[&format!("{flag}=")], &[]);
        assert!(message.contains(flag), "{message}");
    }
}

#[test]
fn an_empty_prompt_is_refused_and_does_not_start_a_training() {
    for message in [
        misuse(&["--prompt", ""], &[]),
        misuse(&["--prompt="], &[]),
        misuse(&[], &[("STATE_TUNE_PROMPT", "")]),
    ] {
        assert!(
            message.contains("--prompt") && message.contains("empty"),
            "{message}"
        );
    }
}

#[test]
fn one_way_of_asking_is_enough() {
    let ways = ["--prompt=x", "--prompts=p.jsonl", "--interactive"];
    for (i, way) in ways.iter().enumerate() {
        let message = misuse(&[way, ways[(i + 1) % 3]], &[]);
        assert!(message.contains("only one of"), "{message}");
        let message = misuse(&[way, "--dry_run"], &[]);
        assert!(message.contains("--dry_run"), "{message}");
    }
    misuse(&["--interactive"], &[("STATE_TUNE_PROMPT", "x")]);
    sample(&["--interactive=false", "--prompt=x"]);
}

#[test]
fn a_talk_needs_a_formatter_for_what_is_typed_and_nothing_else() {
    for (formatter, words) in [
        ("{question}", "{question}"),
        ("{context} {input}", "{context}"),
        ("as it stands", "no key"),
    ] {
        let message = misuse(&["--interactive", "--prompt_formatter", formatter], &[]);
        assert!(
            message.contains("--prompt_formatter") && message.contains(words),
            "{message}"
        );
        sample(&["--prompts=p", "--prompt_formatter", formatter]);
    }
    sample(&["--interactive", "--prompt_formatter={input}, {input}"]);
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

#[test]
fn an_unknown_setting_in_the_environment_is_named_as_such() {
    for name in ["--typo", "STATE_TUNE_TYPO", "STATE_TUNE_Typo"] {
        let message = misuse(&["--batchsize", "2"], &[(name, "1")]);
        assert!(
            message.contains("environment") && message.contains("--typo"),
            "{message}"
        );
    }
    misuse(&[], &[("STATE_TUNE_", "1")]);
    misuse(&[], &[("--", "1")]);
}

#[test]
fn other_variables_are_none_of_its_business() {
    let variables = [
        ("BATCHSIZE", "1"),
        ("-batchsize", "1"),
        ("state_tune_batchsize", "1"),
        ("MY_STATE_TUNE_BATCHSIZE", "1"),
        ("STATE_TUNER", "1"),
    ];
    assert_eq!(train_with(&[], &variables).batch_size, 8);
}

#[test]
fn the_data_comes_from_a_named_dataset_then_an_address_then_the_default_dataset() {
    let from = |typed: &[&str]| train(typed).data_remote;
    let url = "--data_url=https://d";
    let named = "--huggingface_dataset=me/mine";
    let none = "--huggingface_dataset=";
    assert_eq!(from(&[]), dataset("lonestar108/naughty-chat"));
    assert_eq!(from(&[url]), address(DATA_URL, "https://d"));
    assert_eq!(from(&[named]), dataset("me/mine"));
    assert_eq!(from(&[url, named]), dataset("me/mine"));
    assert_eq!(from(&[none]), None, "an empty name is no dataset");
    assert_eq!(from(&[none, url]), address(DATA_URL, "https://d"));
    assert_eq!(from(&["--data_url=", none]), None);
    assert_eq!(
        from(&[url, "--huggingface_dataset=lonestar108/naughty-chat"]),
        dataset("lonestar108/naughty-chat"),
        "typed, the default's name is as explicit as another"
    );
    let variables = [
        ("STATE_TUNE_HUGGINGFACE_DATASET", "me/mine"),
        ("--data_url", "https://d"),
    ];
    assert_eq!(
        train_with(&[], &variables).data_remote,
        dataset("me/mine"),
        "the environment is explicit too"
    );
}

#[test]
fn a_split_belongs_to_the_dataset_and_a_dry_run_needs_no_value() {
    let typed = [
        "--huggingface_dataset=me/mine:one@v1",
        "--dataset-split",
        "test",
    ];
    let wanted = Remote::Dataset {
        dataset: "me/mine:one@v1".parse().unwrap(),
        split: "test".to_string(),
    };
    assert_eq!(train(&typed).data_remote, Some(wanted));
    assert!(matches!(
        parsed(&["--dry-run"], &[]),
        Ok(Command::DryRun { .. })
    ));
    assert!(matches!(
        parsed(&["--dry_run=false"], &[]),
        Ok(Command::Train { .. })
    ));
    for (typed, words) in [
        ("--huggingface_dataset=a/b/c", "owner/name:config"),
        ("--dataset_split=", "--dataset_split is empty"),
        ("--model_url=model.pth", "--model_url: not an address"),
        ("--data_url=ftp://x", "--data_url: ftp:// is not supported"),
    ] {
        let message = misuse(&[typed], &[]);
        assert!(message.contains(words), "{typed}: {message}");
    }
    let message = misuse(&["--dry_run", "--prompt=Hi"], &[]);
    assert!(message.contains("--dry_run"), "{message}");
}

#[test]
fn tools_are_words_and_take_nothing_from_the_environment() {
    let converted = |typed: &[&str]| match parsed(typed, &[("STATE_TUNE_TO", "web-rwkv")]) {
        Ok(Command::Convert { options }) => *options,
        other => panic!("{typed:?} should convert, but gave {other:?}"),
    };
    let one = converted(&["convert", "a", "b", "--to=time_state"]);
    assert_eq!((one.input, one.output), ("a".into(), "b".into()));
    assert_eq!(
        (one.to, one.from, one.mix),
        (Format::TIME_STATE, None, None)
    );
    assert_eq!(
        (one.scale, one.fold, one.other_model),
        (1.0, false, OtherModel::Refuse)
    );
    assert_eq!(one.formats.prompt, template("user: {input}\n\nassistant:"));
    assert_eq!(one.formats.system, template("system: {system}\n\n"));
    assert_eq!(one.formats.end, "");
    let typed = [
        "convert",
        "a",
        "b",
        "c",
        "--mix=0.3",
        "--to=state",
        "--state_scale=2",
        "--fold",
        "--response_end=\\n",
        "--system-formatter={system}",
    ];
    let two = converted(&typed);
    assert_eq!(two.mix, Some(("b".into(), 0.3)));
    assert_eq!((two.scale, two.fold, two.output), (2.0, true, "c".into()));
    assert_eq!(two.formats.end, "\n");
    assert_eq!(two.formats.system, template("{system}"));
    let inspected = parsed(&["inspect", "a"], &[]);
    assert!(matches!(inspected, Ok(Command::Inspect { path }) if path == Path::new("a")));
    for (typed, words) in [
        (&["convert", "a", "b"][..], "--to"),
        (&["convert", "a", "--to=state"], "values"),
        (&["convert", "a", "b", "c", "--to=state"], "--mix"),
        (&["convert", "a", "b", "--mix=0.3", "--to=state"], "A B OUT"),
        (
            &["convert", "a", "b", "c", "--mix=1.1", "--to=state"],
            "between 0 and 1",
        ),
        (&["convert", "a", "b", "--to=pth"], "time_state"),
        (&["inspect"], "FILE"),
    ] {
        let message = misuse(typed, &[]);
        assert!(message.contains(words), "{typed:?}: {message}");
    }
}

#[test]
fn an_address_of_the_model_serves_training_and_answering() {
    let url = "--model_url=https://m";
    assert_eq!(train(&[url]).model_remote, address(MODEL_URL, "https://m"));
    assert_eq!(
        sample(&[url, "--prompt=x"]).model_remote,
        address(MODEL_URL, "https://m")
    );
    assert_eq!(train(&["--model_url="]).model_remote, None);
}

#[test]
fn devices_are_read() {
    for (text, device) in [
        ("auto", Choice::Auto),
        ("cpu", Choice::Cpu),
        ("cuda", Choice::Cuda(0)),
        ("cuda:0", Choice::Cuda(0)),
        ("cuda:11", Choice::Cuda(11)),
    ] {
        assert_eq!(train(&["--device", text]).device, device, "{text}");
    }
}

#[test]
fn help_and_version_are_shown() {
    for (flag, part) in [
        ("--help", "--learningrate"),
        ("--version", env!("CARGO_PKG_VERSION")),
    ] {
        match parsed(&[flag], &[]) {
            Err(Exit::Shown(text)) => assert!(text.contains(part), "{text}"),
            other => panic!("{flag}: {other:?}"),
        }
    }
}

#[cfg(unix)]
#[test]
fn bytes_that_are_no_text_are_a_filename_or_wrong_usage_but_never_a_panic() {
    use std::os::unix::ffi::OsStringExt;
    let os = |bytes: &[u8]| OsString::from_vec(bytes.to_vec());
    let name = || OsString::from("state-tune");

    let file = os(b"--model_location=\xff.pth");
    let Ok(Command::Train { options, .. }) = parse([name(), file], []) else {
        panic!("a file's name need not be UTF-8");
    };
    assert_eq!(options.model.as_os_str(), os(b"\xff.pth"));
    let variable = (os(b"STATE_TUNE_SAVE_FILENAME"), os(b"\xff.pth"));
    let Ok(Command::Train { options, .. }) = parse([name()], [variable]) else {
        panic!("nor when it stands in the environment");
    };
    assert_eq!(options.save.as_os_str(), os(b"\xff.pth"));

    for bytes in [
        b"--prompt=\xff".as_slice(),
        b"--batchsize=\xff",
        b"--data_url=\xff",
        b"--\xff=1",
        b"\xff",
    ] {
        assert!(
            matches!(parse([name(), os(bytes)], []), Err(Exit::Usage(_))),
            "{bytes:?}"
        );
    }
    // No flag has such a name, so it cannot be meant for this program.
    assert!(parse([name()], [(os(b"\xff"), os(b"1"))]).is_ok());
}
