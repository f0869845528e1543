//! What of a line is read and what is learnt, shown as text: what stands in [[ ]] is read.

mod shapes;

use std::path::Path;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::data::dataset;
use crate::data::template::Template;
use crate::model::{FirstRow, Sequence};
use crate::tokenizer::Text;

fn formats(prompt: &str, response: &str) -> Formats {
    let template = |text| Template::parse(text).unwrap();
    Formats {
        prompt: template(prompt),
        response: template(response),
        ..Formats::default()
    }
}

/// As the command line has them if it says nothing.
fn default() -> Formats {
    formats("user: {input}\n\nassistant:", " {output}")
}

fn example(json: &str, formats: &Formats) -> Result<Example, DataError> {
    Example::new(
        &Row::parse(7, json.as_bytes())?,
        formats,
        Tokenizer::world(),
    )
}

fn shown(example: &Example) -> String {
    let text =
        |part: &[u32]| String::from_utf8_lossy(&Tokenizer::world().decode(part)).into_owned();
    let (mut all, mut at) = (String::new(), 0);
    for part in &example.learnt {
        let (read, learnt) = (
            &example.tokens[at..part.start],
            &example.tokens[part.clone()],
        );
        all += &format!("[[{}]]{}", text(read), text(learnt));
        at = part.end;
    }
    assert_eq!(at, example.tokens.len(), "the last part is learnt");
    all
}

fn error(json: &str, formats: &Formats) -> String {
    example(json, formats).unwrap_err().to_string()
}

const CHAT: &str = r#"{"who": "Ann", "messages": [
    {"role": "system", "content": "Be short."},
    {"role": "user", "content": "one two three"},
    {"role": "assistant", "content": "four five six"},
    {"role": "user", "content": "seven"},
    {"role": "assistant", "content": "eight"},
    {"role": "user", "content": "nine"}]}"#;

#[test]
fn of_a_conversation_the_answers_are_learnt() {
    assert_eq!(
        shown(&example(CHAT, &default()).unwrap()),
        "[[system: Be short.\n\nuser: one two three\n\nassistant:]] four five six\
         [[\n\nuser: seven\n\nassistant:]] eight"
    );
    let named = formats("{who}: {input}\nme:", " {output}");
    let silent = Formats {
        system: Template::parse("").unwrap(),
        ..named
    };
    assert_eq!(
        shown(&example(CHAT, &silent).unwrap()),
        "[[Ann: one two three\nme:]] four five six[[\n\nAnn: seven\nme:]] eight"
    );
}

