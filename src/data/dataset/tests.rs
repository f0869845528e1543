//! Which rows of a file become examples, and what is said of the others.

mod meant;
mod told;

use std::fs;

use serde_json::json;

use super::*;
use crate::data::bad_rows::OnBadRow;
use crate::data::line_ends::LineEnds;
use crate::data::template::Template;
use crate::tokenizer::Text;

fn of(rows: &[String], formats: &Formats) -> Result<Dataset> {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), rows.join("\n")).unwrap();
    read(file.path(), formats)
}

fn plain(input: &str, output: &str) -> String {
    json!({"input": input, "output": output}).to_string()
}

fn chat(messages: serde_json::Value) -> String {
    json!({ "messages": messages }).to_string()
}

fn told(rows: &[String]) -> String {
    of(rows, &Formats::default()).unwrap().notes.to_string()
}

fn skipping() -> Formats {
    Formats {
        on_bad_row: OnBadRow::Skip,
        ..Formats::default()
    }
}

const USER: &str = r#"{"role": "user", "content": "Hi."}"#;

/// A conversation whose answer has more than a role and a content.
fn answered(with: &str) -> String {
    format!(r#"{{"messages": [{USER}, {{"role": "assistant", "content": "Arr!", {with}}}]}}"#)
}

#[test]
fn an_answer_with_a_weight_of_nothing_is_read_and_not_learnt() {
    let say = |role: &str, text: &str| json!({"role": role, "content": text});
    let weighted = |key: &str, weight: serde_json::Value| {
        let mut wrong = say("assistant", "Five, you fool.");
        wrong[key] = weight;
        let (question, again) = (say("user", "What is 2+2?"), say("user", "Try again."));
        chat(json!([question, wrong, again, say("assistant", "Four.")]))
    };
    let all = of(&[weighted("weight", json!(1))], &Formats::default()).unwrap();
    assert_eq!(all.examples[0].learnt.len(), 2);
    for (key, weight) in [
        ("weight", json!(0)),
        ("weight", json!(0.0)),
        ("train", json!(false)),
        ("training", json!(false)),
        ("loss", json!(false)),
    ] {
        let data = of(&[weighted(key, weight)], &Formats::default()).unwrap();
        // The same text, of which the second answer alone is learnt.
        assert_eq!(data.examples[0].tokens, all.examples[0].tokens, "{key}");
        assert_eq!(
            data.examples[0].learnt,
            all.examples[0].learnt[1..],
            "{key}"
        );
        let note = "note   1 answer read and not learnt, as the data say";
        assert!(data.notes.to_string().ends_with(note), "{}", data.notes);
    }
    let odd = of(&[weighted("weight", json!(0.5))], &Formats::default()).unwrap();
    assert_eq!(odd.examples, all.examples);
    let told = odd.notes.to_string();
    let note = "is neither 0 nor 1 in 1 row, from line 1 on: learnt like all others";
    assert!(told.contains(note), "{told}");

    // What follows the last answer that is learnt teaches nothing.
    let last = chat(json!([
        say("user", "a"),
        say("assistant", "b"),
        say("user", "c"),
        {"role": "assistant", "content": "", "weight": 0},
    ]));
    let data = of(&[last], &Formats::default()).unwrap();
    assert_eq!(
        data.examples[0].learnt[0].end,
        data.examples[0].tokens.len()
    );
}

#[test]
fn a_row_of_no_weight_is_left_out_and_counted() {
    let weighted =
        |weight: &str| format!(r#"{{"instruction": "a", "output": "b", "weight": {weight}}}"#);
    let unlearnt = answered(r#""train": false"#);
    let rows = [
        weighted("1"),
        weighted("0"),
        weighted("\"0\""), // as CSV has it
        unlearnt.clone(),
        weighted("null"),
    ];
    let data = of(&rows, &Formats::default()).unwrap();
    assert_eq!((data.examples.len(), data.blank), (2, 0));
    let told = data.notes.to_string();
    assert!(
        told.ends_with("note   3 rows not learnt from, as their weight says"),
        "{told}"
    );

    // A number that is no such weight, of a person, say.
    let data = of(&[weighted("72.5"), weighted("1")], &Formats::default()).unwrap();
    assert_eq!(data.examples.len(), 2);
    let told = data.notes.to_string();
    assert!(
        told.contains("is neither 0 nor 1 in 1 row, from line 1 on: learnt like all others"),
        "{told}"
    );
    let named = Formats {
        prompt: Template::parse("{instruction} {weight}").unwrap(),
        response: Template::parse("{output}").unwrap(),
        ..Formats::default()
    };
    assert_eq!(of(&[weighted("0")], &named).unwrap().examples.len(), 1);

    let error = of(&[weighted("0"), unlearnt], &Formats::default()).unwrap_err();
    let error = format!("{error:#}");
    assert!(
        error.contains("every row says that it is not to be learnt"),
        "{error}"
    );
}

#[test]
fn calls_of_tools_are_refused() {
    let call = r#""tool_calls": [{"id": "1", "function": {"name": "f"}}]"#;
    let function = r#""function_call": {"name": "f", "arguments": "{}"}"#;
    let silent = answered(call).replace(r#""Arr!""#, "null");
    for (row, key) in [
        (answered(call), "tool_calls"),
        (silent, "tool_calls"),
        (answered(function), "function_call"),
    ] {
        let error = format!("{:#}", of(&[row], &Formats::default()).unwrap_err());
        let wanted = format!("line 1, message 2: it has `{key}`, and only text can be learnt");
        assert!(error.contains(&wanted), "{error}");
    }
    for nothing in [r#""tool_calls": []"#, r#""tool_calls": null"#] {
        assert!(of(&[answered(nothing)], &Formats::default()).is_ok());
    }
}

#[test]
fn an_empty_answer_is_an_error_that_names_the_line() {
    let error = |row: String| {
        let rows = [plain("a", "b"), row];
        format!("{:#}", of(&rows, &Formats::default()).unwrap_err())
    };
    for empty in ["", " ", "\n\t", "\u{3000}"] {
        for (row, key) in [
            (plain("a", empty), "output"),
            (
                json!({"instruction": "a", "output": empty}).to_string(),
                "output",
            ),
            (
                json!({"prompt": "a", "completion": empty}).to_string(),
                "completion",
            ),
            (
                json!({"text": format!("User: a\n\nAssistant:{empty}")}).to_string(),
                "text",
            ),
        ] {
            let wanted = format!("line 2: the answer in `{key}` is empty");
            let error = error(row);
            assert!(error.contains(&wanted), "{error}");
        }
        let messages = json!([{"from": "human", "value": "a"}, {"from": "gpt", "value": empty}]);
        for row in [
            chat(messages.clone()),
            json!({"conversations": messages}).to_string(),
        ] {
            let wanted = "line 2, message 2: its text is empty, so there is nothing to learn";
            assert!(error(row.clone()).contains(wanted), "{}", error(row));
        }
    }
    // Of several values one may be empty.
    let both = Formats {
        response: Template::parse("{thought}{output}").unwrap(),
        ..Formats::default()
    };
    let row = r#"{"input": "a", "thought": "", "output": "b"}"#.to_owned();
    assert!(of(&[row], &both).is_ok());
}

#[test]
fn all_bad_rows_are_found_at_once_or_left_out() {
    let rows = [
        plain("a", "b"),
        plain("c", ""),
        r#"{"input": "d", "output": null}"#.to_owned(),
        r#"{"input": "Hi", "output": NaN}"#.to_owned(),
        "".to_owned(),
        "[1]".to_owned(),
        chat(json!([{"role": "user", "content": "a"}, {"role": "tool", "content": "b"}])),
        plain("e", "f"),
        plain("g", " "),
    ];
    let error = format!("{:#}", of(&rows, &Formats::default()).unwrap_err());
    for wanted in [
        "6 rows cannot be used (skip_bad leaves them out): lines 2, 9: the answer in `output`",
        "; line 3: `output` is null where a text is needed",
        "; line 4, column 27: not JSON",
        "; line 6: an array where an object is needed",
        "; line 7, message 2: its `role` is \"tool\"",
    ] {
        assert!(error.contains(wanted), "{error}");
    }
    let data = of(&rows, &skipping()).unwrap();
    let lines: Vec<usize> = data.examples.iter().map(|example| example.line).collect();
    assert_eq!((lines, data.blank), (vec![1, 8], 1));
    let told = data.notes.to_string();
    assert!(
        told.contains("note   6 rows left out (skip_bad): lines 2, 9: the answer"),
        "{told}"
    );
    // Bytes that are no text are a fault of their line, too.
    let file = tempfile::NamedTempFile::new().unwrap();
    let bytes = [plain("a", "b").as_bytes(), b"\n\xff\xfe\n"].concat();
    fs::write(file.path(), bytes).unwrap();
    let error = format!("{:#}", read(file.path(), &Formats::default()).unwrap_err());
    assert!(error.contains("line 2, byte 1: not UTF-8"), "{error}");
    assert_eq!(read(file.path(), &skipping()).unwrap().examples.len(), 1);
}

#[test]
fn what_follows_a_last_answer_is_counted() {
    let say = |role: &str| json!({"role": role, "content": "x"});
    let [u, a] = ["user", "assistant"].map(say);
    let rows = [
        chat(json!([u, a, u, u])),
        json!({"text": "User: a\n\nAssistant: b\n\nUser: c"}).to_string(),
    ];
    let told = told(&rows);
    let wanted = "note   3 messages left out, after the last answer of a conversation";
    assert!(told.ends_with(wanted), "{told}");
}

#[test]
fn line_ends_inside_values_become_line_feeds_and_that_is_told() {
    let write = |end: &str| {
        let [question, answer] = [format!("Answer.{end}Now!"), format!("Arr!{end}{end}")];
        let messages = json!([
            {"role": "system", "content": format!("Be{end}brief.")},
            {"role": "user", "content": question},
            {"role": "assistant", "content": [{"type": "text", "text": answer}]},
        ]);
        [
            plain(&question, &answer),
            chat(messages.clone()),
            json!({"conversations": messages.to_string()}).to_string(),
            json!({"instruction": question, "output": answer}).to_string(),
            json!({"prompt": question, "completion": answer}).to_string(),
            json!({"text": format!("User: a{end}{end}Assistant: b{end}{end}")}).to_string(),
        ]
    };
    let unix = of(&write("\n"), &Formats::default()).unwrap();
    for end in ["\r\n", "\r"] {
        let windows = of(&write(end), &Formats::default()).unwrap();
        assert_eq!(windows.examples, unix.examples, "{end:?}");
        let told = windows.notes.to_string();
        assert!(
            told.ends_with(
                "note   CR LF and CR became LF in 6 rows, from line 1 on; keep_cr keeps them"
            ),
            "{told}"
        );
        let keep = Formats {
            line_ends: LineEnds::Keep,
            ..Formats::default()
        };
        let kept = of(&write(end)[..5], &keep).unwrap();
        for (kept, unix) in kept.examples.iter().zip(&unix.examples) {
            assert_ne!(kept, unix, "{end:?}");
        }
        assert!(!kept.notes.to_string().contains("CR LF"));
    }
    assert!(!unix.notes.to_string().contains("CR LF"));
}
