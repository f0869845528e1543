//! Any text is a template or an error that says where; with its braces doubled it is itself.

#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::{Map, Value};
use state_tune::data::jsonl::Row;
use state_tune::data::template::Template;

fuzz_target!(|text: &str| {
    let empty = Row::parse(1, b"{}").unwrap();
    let doubled = text.replace('{', "{{").replace('}', "}}");
    let plain = Template::parse(&doubled).expect("every brace has a partner");
    assert_eq!(plain.render(&empty).unwrap().to_string(), text);

    let template = match Template::parse(text) {
        Ok(template) => template,
        Err(error) => return assert!(error.to_string().starts_with("character ")),
    };
    // A part that is left out takes its text with it.
    if text.contains("{?") {
        return;
    }
    // With every value empty, what is left is the text without its keys.
    let values: Map<String, Value> = template.keys().map(|key| (key.into(), "".into())).collect();
    let row = Row::parse(1, Value::Object(values).to_string().as_bytes()).unwrap();
    let bare = template.render(&row).unwrap().to_string();
    let keys: usize = template.keys().map(|key| key.len() + 2).sum();
    let braces = bare.matches(['{', '}']).count();
    assert_eq!(bare.len() + keys + braces, text.len());
    assert_eq!(template.render(&empty).is_ok(), keys == 0);
});
