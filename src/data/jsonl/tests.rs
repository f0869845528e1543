//! One test per kind of error, and Python's text for every kind of number.

use std::io::Cursor;

use proptest::prelude::*;

use super::*;

fn rows(file: &[u8]) -> Result<Vec<Row>, DataError> {
    let file = Container::from_reader(Cursor::new(file.to_vec()))?;
    let mut rows = Vec::new();
    each_of(file, |line, json| {
        rows.push(Row::parse(line, json?)?);
        Ok(())
    })?;
    Ok(rows)
}

fn message<T: std::fmt::Debug>(result: Result<T, DataError>) -> String {
    result.unwrap_err().to_string()
}

#[test]
fn reads_a_file() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "{\"a\": \"x\\ty\"}\n{\"a\": 1}").unwrap();
    let mut rows = Vec::new();
    let notes = each(file.path(), |line, json| {
        rows.push(Row::parse(line, json?)?);
        Ok(())
    });
    let notes = notes.unwrap();
    assert_eq!((rows.len(), notes), (2, Vec::new()));
    assert_eq!(rows[0].text("a").unwrap(), "x\ty");
    assert_eq!(rows[1].text("a").unwrap(), "1");
}

#[test]
fn a_file_that_is_not_there() {
    let folder = tempfile::tempdir().unwrap();
    assert!(matches!(
        each(&folder.path().join("none"), |_, _| Ok(())),
        Err(DataError::Read(_))
    ));
}

#[test]
fn byte_order_mark_crlf_and_blank_lines_do_no_harm() {
    let file = "\u{FEFF}{\"a\": 1}\r\n\r\n  \t\n\u{FEFF} {\"a\": 2} \r\n";
    let rows = rows(file.as_bytes()).unwrap();
    let found: Vec<_> = rows
        .iter()
        .map(|row| (row.line(), row.text("a").unwrap()))
        .collect();
    assert_eq!(found, [(1, "1"), (4, "2")]);
}

