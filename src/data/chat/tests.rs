//! One test per kind of error, and messages that mean harm.

use proptest::prelude::*;

use super::*;

fn chat(json: &str) -> Result<Chat, DataError> {
    read(json, Extent::All)
}

fn read(json: &str, extent: Extent) -> Result<Chat, DataError> {
    let mut chat = Chat::default();
    chat.add(4, json, extent, AnswerRole::Learnt)?;
    Ok(chat)
}

fn message(json: &str) -> String {
    chat(json).unwrap_err().to_string()
}

/// Messages without escapes, by their role's first letter.
fn messages(spoken: &[(char, &str)]) -> String {
    let role = |sign| match sign {
        's' => "system",
        'u' => "user",
        'a' => "assistant",
        _ => "tool",
    };
    let message = |(sign, text): &(char, &str)| {
        format!(r#"{{"role": "{}", "content": "{text}"}}"#, role(*sign))
    };
    let spoken: Vec<String> = spoken.iter().map(message).collect();
    format!("[{}]", spoken.join(", "))
}

fn pair(question: &str, answer: &str) -> Turn {
    Turn {
        question: question.to_owned(),
        answer: answer.to_owned(),
        role: AnswerRole::Learnt,
    }
}

#[test]
fn questions_meet_their_answers_and_the_last_may_wait_for_one() {
    let whole = [
        ('s', "be kind"),
        ('s', "be short"),
        ('u', "hi"),
        ('a', "hello"),
        ('u', "bye"),
        ('a', ""),
        ('u', "?"),
    ];
    let read = chat(&messages(&whole)).unwrap();
    assert_eq!(read.left_out, 0);
    assert_eq!(read.system, ["be kind", "be short"]);
    assert_eq!(read.turns, [pair("hi", "hello"), pair("bye", "")]);
    assert_eq!(read.question.as_deref(), Some("?"));
}

#[test]
fn parts_of_text_are_joined_and_other_keys_do_no_harm() {
    let json = r#" [ {"content": [ {"type":"text", "text":"a"},{"text" :"\u0062", "x": [1], "type": "text"} ],
        "name": null, "role": "tool", "role" : "user"}, {"role":"assistant","content": [] } ] "#;
    assert_eq!(chat(json).unwrap().turns, [pair("ab", "")]);
}

#[test]
fn what_follows_the_last_answer_may_be_anything_where_only_answers_count() {
    for (signs, turns, left_out) in [
        ("ua", 1, 0),
        ("uauu", 1, 2),
        ("uauts", 1, 3),
        ("suauaut", 2, 2),
    ] {
        let spoken: Vec<(char, &str)> = signs.chars().map(|sign| (sign, "x")).collect();
        let read = read(&messages(&spoken), Extent::LastAnswer).unwrap();
        assert_eq!(
            (read.turns.len(), read.left_out),
            (turns, left_out),
            "{signs}"
        );
        assert_eq!(read.question, None);
    }
    let nothing =
        r#"[{"role": "user", "content": "x"}, {"role": "assistant", "content": "x"}, 7, {}]"#;
    assert_eq!(read(nothing, Extent::LastAnswer).unwrap().left_out, 2);
    // Before it, and where there is no answer at all, everything counts.
    let error = |signs: &str| {
        let spoken: Vec<(char, &str)> = signs.chars().map(|sign| (sign, "x")).collect();
        read(&messages(&spoken), Extent::LastAnswer)
            .unwrap_err()
            .to_string()
    };
    assert!(error("uua").starts_with("line 4, message 2: a second message of the user"));
    assert!(error("uu").starts_with("line 4, message 2: a second message of the user"));
}

