//! Rows as other programs have them: which shape each is taken for, and what is learnt of it.

use super::*;
use crate::data::format::DataFormat;
use crate::data::rendered::Remark;

/// What the row is taken for, and what of it is read and learnt.
fn read(json: &str, formats: &Formats) -> (String, String) {
    let rendered = formats
        .render(&Row::parse(7, json.as_bytes()).unwrap())
        .unwrap();
    let example = example(json, formats).unwrap();
    (rendered.format.to_string(), shown(&example))
}

#[track_caller]
fn reads(json: &str, format: &str, text: &str) {
    assert_eq!(
        read(json, &default()),
        (format.to_owned(), text.to_owned()),
        "{json}"
    );
}

fn asked(format: &str) -> Formats {
    let found = DataFormat::NAMES.iter().find(|(name, _)| *name == format);
    Formats {
        format: Some(found.unwrap().1),
        ..default()
    }
}

const ALPACA: &str = r#"{"instruction": "Name the opposite.", "input": "hot", "output": "Cold."}"#;

#[test]
fn alpaca_is_the_instruction_and_the_input_if_there_is_one() {
    reads(
        ALPACA,
        "alpaca",
        "[[user: Name the opposite.\nhot\n\nassistant:]] Cold.",
    );
    for input in [r#""""#, r#"" ""#, "null"] {
        let json = format!(r#"{{"instruction": "Hi.", "input": {input}, "output": "Arr!"}}"#);
        reads(&json, "alpaca", "[[user: Hi.\n\nassistant:]] Arr!");
    }
    let without = r#"{"output": "Arr!", "instruction": "Hi."}"#;
    reads(without, "alpaca", "[[user: Hi.\n\nassistant:]] Arr!");
    let bare = r#"{"instruction": "", "input": "Hi.", "output": "Arr!"}"#;
    reads(bare, "alpaca", "[[user: Hi.\n\nassistant:]] Arr!");
    // As LLaMA-Factory has it.
    let system = r#"{"instruction": "Hi.", "output": "Arr!", "system": "Be a pirate."}"#;
    let text = "[[system: Be a pirate.\n\nuser: Hi.\n\nassistant:]] Arr!";
    reads(system, "alpaca", text);
    // Explicit nulls, as in a table of several kinds of rows, are not there.
    let null = r#"{"instruction": null, "input": "a", "output": "b"}"#;
    reads(null, "template", "[[user: a\n\nassistant:]] b");
}

#[test]
fn templates_of_the_users_own_count_before_a_shape() {
    let named = formats("Q: {input} of {instruction}\nA:", " {output}");
    let (format, text) = read(ALPACA, &named);
    assert_eq!(
        (format.as_str(), text.as_str()),
        ("template", "[[Q: hot of Name the opposite.\nA:]] Cold.")
    );
    // Other text round the same keys does not drop the instruction, whether there is an input or not.
    let own = formats("Q: {input}\nA:", " {output}!");
    let (format, text) = read(ALPACA, &own);
    assert_eq!(
        (format.as_str(), text.as_str()),
        ("alpaca", "[[Q: Name the opposite.\nhot\nA:]] Cold.!")
    );
    let bare = r#"{"instruction": "Hi.", "output": "Arr"}"#;
    assert_eq!(read(bare, &own).1, "[[Q: Hi.\nA:]] Arr!");
    // One more key makes it the user's own, and so does asking for it.
    let more = formats("{id} {input}\n", " {output}");
    let with_id = ALPACA.replacen('{', r#"{"id": 7, "#, 1);
    assert_eq!(read(&with_id, &more).0, "template");
    let asked_for = Formats {
        format: asked("template").format,
        ..own
    };
    assert_eq!(read(ALPACA, &asked_for).1, "[[Q: hot\nA:]] Cold.!");
    let placed = formats("{instruction}{?\n({input})}\n", "{output}");
    assert_eq!(
        read(ALPACA, &placed).1,
        "[[Name the opposite.\n(hot)\n]]Cold."
    );
    let none = r#"{"instruction": "Hi.", "output": "Arr!"}"#;
    assert_eq!(read(none, &placed).1, "[[Hi.\n]]Arr!");
    // A template that names the shape's key places it itself, and misses what it names.
    let demanding = formats("{instruction} {input}", "{output}");
    let error = error(none, &demanding);
    assert!(error.contains("uses the key `input`"), "{error}");
    let text = r#"{"text": "User: a\n\nAssistant: b"}"#;
    assert_eq!(
        read(text, &formats("", "{text}")).1,
        "[[]]User: a\n\nAssistant: b"
    );
    // `input` and `output` are the default templates' keys.
    let other = r#"{"input": "a", "output": "b", "prompt": "c", "completion": "d", "text": "e"}"#;
    reads(other, "template", "[[user: a\n\nassistant:]] b");
}

#[test]
fn conversations_have_either_key_and_may_be_text() {
    let text = "[[user: Hi.\n\nassistant:]] Arr!";
    let sharegpt = r#"[{"from": "human", "value": "Hi."}, {"from": "gpt", "value": "Arr!"}]"#;
    let chatml =
        r#"[{"role": "user", "content": "Hi."}, {"role": "assistant", "content": "Arr!"}]"#;
    for messages in [sharegpt, chatml] {
        for (key, format) in [("messages", "messages"), ("conversations", "sharegpt")] {
            reads(
                &format!(r#"{{"id": "x0", "{key}": {messages}}}"#),
                format,
                text,
            );
            let encoded = serde_json::to_string(&format!("\n {messages} ")).unwrap();
            reads(&format!(r#"{{"{key}": {encoded}}}"#), format, text);
        }
    }
    let both = format!(r#"{{"conversations": {chatml}, "messages": {chatml}}}"#);
    reads(&both, "messages", text);
    assert_eq!(read(&both, &asked("sharegpt")).0, "sharegpt");
    let system = format!(r#"{{"system": "Be a pirate.", "conversations": {sharegpt}}}"#);
    let lead = "[[system: Be a pirate.\n\nuser: Hi.\n\nassistant:]] Arr!";
    reads(&system, "sharegpt", lead);
    let own = sharegpt.replacen('[', r#"[{"from": "system", "value": "Be mild."}, "#, 1);
    let system = format!(r#"{{"system": "Be a pirate.", "conversations": {own}}}"#);
    reads(
        &system,
        "sharegpt",
        "[[system: Be mild.\n\nuser: Hi.\n\nassistant:]] Arr!",
    );

    // Python's own text of a list is not JSON.
    let python = r#"{"messages": "[{'role': 'user', 'content': 'Hi.'}]"}"#;
    let error = error(python, &default());
    assert!(
        error.starts_with("line 7: `messages` is a text that holds no JSON array: key must be"),
        "{error}"
    );
}

#[test]
fn what_follows_the_last_answer_is_left_out() {
    let say = |role: &str| format!(r#"{{"role": "{role}", "content": "{role}"}}"#);
    let [user, answer] = [say("user"), say("assistant")];
    let json = format!(r#"{{"messages": [{user}, {answer}, {user}, {user}]}}"#);
    reads(&json, "messages", "[[user: user\n\nassistant:]] assistant");
}

#[test]
fn rwkvs_text_stands_as_it_is_and_its_answers_are_learnt() {
    let text = |text: &str| json!({"text": text}).to_string();
    let one = "User: What is the colour of grass?\n\nAssistant: Arr, that be green, matey!";
    let one = example(&text(one), &default()).unwrap();
    assert_eq!((one.learnt_len(), one.tokens.len()), (9, 22));
    let multi = "User: What is the colour of grass?\n\nAssistant: Arr, that be green, \
                 matey!\n\nUser: How much is two plus two?\n\nAssistant: Arr, that be four, matey!";
    let multi = example(&text(multi), &default()).unwrap();
    let lengths: Vec<usize> = multi.learnt.iter().map(|part| part.len()).collect();
    assert_eq!(lengths, [9, 9]);
    for (written, wanted) in [
        (
            "System: Be.\n\nuser: a\n\nb\n\nassistant: c\n\nd\n\n\nUser: e\n\nAssistant: f\n\n",
            "[[System: Be.\n\nuser: a\n\nb\n\nassistant:]] c\n\nd[[\n\nUser: e\n\nAssistant:]] f\n\n",
        ),
        ("Q: a?\n\nA: b", "[[Q: a?\n\nA:]] b"),
        ("Question: a?\n\nAnswer: b", "[[Question: a?\n\nAnswer:]] b"),
        (
            "Instruction: a\n\nInput: b\n\nResponse: c",
            "[[Instruction: a\n\nInput: b\n\nResponse:]] c",
        ),
        (
            "Below is a task.\n\n### Instruction:\na\n\n### Input:\nb\n\n### Response:\nc",
            "[[Below is a task.\n\n### Instruction:\na\n\n### Input:\nb\n\n### Response:]]\nc",
        ),
        // But not those of headings inside an answer that has none.
        (
            "User: a\n\nAssistant: b\n\n## System:\n\nc\n\n### User:\n\nd",
            "[[User: a\n\nAssistant:]] b\n\n## System:\n\nc\n\n### User:\n\nd",
        ),
        // Names count at the start of a paragraph only, and those of the pair.
        (
            "User: a\nUser: b\n\nAssistant: c User: d\nUser: e\n\nQ: f\n\nA: g",
            "[[User: a\nUser: b\n\nAssistant:]] c User: d\nUser: e\n\nQ: f\n\nA: g",
        ),
        // Read up to the last answer.
        (
            "User: a\n\nAssistant: b\n\nUser: c\n\n",
            "[[User: a\n\nAssistant:]] b",
        ),
        ("Assistant: b", "[[Assistant:]] b"),
    ] {
        reads(&text(written), "text", wanted);
    }
    for bare in [
        "",
        "Once upon a time.",
        "User: hi\nAssistant: hello",
        "Assistants: x",
    ] {
        let error = error(&text(bare), &default());
        assert!(
            error.contains("no paragraph of its `text` begins with"),
            "{error}"
        );
    }
}

#[test]
fn an_end_that_a_text_has_is_not_put_twice() {
    let ended = Formats {
        end: "\n\n".into(),
        ..default()
    };
    for tail in ["", "\n\n"] {
        let text = format!("User: a\n\nAssistant: b\n\nUser: c\n\nAssistant: d{tail}");
        let (_, shown) = read(&json!({ "text": text }).to_string(), &ended);
        assert_eq!(
            shown,
            "[[User: a\n\nAssistant:]] b\n\n[[User: c\n\nAssistant:]] d\n\n"
        );
    }
}

#[test]
fn a_prompt_and_its_completion_are_texts_or_messages() {
    let text = "[[user: Hi.\n\nassistant:]] Arr!";
    reads(
        r#"{"prompt": "Hi.", "completion": "Arr!"}"#,
        "prompt_completion",
        text,
    );
    let user = r#"{"role": "user", "content": "Hi."}"#;
    let answer = r#"{"role": "assistant", "content": "Arr!"}"#;
    let json = format!(r#"{{"prompt": [{user}], "completion": [{answer}]}}"#);
    reads(&json, "prompt_completion", text);
    // Answers in the prompt are read.
    let json = format!(r#"{{"prompt": [{user}, {answer}, {user}], "completion": "Aye."}}"#);
    reads(
        &json,
        "prompt_completion",
        "[[user: Hi.\n\nassistant: Arr!\n\nuser: Hi.\n\nassistant:]] Aye.",
    );
    for (json, wanted) in [
        (
            format!(r#"{{"prompt": [{user}, {answer}], "completion": [{answer}]}}"#),
            "line 7, message 3: an answer of the assistant where",
        ),
        (
            format!(r#"{{"prompt": [{user}, {answer}], "completion": "Arr!"}}"#),
            "line 7, message 3: an answer of the assistant where",
        ),
        (
            format!(r#"{{"prompt": [{user}], "completion": []}}"#),
            "line 7: no message of the assistant in its `completion`",
        ),
    ] {
        let error = error(&json, &default());
        assert!(error.starts_with(wanted), "{error}");
    }
}

#[test]
fn a_format_that_is_asked_for_and_not_there_is_an_error() {
    let error = error(r#"{"input": "a", "output": "b"}"#, &asked("alpaca"));
    let wanted = "line 7: data_format alpaca needs the key `instruction`, but the line has only \
                  `input`, `output`";
    assert_eq!(error, wanted);
    // Templates alone, whatever else there is.
    let (format, text) = read(ALPACA, &asked("template"));
    assert_eq!(
        (format.as_str(), text.as_str()),
        ("template", "[[user: hot\n\nassistant:]] Cold.")
    );
}

#[test]
fn a_prompt_is_read_of_every_shape() {
    let prompt = |json: &str| {
        let row = Row::parse(1, json.as_bytes()).unwrap();
        let texts = default().prompt(&row).unwrap().0;
        texts.iter().map(Text::to_string).collect::<String>()
    };
    for (json, wanted) in [
        (
            r#"{"instruction": "a", "input": "b"}"#,
            "user: a\nb\n\nassistant:",
        ),
        (ALPACA, "user: Name the opposite.\nhot\n\nassistant:"),
        (r#"{"prompt": "a"}"#, "user: a\n\nassistant:"),
        (
            r#"{"prompt": [{"role": "user", "content": "a"}]}"#,
            "user: a\n\nassistant:",
        ),
        (
            r#"{"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]}"#,
            "user: a\n\nassistant:",
        ),
        (
            r#"{"text": "User: a\n\nAssistant:"}"#,
            "User: a\n\nAssistant:",
        ),
        (
            r#"{"text": "User: a\n\nAssistant: b\n\nUser: c"}"#,
            "User: a\n\nAssistant: b\n\nUser: c\n\nAssistant:",
        ),
        (
            r#"{"text": "User: a\n\nAssistant: b"}"#,
            "User: a\n\nAssistant:",
        ),
    ] {
        assert_eq!(prompt(json), wanted, "{json}");
    }
    // What a prompt is made of must be in order to its end.
    let row =
        r#"{"messages": [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]}"#;
    let error = default()
        .prompt(&Row::parse(1, row.as_bytes()).unwrap())
        .unwrap_err();
    assert!(error.to_string().contains("a second message of the user"));
}

#[test]
fn a_prompt_and_its_completion_may_be_messages_written_as_text() {
    let prompt = r#"[{\"role\": \"user\", \"content\": \"hot\"}]"#;
    let completion = r#"[{\"role\": \"assistant\", \"content\": \"cold\"}]"#;
    reads(
        &format!(r#"{{"prompt": "{prompt}", "completion": "{completion}"}}"#),
        "prompt_completion",
        "[[user: hot\n\nassistant:]] cold",
    );
}

#[test]
fn the_question_that_opens_a_text_decides_who_answers() {
    reads(
        r#"{"text": "Instruction: Pick.\n\nAnswer: yes or no\n\nResponse: yes"}"#,
        "text",
        "[[Instruction: Pick.\n\nAnswer: yes or no\n\nResponse:]] yes",
    );
}

#[test]
fn signs_of_other_tokenizers_are_told_of_prompts_too() {
    for row in [
        r#"{"input": "a</s>"}"#,
        r#"{"messages": [{"role": "user", "content": "<|im_start|>a"}]}"#,
    ] {
        let row = Row::parse(1, row.as_bytes()).unwrap();
        let (_, rendered) = default().prompt(&row).unwrap();
        assert!(rendered.remarks.contains(&Remark::ForeignSign), "{row:?}");
    }
}