#[test]
fn of_equal_keys_the_last_counts() {
    assert_eq!(
        rows(br#"{"a": 1, "\u0061": 2}"#).unwrap()[0]
            .text("a")
            .unwrap(),
        "2"
    );
}

#[test]
fn without_examples() {
    for file in ["", "\n \r\n\n", "\u{FEFF}\n"] {
        let error = rows(file.as_bytes());
        assert!(matches!(error, Err(DataError::Empty)));
        assert!(message(error).starts_with("the file has no examples; "));
    }
}

#[test]
fn not_utf8() {
    assert_eq!(
        message(rows(b"{}\n{\"a\": \"\xff\"}")),
        "line 2, byte 8: not UTF-8; save the file as UTF-8"
    );
}

#[test]
fn not_json() {
    let cases: [(&str, usize, &str); 7] = [
        ("hello", 1, "expected value"),
        ("{\"é\": 1,}", 9, "trailing comma"),
        ("{\"a\": 1} {", 10, "trailing characters"),
        ("{\"a\": NaN}", 7, "expected value"),
        ("{\"a\": 01}", 8, "invalid number"),
        ("{", 1, "EOF while parsing an object"),
        ("{\"a\": \"b", 8, "EOF while parsing a string"),
    ];
    for (text, at, why) in cases {
        match rows(format!("\n{text}\n").as_bytes()) {
            Err(DataError::NotJson {
                line: 2,
                column,
                reason,
                ..
            }) => {
                assert_eq!((column, reason.as_str()), (at, why), "{text}");
            }
            other => panic!("{text}: {other:?}"),
        }
    }
    assert_eq!(
        message(rows(b"{\"a\" 1}")),
        "line 1, column 6: not JSON: expected `:`; each line must be one whole JSON object"
    );
    for (text, words) in [
        ("{\"a\": 1, \"b\": NaN}", "write null in their place"),
        ("{\"a\": -Infinity}", "write null in their place"),
        ("{'a': 1}", "json.dumps"),
        ("{\"a\": None}", "json.dumps"),
        ("{\"a\": \"b\", \"c\": True}", "json.dumps"),
    ] {
        let error = message(rows(format!("{text}\n{text}").as_bytes()));
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn not_an_object() {
    let cases = [
        ("[[{}]]", "an array"),
        ("\"{}\"", "a string"),
        ("-1", "a number"),
        (" true", "a boolean"),
        ("null", "null"),
    ];
    for (text, kind) in cases {
        assert!(
            matches!(rows(text.as_bytes()), Err(DataError::NotObject { line: 1, found }) if found == kind),
            "{text}"
        );
    }
}

#[test]
fn a_missing_key_lists_those_that_are_there() {
    let missing = |line: &[u8]| message(rows(line).unwrap()[0].text("prompt"));
    let start = "line 1: the template uses the key `prompt`, but the line has ";
    let name = "name its own in prompt_formatter and response_formatter";
    let object =
        "each row must be an object of texts, such as {\"input\": \"...\", \"output\": \"...\"}";
    assert_eq!(missing(b"{}"), format!("{start}no values; {object}"));
    assert_eq!(missing(br#"{"q": 1}"#), format!("{start}only `q`; {name}"));
    assert_eq!(
        missing(br#"{"q": 1, "Prompt": 2}"#),
        format!("{start}only `Prompt`, `q`; {name}")
    );
    // Null is nothing.
    let nulls = missing(br#"{"q": null, "train": ["a", 1]}"#);
    assert_eq!(nulls, format!("{start}only `train`; {object}"));
    let many = (0..1000).map(|n| format!("\"{n}{}\": 1", "x".repeat(100)));
    let many = format!("{{{}}}", many.collect::<Vec<_>>().join(","));
    let error = missing(many.as_bytes());
    assert!(error.len() < 700 && error.ends_with(name), "{error}");
}

#[test]
fn a_bare_list_of_messages_is_a_row() {
    let talk = r#"[{"role": "user", "content": "Hi."}, {"from": "gpt", "value": "Arr!"}]"#;
    for file in [
        talk.to_owned(),
        format!("{talk}\n\n{talk}\n"),
        format!("[{talk}, {talk}]"),
        talk.replace(' ', "\n"),
    ] {
        for row in rows(file.as_bytes()).unwrap() {
            let found: String = row.array("messages").unwrap().split_whitespace().collect();
            assert_eq!(found, talk.replace(' ', ""), "{file}");
        }
    }
    // Rows may say whom they are of.
    let rows = rows(br#"[{"role": "pirate", "input": "a"}, {"from": "Ann", "input": "b"}]"#);
    assert_eq!(rows.unwrap()[1].text("input").unwrap(), "b");
}

#[test]
fn a_value_without_text_matters_only_where_it_is_used() {
    let file = br#"{"a": null, "b": [1], "c": {"d": 1}, "e": "\ud800", "f": "fine"}"#;
    let row = &rows(file).unwrap()[0];
    assert_eq!(row.text("f").unwrap(), "fine");
    for (key, kind) in [
        ("a", "null"),
        ("b", "an array"),
        ("c", "an object"),
        ("e", "a string with half"),
    ] {
        match row.text(key) {
            Err(DataError::NotText { line: 1, found, .. }) => assert!(found.starts_with(kind)),
            other => panic!("{key}: {other:?}"),
        }
    }
    assert_eq!(
        message(row.text("a")),
        "line 1: `a` is null where a text is needed; it must be a string, a number or a boolean"
    );
    assert!(message(row.text("c")).ends_with("to_json(orient=\"records\", lines=True))"));
}

#[test]
fn deep_nesting_does_not_overflow_the_stack() {
    let deep = "[".repeat(1_000_000) + &"]".repeat(1_000_000);
    let row = &rows(format!("{{\"deep\": {deep}, \"a\": 1}}").as_bytes()).unwrap()[0];
    assert_eq!(row.text("a").unwrap(), "1");
    assert!(matches!(
        rows(deep.as_bytes()),
        Err(DataError::NotObject { .. })
    ));
    assert!(matches!(
        rows("{\"a\":".repeat(1_000_000).as_bytes()),
        Err(DataError::NotJson { .. })
    ));
}

#[test]
fn numbers_and_booleans_are_written_as_python_writes_them() {
    let cases = [
        ("true", "True"),
        ("false", "False"),
        ("0", "0"),
        ("-0", "0"),
        ("-17", "-17"),
        (
            "123456789012345678901234567890",
            "123456789012345678901234567890",
        ),
        ("1.0", "1.0"),
        ("1e0", "1.0"),
        ("1.50", "1.5"),
        ("0.1", "0.1"),
        ("0.30000000000000004", "0.30000000000000004"),
        ("0.1000000000000000055511151231257827", "0.1"),
        ("0.0", "0.0"),
        ("-0.0", "-0.0"),
        ("-0E5", "-0.0"),
        ("1e-400", "0.0"),
        ("0.0001", "0.0001"),
        ("0.00012345", "0.00012345"),
        ("0.00001", "1e-05"),
        ("1.5e-7", "1.5e-07"),
        ("1e-10", "1e-10"),
        ("5e-324", "5e-324"),
        ("2.2250738585072014e-308", "2.2250738585072014e-308"),
        ("1e15", "1000000000000000.0"),
        ("-224431569710340.125", "-224431569710340.12"),
        ("224431569710340.375", "224431569710340.38"),
        ("9007199254740992.0", "9007199254740992.0"),
        ("5.684341886080802e-14", "5.684341886080802e-14"),
        ("9999999999999998.0", "9999999999999998.0"),
        ("9999999999999999.0", "1e+16"),
        ("1e16", "1e+16"),
        ("1E20", "1e+20"),
        ("-1.25e+100", "-1.25e+100"),
        ("1.7976931348623157e308", "1.7976931348623157e+308"),
        ("1e400", "inf"),
        ("-1e400", "-inf"),
    ];
    for (json, python) in cases {
        let rows = rows(format!("{{\"a\": {json}}}").as_bytes()).unwrap();
        assert_eq!(rows[0].text("a").unwrap(), python, "{json}");
    }
}

proptest! {
    #[test]
    fn any_bytes_give_rows_or_an_error(bytes in any::<Vec<u8>>()) {
        let _ = rows(&bytes);
    }

    #[test]
    fn what_looks_like_json_gives_rows_or_an_error(text in "[\\[\\]{}\":,\\\\uUdD80-9eE+. nrtalsé\n\r-]{0,60}") {
        if let Ok(rows) = rows(text.as_bytes()) {
            for key in ["", "a", "u"] {
                let _ = rows[0].text(key);
            }
        }
    }

    #[test]
    fn floats_read_back_the_same(bits in any::<u64>()) {
        let number = f64::from_bits(bits);
        prop_assume!(number.is_finite());
        let text = python_number(&format!("{number:e}")).unwrap();
        prop_assert_eq!(text.parse::<f64>().unwrap().to_bits(), bits);
    }
}
