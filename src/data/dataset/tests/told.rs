//! What is said of a file's rows: as what they were read, and what of them is not used.

use super::*;

#[test]
fn what_rows_were_taken_for_is_told() {
    assert_eq!(
        told(&[plain("a", "b")]),
        "format template: the keys are those of the formatters"
    );
    let text = json!({"text": "User: a\n\nAssistant: b"}).to_string();
    let rows = [plain("a", "b"), text.clone(), plain("a", "b"), text];
    assert_eq!(
        told(&rows),
        "format template in 2 rows, from line 1 on: the keys are those of the formatters\n\
         format text in 2 rows, from line 2 on: `text` stands as it is, without the formatters"
    );
}

#[test]
fn what_goes_nowhere_is_told_with_its_rows() {
    let rows = [
        r#"{"input": "a", "output": "b", "id": "x0", "score": 3, "ok": true, "none": null}"#,
        r#"{"input": "a", "output": "b", "id": "x1", "tags": [], "note": " ", "more": {"a": "b"}}"#,
        r#"{"input": "a", "output": "b", "messages": [{"content": "c"}], "embedding": [1.0, 2]}"#,
    ];
    let all = told(&rows.map(str::to_owned));
    let wanted = "note   not used: `id` in 2 rows, `embedding` in 1 row, `messages` in 1 row, \
                  `more` in 1 row, `ok` in 1 row, `score` in 1 row";
    assert_eq!(all.lines().nth(1), Some(wanted), "{all}");
    assert_eq!(all.lines().count(), 2);

    // Of a conversation: keys of the row, of its messages, and what the templates take.
    let beside = r#""reasoning_content": "hm", "name": null, "thoughts": ["a"]"#;
    let row = answered(beside).replacen('{', r#"{"input": "x", "who": "Ann", "tools": [], "#, 1);
    let formats = Formats {
        prompt: Template::parse("{who}: {input}\n").unwrap(),
        ..Formats::default()
    };
    let all = of(&[row], &formats).unwrap().notes.to_string();
    let wanted = "note   not used: `input` in 1 row, `reasoning_content` of messages in 1 row, \
                  `thoughts` of messages in 1 row";
    assert_eq!(all.lines().nth(1), Some(wanted), "{all}");

    let many: Vec<String> = (0..2000)
        .map(|i| format!(r#"{{"input": "a", "output": "b", "k\u001b{i}": "x"}}"#))
        .collect();
    let all = told(&many);
    assert!(
        all.ends_with(", and other keys") && all.len() < 600,
        "{all}"
    );
    assert!(!all.contains('\u{1b}'));
}

#[test]
fn a_key_that_stands_twice_is_told() {
    let twice = r#"{"input": "a", "input": "b", "output": "c"}"#.to_owned();
    let data = of(&[twice, plain("a", "b")], &Formats::default()).unwrap();
    let note = "note   a key stands more than once in 1 row, from line 1 on: the last one counts, as in Python";
    assert_eq!(data.notes.to_string().lines().nth(1), Some(note));
    for (with, is_told) in [
        (r#""content": "Aye!""#, true),
        (r#""name": null"#, false),
        (r#""name": null, "name": null"#, true),
    ] {
        let told = told(&[answered(with)]);
        assert_eq!(told.contains("more than once in 1 row"), is_told, "{told}");
    }
}

#[test]
fn a_system_message_beside_a_conversation_is_used_once() {
    let row = answered(r#""weight": 1"#).replacen('{', r#"{"system": "Be.", "#, 1);
    assert!(!told(std::slice::from_ref(&row)).contains("not used"));
    let own = row.replacen('[', r#"[{"role": "system", "content": "Be kind."}, "#, 1);
    assert!(told(&[own]).contains("not used: `system` in 1 row"));
}

#[test]
fn system_messages_without_a_place_are_told() {
    let formats = Formats {
        system: Template::parse("").unwrap(),
        ..Formats::default()
    };
    let told = |row: String| of(&[row], &formats).unwrap().notes.to_string();
    let row = answered(r#""weight": 1"#);
    assert!(!told(row.clone()).contains("not used"));
    let beside = row.replacen('{', r#"{"system": "Be.", "#, 1);
    assert!(told(beside).contains("not used: `system` in 1 row"));
    let own = row.replacen('[', r#"[{"role": "system", "content": "Be kind."}, "#, 1);
    assert!(told(own).contains("not used: `system` of messages in 1 row"));
}

#[test]
fn of_two_keys_for_one_thing_the_other_is_told() {
    let told = told(&[answered(r#""value": "Aye!", "from": null"#)]);
    assert!(
        told.contains("not used: `value` of messages in 1 row"),
        "{told}"
    );
}

#[test]
fn what_is_learnt_otherwise_than_its_author_may_have_meant_is_told() {
    let text = |text: &str| json!({ "text": text }).to_string();
    let remark = |rows: &[String]| {
        let all = told(rows);
        all.lines().nth(1).map(str::to_owned)
    };
    for end in [
        "</s>",
        "<|endoftext|>",
        "<|im_end|>",
        "<|rwkv_tokenizer_end_of_text|>",
    ] {
        let rows = [plain("a", "b"), plain("a", &format!("b{end}"))];
        let told = remark(&rows).unwrap();
        assert!(told.contains("stands in 1 row, from line 2 on"), "{told}");
    }
    assert_eq!(remark(&[plain("1 < 2", "<s> and <end>")]), None);
    for glued in [
        "User: a\n\nAssistant: b\nUser: c\n\nAssistant: d",
        "User: a\n\nAssistant: b\n\nTool: 42\n\nAssistant: d",
    ] {
        let told = remark(&[text(glued)]).unwrap();
        assert!(
            told.contains("another speaker's in 1 row, from line 1 on"),
            "{told}"
        );
    }
    assert_eq!(remark(&[text("User: a\n\nAssistant: b\n\nNote: c")]), None);
    for empty in [
        plain(" ", "b"),
        json!({"instruction": "", "input": "", "output": "b"}).to_string(),
    ] {
        let told = remark(&[empty]).unwrap();
        assert!(told.contains("the question is empty in 1 row"), "{told}");
    }
}

#[test]
fn a_row_about_an_image_is_refused_unless_formatters_name_its_keys() {
    let chat = answered(r#""name": null"#);
    let refused = |row: String| {
        let error = of(&[row], &Formats::default()).unwrap_err();
        format!("{error:#}")
    };
    for (key, value) in [("images", r#"["a.png"]"#), ("image", r#""a.png""#)] {
        let beside = chat.replacen('{', &format!("{{\"{key}\": {value}, "), 1);
        let told = refused(beside);
        assert!(
            told.contains(&format!("it has `{key}` beside its texts")),
            "{told}"
        );
        let of_message = answered(&format!("\"{key}\": {value}"));
        let told = refused(of_message);
        assert!(
            told.contains(&format!("it has `{key}`, and only text")),
            "{told}"
        );
    }
    let part =
        r#"[{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": "b"}}]"#;
    let told = refused(format!(
        r#"{{"messages": [{{"role": "user", "content": {part}}}, {{"role": "assistant", "content": "b"}}]}}"#
    ));
    assert!(told.contains("part 2 of its `content`"), "{told}");
    for shape in [
        r#"{"instruction": "a", "output": "b", "image": "c"}"#,
        r#"{"prompt": "a", "completion": "b", "image": "c"}"#,
        r#"{"text": "User: a\n\nAssistant: b", "image": "c"}"#,
    ] {
        let told = refused(shape.to_owned());
        assert!(told.contains("it has `image` beside its texts"), "{told}");
    }
    // An empty list is none; and what a formatter names is used.
    assert!(!told_of(&chat.replacen('{', r#"{"images": [], "#, 1)).contains("image"));
    let named = Formats {
        prompt: Template::parse("{image}: {input}").unwrap(),
        ..Formats::default()
    };
    let beside = chat.replacen('{', r#"{"image": "a.png", "#, 1);
    assert!(of(&[beside], &named).is_ok());
    // Beside texts that formatters name, it is told as all that is not used.
    let row = r#"{"input": "a", "output": "b", "image": "a.png"}"#;
    assert!(told_of(row).contains("not used: `image` in 1 row"));
}

fn told_of(row: &str) -> String {
    told(&[row.to_owned()])
}

#[test]
fn what_stands_twice_is_told() {
    let remarks = |row: String, formats: &Formats| {
        let all = of(&[row, plain("a", "b")], formats)
            .unwrap()
            .notes
            .to_string();
        all.lines().skip(1).map(str::to_owned).collect::<Vec<_>>()
    };
    let chat = |question: &str, answer: &str| {
        json!({"messages": [
            {"role": "user", "content": question}, {"role": "assistant", "content": answer},
            {"role": "user", "content": "c"}, {"role": "assistant", "content": "d"},
        ]})
        .to_string()
    };
    let ended = Formats {
        end: Text::typed("\n\n"),
        ..Formats::default()
    };
    let both = Formats {
        end: Text::typed("<end><|rwkv_tokenizer_end_of_text|>"),
        ..Formats::default()
    };
    for (row, formats) in [
        (plain("a", "b\n\n"), &ended),
        (chat("a", "b\n\n"), &ended),
        (plain("a", "b<end>"), &both),
    ] {
        let told = remarks(row, formats).concat();
        assert!(
            told.contains("ends in the response_end already in 1 row, from line 1 on"),
            "{told}"
        );
    }
    let twice = Formats {
        prompt: Template::parse("Q: {input}\nA: ").unwrap(),
        ..Formats::default()
    };
    for row in [
        plain("a", " b"),
        plain(" a", "b"),
        chat(" a", "b"),
        chat("a", " b"),
    ] {
        let told = remarks(row, &Formats::default()).concat();
        assert!(
            told.contains("response_end in 1 row, from line 1 on"),
            "{told}"
        );
    }
    let told = remarks(plain("a", "b"), &twice).concat();
    assert!(
        told.contains("response_end in 2 rows, from line 1 on"),
        "{told}"
    );
    let text = |text: &str| json!({ "text": text }).to_string();
    // Three line ends are neither the answer's one nor the two that were typed.
    for row in [
        plain("a", "b\n"),
        chat("a", "b\n"),
        text("User: a\n\nAssistant: b\n"),
    ] {
        let told = remarks(row, &ended).concat();
        assert!(
            told.contains("response_end in 1 row, from line 1 on"),
            "{told}"
        );
    }
    for (row, formats) in [
        // A text is stripped of the end that it has.
        (text("User: a\n\nAssistant: b\n\n"), &ended),
        (plain("a", "b\n"), &both),
        (plain("a", "b\n\n"), &Formats::default()),
        (plain("a", "b "), &Formats::default()),
    ] {
        let told = remarks(row, formats).concat();
        assert!(
            !told.contains("already") && !told.contains("side by side"),
            "{told}"
        );
    }
}

#[test]
fn a_sign_that_was_typed_is_not_laid_to_the_rows() {
    let typed = Formats {
        prompt: Template::parse("<|im_start|>{input}<|im_end|>").unwrap(),
        ..Formats::default()
    };
    let told = |row: String| of(&[row], &typed).unwrap().notes.to_string();
    assert!(!told(plain("a", "b")).contains("another tokenizer"));
    assert!(told(plain("a", "b</s>")).contains("stands in 1 row"));
}