#[test]
fn the_end_is_learnt_wherever_an_answer_is_whole() {
    let ended = Formats {
        end: "\n\n".into(),
        ..default()
    };
    assert_eq!(
        shown(&example(CHAT, &ended).unwrap()),
        "[[system: Be short.\n\nuser: one two three\n\nassistant:]] four five six\n\n\
         [[user: seven\n\nassistant:]] eight\n\n"
    );
    assert_eq!(
        shown(&example(r#"{"input": "a", "output": "b"}"#, &ended).unwrap()),
        "[[user: a\n\nassistant:]] b\n\n"
    );
    // Of tokens of its own, though one token stands for this full stop with a newline.
    let tokens = |text| Tokenizer::world().encode(text);
    let stop = example(r#"{"input": "", "output": "b。"}"#, &ended).unwrap();
    let apart = [tokens(" b。"), tokens("\n\n")].concat();
    assert_eq!(stop.tokens[stop.learnt[0].clone()], apart);
    assert_ne!(apart, tokens(" b。\n\n"));

    let cut = Formats {
        completion_cutoff: Some(2),
        ..ended
    };
    let cut = example(CHAT, &cut).unwrap();
    assert_eq!(
        shown(&cut),
        "[[system: Be short.\n\nuser: one two three\n\nassistant:]] four five[[\n\nuser: \
         seven\n\nassistant:]] \
         eight\n\n"
    );
    assert_eq!(cut.cut, (0, 1));
}

#[test]
fn cutoffs_count_tokens_from_the_prompts_end_and_the_completions_start() {
    let json = r#"{"q": "one two three", "a": " four five six"}"#;
    let cut = |prompt_cutoff, completion_cutoff| {
        let formats = Formats {
            prompt_cutoff,
            completion_cutoff,
            ..formats("{q}\n\n", "{a}")
        };
        shown(&example(json, &formats).unwrap())
    };
    assert_eq!(cut(None, None), "[[one two three\n\n]] four five six");
    assert_eq!(cut(Some(2), Some(1)), "[[ three\n\n]] four");
    assert_eq!(cut(Some(0), None), "[[]] four five six");
}

#[test]
fn cutoffs_count_in_each_turn_of_a_conversation() {
    let short = Formats {
        prompt_cutoff: Some(4),
        completion_cutoff: Some(1),
        ..formats("Q {input}\n\nA:", " {output}")
    };
    let chat = example(CHAT, &short).unwrap();
    assert_eq!(
        shown(&chat),
        "[[ three\n\nA:]] four[[\n\n seven\n\nA:]] eight"
    );
    assert_eq!(chat.cut, (2, 1));
    let bare = Formats {
        prompt_cutoff: Some(0),
        ..default()
    };
    let bare = example(CHAT, &bare).unwrap();
    assert_eq!(shown(&bare), "[[]] four five six[[\n\n]] eight");
    assert!(!bare.has_lead());
    let targets = |first_row| Sequence::from(&bare).targets(first_row);
    assert_eq!(targets(FirstRow::SoftPrompt), targets(FirstRow::Token) + 1);
}

#[test]
fn a_line_with_all_keys_of_the_templates_is_plain() {
    let both = r#"{"input": "a", "output": "b", "messages": [7]}"#;
    assert_eq!(
        shown(&example(both, &default()).unwrap()),
        "[[user: a\n\nassistant:]] b"
    );
    for without in [
        r#"{"input": "a", "output": null, "messages": [7]}"#,
        r#"{"input": "a", "messages": [7]}"#,
    ] {
        let error = error(without, &default());
        assert!(error.starts_with("line 7, message 1: a number"), "{error}");
    }
    let no_list = error(r#"{"messages": "[]"}"#, &default());
    assert!(no_list.contains("only `messages`"), "{no_list}");
}

#[test]
fn templates_without_a_place_for_what_is_said_are_an_error() {
    assert_eq!(
        error(CHAT, &formats("{question}", " {output}")),
        "line 7 has `messages`, but prompt_formatter has no {input} where they could stand; put \
         {input} into it"
    );
    assert_eq!(
        error(CHAT, &formats("{input}", "{answer}")),
        "line 7 has `messages`, but response_formatter has no {output} where they could stand; \
         put {output} into it"
    );
}

#[test]
fn an_empty_completion_is_an_error_that_names_the_line() {
    let error = error(r#"{"q": "x", "a": ""}"#, &formats("{q}", "{a}"));
    assert!(error.contains("line 7"), "{error}");
}

#[test]
fn a_file_may_hold_lines_of_both_kinds() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let examples = dataset::read(&data.join("chat.jsonl"), &default())
        .unwrap()
        .examples;
    assert_eq!(
        (&examples[0].tokens, &examples[0].learnt),
        (&examples[1].tokens, &examples[1].learnt)
    );
    assert_eq!(
        shown(&examples[2]),
        "[[system: Speak like a pirate.\n\nuser: How are you?\n\nassistant:]] Arr, I be well, \
         matey!\
         [[\n\nuser: And the sea?\n\nassistant:]] Wet."
    );
    // As pyarrow writes a Parquet file's column of messages.
    let error = dataset::read(&data.join("pyarrow.jsonl"), &default()).unwrap_err();
    let error = format!("{error:#}");
    assert!(
        error.contains("line 1, message 2: its `content` is null"),
        "{error}"
    );
}

/// Any text that is not blank.
fn said() -> impl Strategy<Value = String> {
    any::<String>().prop_filter("an answer says something", |text| !text.trim().is_empty())
}

proptest! {
    #[test]
    fn one_turn_of_a_conversation_is_a_plain_line(
        question in any::<String>(),
        answer in said(),
        end in "[\n.]{0,3}",
        prompt_cutoff in prop::option::of(0..9usize),
        completion_cutoff in prop::option::of(1..9usize),
    ) {
        let formats = Formats { end: end.into(), prompt_cutoff, completion_cutoff, ..default() };
        let plain = json!({"input": question, "output": answer}).to_string();
        let user = json!({"role": "user", "content": question});
        let assistant = json!({"content": answer, "role": "assistant"});
        let chat = json!({"messages": [user, assistant]}).to_string();
        prop_assert_eq!(example(&plain, &formats).unwrap(), example(&chat, &formats).unwrap());
    }

    #[test]
    fn what_is_learnt_is_the_answers_and_nothing_else(
        turns in prop::collection::vec((any::<String>(), said()), 1..5),
        end in "[\n.]{0,3}",
    ) {
        let formats = Formats { end: end.clone().into(), ..default() };
        let messages: Vec<_> = turns.iter().flat_map(|(question, answer)| [
            json!({"role": "user", "content": question}),
            json!({"role": "assistant", "content": answer}),
        ]).collect();
        let example = example(&json!({"messages": messages}).to_string(), &formats).unwrap();
        let text = |part: &[u32]| String::from_utf8(Tokenizer::world().decode(part)).unwrap();
        prop_assert!(example.learnt.is_sorted_by(|a, b| a.end <= b.start));
        let learnt: Vec<_> = example.learnt.iter().map(|part| text(&example.tokens[part.clone()])).collect();
        let answers: Vec<_> = turns.iter().map(|(_, answer)| format!(" {answer}{end}")).collect();
        prop_assert_eq!(learnt, answers);
        let whole: Vec<_> = turns.iter().map(|(q, a)| format!("user: {q}\n\nassistant: {a}")).collect();
        let between = if end.is_empty() { "\n\n" } else { &end };
        prop_assert_eq!(text(&example.tokens), whole.join(between) + &end);
    }
}

#[test]
fn what_is_to_be_answered_is_read_as_in_training() {
    let prompt = |json: &str, formats: &Formats| {
        formats
            .prompt(&Row::parse(1, json.as_bytes()).unwrap())
            .unwrap()
            .0
            .iter()
            .map(Text::to_string)
            .collect::<String>()
    };
    let open = prompt(CHAT, &default());
    let before = "system: Be short.\n\nuser: one two three\n\nassistant: four five six\n\nuser: seven\n\nassistant:";
    assert_eq!(open, format!("{before} eight\n\nuser: nine\n\nassistant:"));
    // Without the last question, the one before it.
    let answered = CHAT.replace(",\n    {\"role\": \"user\", \"content\": \"nine\"}", "");
    assert_ne!(answered, CHAT);
    assert_eq!(prompt(&answered, &default()), before);
    let ended = Formats {
        end: "<end>".into(),
        ..default()
    };
    assert!(prompt(CHAT, &ended).contains("four five six<end>user: seven"));
    assert_eq!(
        prompt(r#"{"input": "x"}"#, &default()),
        "user: x\n\nassistant:"
    );
}

#[test]
fn a_conversation_without_an_answer_is_an_error_that_names_the_line() {
    for messages in [
        "",
        r#"{"role": "system", "content": "x"}, {"role": "user", "content": "x"}"#,
    ] {
        let json = format!(r#"{{"messages": [{messages}]}}"#);
        let error = error(&json, &default());
        assert!(
            error.starts_with("line 7: no message of the assistant"),
            "{error}"
        );
    }
}
