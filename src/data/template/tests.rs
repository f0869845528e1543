//! Python's own results, where a template is wrong, and parts that are left out.

use proptest::prelude::*;

use super::*;

fn row(json: &str) -> Row {
    Row::parse(1, json.as_bytes()).expect("a row")
}

#[test]
fn renders_as_format_map_does() {
    let row = row(r#"{"a": "x", "b c": "{y}", "é": 1, "-1": true, "a]": ""}"#);
    let cases = [
        ("", ""),
        ("plain\n", "plain\n"),
        ("{a}", "x"),
        ("{a}{a}", "xx"),
        ("<{b c}>", "<{y}>"),
        ("{é} {-1}", "1 True"),
        ("{a]}", ""),
        ("{{a}}", "{a}"),
        ("{{{a}}}", "{x}"),
        ("{{{{", "{{"),
        ("{{}}", "{}"),
        ("}}{{", "}{"),
        ("{a}}}", "x}"),
    ];
    for (template, text) in cases {
        let parsed = Template::parse(template).unwrap();
        assert_eq!(parsed.render(&row).unwrap(), text, "{template}");
        assert_eq!(parsed.to_string(), template);
    }
}

#[test]
fn a_part_with_a_mark_is_left_out_where_its_key_has_no_text() {
    let template = Template::parse("{a}{?\nInput: {b}!}{{{c}").unwrap();
    assert_eq!(template.to_string(), "{a}{?\nInput: {b}!}{{{c}");
    assert_eq!(template.keys().collect::<Vec<_>>(), ["a", "b", "c"]);
    assert_eq!(template.required_keys().collect::<Vec<_>>(), ["a", "c"]);
    for (b, text) in [
        (r#", "b": "x""#, "1\nInput: x!{2"),
        (r#", "b": " \n""#, "1{2"),
        (r#", "b": null"#, "1{2"),
        ("", "1{2"),
    ] {
        let row = row(&format!(r#"{{"a": 1, "c": 2{b}}}"#));
        assert_eq!(template.render(&row).unwrap(), text, "{b}");
    }
    // A list is something, and must not be left out as if it were nothing.
    let list = template.render(&row(r#"{"a": 1, "c": 2, "b": ["x"]}"#));
    assert!(matches!(list, Err(DataError::NotText { .. })));
    // Both keys decide, and braces may stand around.
    let two = Template::parse("{{{?<{a}{{{b}>}}}").unwrap();
    let render = |json| two.render(&row(json)).unwrap();
    assert_eq!(render(r#"{"a": 1, "b": 2}"#), "{<1{2>}");
    assert_eq!(render(r#"{"a": 1, "b": ""}"#), "{");
    use TemplateError::*;
    for (template, error) in [
        ("x{?", Unclosed { at: 2 }),
        ("{?{a}", Unclosed { at: 1 }),
        ("{?a}", NoKeyInside { at: 1 }),
        ("{?{a}{?{b}}}", BraceInKey { at: 8 }),
    ] {
        assert_eq!(Template::parse(template), Err(error), "{template}");
    }
}

#[test]
fn a_missing_key_is_the_rows_error() {
    let template = Template::parse("{b}").unwrap();
    assert!(matches!(
        template.render(&row("{}")),
        Err(DataError::MissingKey { line: 1, .. })
    ));
}

#[test]
fn says_where_a_template_is_wrong() {
    use TemplateError::*;
    let cases = [
        ("é{", Unclosed { at: 2 }),
        ("{a", Unclosed { at: 1 }),
        ("{{{", Unclosed { at: 3 }),
        ("a}", Unopened { at: 2 }),
        ("{a}}", Unopened { at: 4 }),
        ("}}}", Unopened { at: 3 }),
        ("{a{b}}", BraceInKey { at: 3 }),
        ("{}", EmptyKey { at: 1 }),
        (
            "ab{0}",
            Position {
                at: 3,
                key: "0".into(),
            },
        ),
        (
            "{a.b}",
            BeyondKey {
                at: 3,
                sign: '.',
                meaning: "an attribute",
            },
        ),
        (
            "{a[0]}",
            BeyondKey {
                at: 3,
                sign: '[',
                meaning: "an item of a list",
            },
        ),
        (
            "{a!r}",
            BeyondKey {
                at: 3,
                sign: '!',
                meaning: "a conversion",
            },
        ),
        (
            "{\"a\": 1}",
            BeyondKey {
                at: 5,
                sign: ':',
                meaning: "a format",
            },
        ),
    ];
    for (template, error) in cases {
        assert_eq!(Template::parse(template), Err(error), "{template}");
    }
}

#[test]
fn messages_show_single_and_double_braces() {
    let message = |template| Template::parse(template).unwrap_err().to_string();
    assert_eq!(
        message("}"),
        "character 1: this `}` has no `{`; write }} for a brace as it stands"
    );
    assert_eq!(
        message("{}"),
        "character 1: {} names no key; write {key}, or {{}} for two braces as they stand"
    );
    assert!(message("{0}").starts_with("character 1: {0} is a position"));
}

proptest! {
    #[test]
    fn doubled_braces_give_any_text_back(text in any::<String>(), braces in "[{}a]{0,9}") {
        let text = text + &braces;
        let template = text.replace('{', "{{").replace('}', "}}");
        prop_assert_eq!(Template::parse(&template).unwrap().render(&row("{}")).unwrap(), text.as_str());
    }

    #[test]
    fn never_panics(text in "[{}?a0.\\[!:é]{0,12}") {
        let _ = Template::parse(&text);
    }
}
