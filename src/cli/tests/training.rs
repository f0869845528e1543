//! A training run: its defaults, and what a checkpoint remembers of it.

use std::path::Path;

use super::files::dataset;
use super::*;
use crate::data::Walk;
use crate::ops::cpu::Processor;
use crate::ops::device::DeviceChoice;
use crate::ops::linear::Weights;
use crate::state_file::OtherModel;
use crate::train::Adam;
use crate::train::HeldOut;
use crate::train::Keep;
use crate::train::Recompute;
use crate::train::Schedule;
use crate::train::Tune;
use crate::train::schedule::Shape;
use crate::train::settings::RunSettings;

#[test]
fn nothing_typed_is_a_training_run_with_every_default() {
    // Destructured, so that a new option must say its default here.
    let Command::Train { options } = parsed(&[], &[]).unwrap() else {
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
        other_model,
        tune,
        exit_loss,
        max_epochs,
        max_time,
        device,
        product,
        weights,
        recompute,
        micro_batch,
        processor,
    } = *options;
    let constant = Schedule {
        shape: Shape::Constant,
        learning_rate: 0.01,
        last: None,
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
    assert_eq!(batch_size, 8);
    assert_eq!(exit_loss, 0.5);
    assert_eq!(max_epochs, 10.0);
    assert_eq!(max_time, 3600.0);
    assert_eq!(walk, Walk::Shuffled);
    assert_eq!(seed, 1);
    assert_eq!((init, other_model), (None, OtherModel::Refuse));
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
    assert_eq!((device, product), (DeviceChoice::Auto, None));
    assert_eq!(weights, Weights::File);
    assert_eq!(recompute, Recompute::Auto);
    assert_eq!(processor, Processor::default());
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

/// All but what a test run reads, what a run does not depend on, and addresses, which may hold a
/// password.
#[test]
fn flags_are_remembered_in_their_order_as_they_would_be_typed() {
    let secret = train(&["--model_url=https://me:secret@example.org/m.pth"]);
    let remembered = RunSettings::of(&secret).shown();
    assert!(!format!("{remembered:?}").contains("secret"));

    let is_remembered = |arg: &&clap::Arg| {
        let name = arg.get_id().as_str();
        arg.get_help_heading() != Some("Testing")
            && !["resume", "dry_run"].contains(&name)
            && !name.ends_with("_url")
    };
    let command = command();
    let typed = command.get_arguments().filter(is_remembered).map(|arg| {
        let default = arg.get_default_values().first();
        let default = default.map(|value| value.to_string_lossy().into_owned());
        (arg.get_id().to_string(), default.unwrap_or_default())
    });
    assert_eq!(remembered, typed.collect::<Vec<_>>());
}

#[test]
fn a_number_typed_otherwise_is_the_same_setting() {
    let settings = |typed: &str| RunSettings::of(&train(&[typed]));
    assert_eq!(
        settings("--learningrate=0.1"),
        settings("--learningrate=1e-1")
    );
    assert_ne!(
        settings("--learningrate=0.1"),
        settings("--learningrate=0.2")
    );
}
