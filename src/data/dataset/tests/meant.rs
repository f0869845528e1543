//! What a row's author may have meant otherwise than it is taken, and is told of.

use super::*;
use crate::data::template::Template;
use crate::tokenizer::Text;

#[test]
fn what_is_inserted_in_other_characters_is_told_where_it_is_used() {
    let told = |row: &str| {
        let data = of(&[row.to_owned()], &Formats::default()).unwrap();
        data.notes
            .to_string()
            .contains("as Python writes it in 1 row")
    };
    for row in [
        r#"{"input": 2.50, "output": "b"}"#,
        r#"{"input": "a", "output": true}"#,
        r#"{"input": "a", "output": -0}"#,
        r#"{"input": "a", "output": 1e3}"#,
        r#"{"instruction": 1E2, "output": "b"}"#,
    ] {
        assert!(told(row), "{row}");
    }
    for row in [
        r#"{"input": 2.5, "output": 7}"#,
        r#"{"input": "2.50", "output": "true"}"#,
        r#"{"input": "a", "output": "b", "score": 2.50, "is_good": true}"#,
        r#"{"input": "a", "output": "b", "weight": 1.00}"#,
    ] {
        assert!(!told(row), "{row}");
    }
}

#[test]
fn texts_of_images_and_texts_that_begin_with_an_answer_are_told() {
    let told = |row: &str| {
        of(&[row.to_owned()], &Formats::default())
            .unwrap()
            .notes
            .to_string()
    };
    let image = "such as <image>, stands in 1 row";
    assert!(told(r#"{"input": "<image>\nWhat is it?", "output": "a cat"}"#).contains(image));
    // As code that is asked for.
    let code = told(r#"{"input": "An SVG of a cat.", "output": "<image>cat.png</image>"}"#);
    assert!(!code.contains(image), "{code}");
    let text = told(r#"{"text": "\nAssistant: Hi!\n\nUser: a\n\nAssistant: b"}"#);
    assert!(text.contains("begins with an answer in 1 row"), "{text}");
    let text = told(r#"{"text": "Assistant a\n\nUser: a\n\nAssistant: b"}"#);
    assert!(!text.contains("begins with an answer"), "{text}");
}

#[test]
fn a_token_in_the_formatter_and_in_the_end_is_told() {
    let formats = |response: &str, end: &str| Formats {
        response: Template::parse(response).unwrap(),
        end: Text::typed(end),
        ..Formats::default()
    };
    let token = crate::tokenizer::END_OF_TEXT;
    let told = |response: &str, end: &str| {
        let data = of(&[plain("a", "b")], &formats(response, end)).unwrap();
        data.notes.to_string().contains("already in 1 row")
    };
    let with_token = format!(" {{output}}{token}");
    assert!(told(&with_token, token));
    assert!(told(&format!(" {{output}}!{token}"), &format!("!{token}")));
    assert!(!told(&with_token, ""));
    assert!(!told(" {output}", token));
    assert!(!told(&with_token, &format!("!{token}")));
}

#[test]
fn a_key_of_a_part_that_is_left_out_everywhere_is_told() {
    let formats = Formats {
        prompt: Template::parse("{input}{? ({topic})}:").unwrap(),
        ..Formats::default()
    };
    let told = |rows: &[String]| of(rows, &formats).unwrap().notes.to_string();
    let note = "no row has text under `topic`";
    let blank = r#"{"input": "a", "output": "b", "topic": " "}"#.to_owned();
    let with_topic = r#"{"input": "a", "output": "b", "topic": "c"}"#.to_owned();
    assert!(told(&[plain("a", "b"), blank.clone()]).contains(note));
    assert!(!told(&[plain("a", "b"), with_topic, blank]).contains(note));
    let text = r#"{"text": "User: a\n\nAssistant: b"}"#.to_owned();
    assert!(!told(&[text]).contains(note));
}

#[test]
fn answers_of_a_second_pair_of_speakers_are_told() {
    let told = |text: &str| {
        let row = json!({ "text": text }).to_string();
        of(&[row], &Formats::default()).unwrap().notes.to_string()
    };
    let note = "begins as another's answer in 1 row";
    assert!(told("User: a\n\nBot: b\n\nUser: c\n\nAssistant: d").contains(note));
    assert!(!told("User: a\n\nAssistant: b\n\nHuman: c\n\nAssistant: d").contains(note));
    // A line of blanks is a blank line.
    let spaced = told("User: a\n \t\r\nAssistant: b");
    assert!(spaced.starts_with("format text"), "{spaced}");
}