#[test]
fn speakers_have_the_names_that_data_sets_give_them() {
    let say =
        |key: &str, text: &str, who: &str| format!(r#"{{"{key}": "{who}", "{text}": "{who}!"}}"#);
    let sharegpt = [
        ("system", "human", "gpt"),
        ("developer", "user", "chatgpt"),
        ("system", "prompter", "ai"),
        ("System", "USER", "Assistant"),
    ];
    for (system, user, assistant) in sharegpt {
        for (key, text) in [("from", "value"), ("role", "content"), ("from", "content")] {
            let spoken = [system, user, assistant].map(|who| say(key, text, who));
            let read = chat(&format!("[{}]", spoken.join(","))).unwrap();
            assert_eq!(read.system, [format!("{system}!")]);
            assert_eq!(
                read.turns,
                [pair(&format!("{user}!"), &format!("{assistant}!"))]
            );
        }
    }
    assert_eq!(
        message(&format!("[{}]", say("from", "value", "observation"))),
        "line 4, message 1: its `from` is \"observation\"; use \"system\", \"human\" or \"gpt\", or \
         remove the line"
    );
    // A table of both kinds of messages has nulls for what one lacks.
    let nulls = r#"[{"role": null, "from": "human", "content": null, "value": "x"}]"#;
    assert_eq!(chat(nulls).unwrap().question.as_deref(), Some("x"));
    assert!(message(r#"[{"from": "human", "value": 7}]"#).contains("its `value` is a number; it"));
}

#[test]
fn the_wrong_order_is_told_by_message() {
    let order = |signs: &str| {
        let spoken: Vec<(char, &str)> = signs.chars().map(|sign| (sign, "x")).collect();
        message(&messages(&spoken))
    };
    for (signs, start) in [
        ("a", "line 4, message 1: an answer of the assistant where"),
        (
            "suaa",
            "line 4, message 4: an answer of the assistant where",
        ),
        ("uu", "line 4, message 2: a second message of the user in a"),
        (
            "uauu",
            "line 4, message 4: a second message of the user in a",
        ),
        ("us", "line 4, message 2: a system message behind others"),
        ("uas", "line 4, message 3: a system message behind others"),
    ] {
        let error = order(signs);
        assert!(error.starts_with(start), "{signs}: {error}");
    }
    assert_eq!(
        order("ut"),
        "line 4, message 2: its `role` is \"tool\"; use \"system\", \"user\" or \"assistant\", or \
         remove the line"
    );
}

#[test]
fn a_message_that_says_nothing_is_an_error() {
    use MessageError::*;
    let part = Part { number: 2 };
    let content = |found| Content {
        key: "content",
        found,
    };
    for (json, expected) in [
        ("7", NotObject("a number")),
        ("[]", NotObject("an array")),
        (r#"{"content": "x"}"#, Missing("role")),
        (r#"{"role": "user"}"#, Missing("content")),
        (r#"{"role": null, "content": "x"}"#, Role("null".to_owned())),
        (
            r#"{"role": "User\n", "content": "x"}"#,
            Role(r#""User\n""#.to_owned()),
        ),
        (r#"{"role": "user", "content": null}"#, content("null")),
        (r#"{"role": "user", "content": 7}"#, content("a number")),
        (r#"{"role": "user", "content": {}}"#, content("an object")),
        (
            r#"{"role": "user", "content": [{"type": "text", "text": "x"}, {"type": "image_url", "text": "x"}]}"#,
            part,
        ),
        (
            r#"{"role": "user", "content": [{"type": "text", "text": 7}]}"#,
            Part { number: 1 },
        ),
        (r#"{"role": "user", "content": ["x"]}"#, Part { number: 1 }),
    ] {
        let first = r#"{"role": "system", "content": "x"}"#;
        match chat(&format!("[{first}, {json}]")) {
            Err(DataError::Message {
                line: 4,
                number: 2,
                reason,
            }) => assert_eq!(reason, expected, "{json}"),
            other => panic!("{json}: {other:?}"),
        }
    }
    let half = r#"[{"role": "user", "content": "\ud800"}]"#;
    assert!(message(half).contains("half of a surrogate pair"));
}

#[test]
fn a_role_of_any_length_gives_one_short_line() {
    let role = "\\n".repeat(1_000_000);
    let error = message(&format!(r#"[{{"role": "{role}", "content": ""}}]"#));
    assert!(error.len() < 300 && !error.contains('\n'), "{error}");
}

#[test]
fn deep_nesting_does_not_overflow_the_stack() {
    let deep = "[".repeat(1_000_000) + &"]".repeat(1_000_000);
    let error = message(&deep);
    assert!(error.contains("message 1: an array where"), "{error}");
    let json = format!(r#"[{{"role": "user", "content": {deep}}}]"#);
    assert!(message(&json).contains("part 1"));
    let json = format!(r#"[{{"role": "user", "content": "", "x": {deep}}}]"#);
    assert_eq!(chat(&json).unwrap().question.as_deref(), Some(""));
}

proptest! {
    #[test]
    fn what_looks_like_messages_gives_a_chat_or_an_error(
        pieces in prop::collection::vec(
            prop::sample::select(vec![
                "[", "]", "{", "}", ",", ":", "\"role\"", "\"content\"", "\"user\"", "\"assistant\"", "\"system\"", "\"text\"",
                "\"type\"", "\"\\ud800\"", "{\"role\":\"user\",\"content\":\"\"},", "{\"role\":\"assistant\",\"content\":[", "null", "1", " ",
            ]),
            0..20,
        ),
    ) {
        let inside = pieces.concat();
        for json in [format!("[{inside}]"), inside] {
            let _ = chat(&json);
        }
    }
}
