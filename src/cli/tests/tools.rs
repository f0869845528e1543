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
