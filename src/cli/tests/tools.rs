//! `convert` and `inspect`.

use std::path::Path;

use super::*;
use crate::state_file::Format;
use crate::state_file::OtherModel;

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
    let inspected = |typed: &[&str]| match parsed(typed, &[]) {
        Ok(Command::Inspect { options }) => *options,
        other => panic!("{typed:?} should inspect, but gave {other:?}"),
    };
    let alone = inspected(&["inspect", "a"]);
    assert!(alone.path == Path::new("a") && alone.against.is_none());
    let held = inspected(&[
        "inspect",
        "a",
        "--model=m",
        "--data-path=-",
        "--prompt_formatter={q}",
        "--force",
    ]);
    let against = held.against.unwrap();
    assert_eq!(against.model, Path::new("m"));
    assert_eq!(against.data.as_deref(), Some(Path::new("/dev/stdin")));
    assert_eq!(against.formats.prompt, template("{q}"));
    assert_eq!(against.other_model, OtherModel::Accept);
    assert!(converted(&["convert", "a", "b", "--to=state", "--transpose"]).transpose);
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
        (
            &[
                "convert",
                "a",
                "b",
                "c",
                "--mix=0.1",
                "--to=state",
                "--transpose",
            ],
            "--mix",
        ),
        (&["inspect"], "FILE"),
        (&["inspect", "a", "--data_path=d"], "--model"),
        (&["inspect", "a", "--force"], "--model"),
        (
            &["inspect", "a", "--model=m", "--response_end=x"],
            "--data_path",
        ),
    ] {
        let message = misuse(typed, &[]);
        assert!(message.contains(words), "{typed:?}: {message}");
    }
}

#[test]
fn a_misspelt_tool_is_named_whatever_the_environment_says() {
    for variables in [&[][..], &[("STATE_TUNE_THREADS", "1")]] {
        for typed in [&["quickstrat"][..], &["--threads", "1", "quickstrat"]] {
            let message = misuse(typed, variables);
            assert!(
                message.contains("unrecognized subcommand 'quickstrat'")
                    && message.contains("'quickstart'"),
                "{message}"
            );
        }
    }
}

#[test]
fn other_programs_flags_lead_to_its_own() {
    for (typed, own) in [
        ("--lr=0.1", "--learningrate"),
        ("--model", "--model_location"),
        ("--micro-bsz=2", "--batchsize"),
    ] {
        let message = misuse(&[typed], &[]);
        assert!(message.contains(&format!("here it is {own} ")), "{message}");
    }
    for tool in [
        &["quickstart", "--model=m"][..],
        &["inspect", "x", "--state=y"],
    ] {
        let message = misuse(tool, &[]);
        assert!(!message.contains("here it is"), "{message}");
    }
    let known = command();
    for (other, own) in ELSEWHERE {
        let has = |name: &str| known.get_arguments().any(|arg| arg.get_id() == name);
        assert!(has(own) && !has(other), "{other} {own}");
    }
}
