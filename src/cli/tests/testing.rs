//! What is asked, and by what.

use std::path::Path;

use super::*;
use crate::data::Formats;
use crate::generate::Settings;
use crate::ops::cpu::Processor;
use crate::ops::device::DeviceChoice;
use crate::ops::linear::Weights;
use crate::sample::Ask;
use crate::setting::{PROMPT_FORMATTER, RESPONSE_END, RESPONSE_FORMATTER};
use crate::state_file::OtherModel;

#[test]
fn a_prompt_is_answered_with_its_own_defaults() {
    let Ok(Command::Sample { options }) = parsed(&["--prompt", "Hi"], &[]) else {
        panic!("with --prompt it answers");
    };
    let sample::Options {
        model,
        model_remote,
        state,
        init,
        ask,
        formats,
        typed,
        unused,
        settings,
        other_model,
        device,
        product,
        weights,
        processor,
    } = *options;
    assert_eq!(other_model, OtherModel::Refuse);
    assert_eq!(model, Path::new("model.pth"));
    assert_eq!(model_remote, None);
    assert_eq!(state, Path::new("state.pth"));
    assert_eq!(ask, Ask::Prompt("Hi".into()));
    assert_eq!(formats, Formats::default());
    assert!(typed.is_empty() && unused.is_empty());
    assert_eq!(init, None);
    let defaults = Settings {
        max_tokens: 50,
        temperature: 0.0,
        top_p: 1.0,
        seed: 1,
        stop: None,
    };
    assert_eq!(settings, defaults);
    assert_eq!((device, product), (DeviceChoice::Auto, None));
    assert_eq!(weights, Weights::File);
    assert_eq!(processor, Processor::default());
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
        ("{context} {input}", "and no other"),
        ("as it stands", "one key must stand"),
    ] {
        let message = misuse(&["--interactive", "--prompt_formatter", formatter], &[]);
        assert!(
            message.contains("prompt_formatter") && message.contains(words),
            "{message}"
        );
        sample(&["--prompts=p", "--prompt_formatter", formatter]);
    }
    for formatter in ["{input}, {input}", "Q: {question}\n"] {
        sample(&["--interactive", "--prompt_formatter", formatter]);
    }
}

#[test]
fn what_was_typed_is_known_from_defaults() {
    let typed = [
        "--prompt_formatter",
        "<|im_start|>{input}\r\n",
        "--response_formatter",
        "{output}\r\n",
        "--response_end",
        "</s>",
    ];
    let options = sample(&[&typed[..], &["--prompts", "p"]].concat());
    let settings = [PROMPT_FORMATTER, RESPONSE_FORMATTER, RESPONSE_END];
    assert_eq!(options.typed, settings);
}

#[test]
fn what_is_typed_for_training_is_named_as_unused() {
    let unused = |typed: &[&str]| {
        let mut named = sample(typed).unused;
        named.sort();
        named
    };
    assert_eq!(
        unused(&[
            "--prompt=x",
            "--resume",
            "--max-epochs=2",
            "--prompt_formatter=x",
            "--seed=2"
        ]),
        ["--max_epochs", "--prompt_formatter", "--resume"]
    );
    let rows = [
        "--data_format=alpaca",
        "--prompt_formatter={input}",
        "--learningrate=1",
    ];
    let all = [&["--prompts=p"][..], &rows].concat();
    assert_eq!(unused(&all), ["--learningrate"]);
    let all = [&["--interactive"][..], &rows].concat();
    assert_eq!(unused(&all), ["--data_format", "--learningrate"]);
    // An environment may be one for training as well.
    let variables = [("STATE_TUNE_LEARNINGRATE", "1"), ("--batchsize", "2")];
    let Ok(Command::Sample { options }) = parsed(&["--prompt=x"], &variables) else {
        panic!("with --prompt it answers");
    };
    assert!(options.unused.is_empty());
}
