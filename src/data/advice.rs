//! What to do about a row that no template fits, or that is no JSON: said with the row's own keys, as
//! it can be typed.

use super::words::shortened;
use crate::setting::{DATA_FORMAT, PROMPT_FORMATTER, RESPONSE_FORMATTER};

/// How many of a row's keys are listed, and the most characters of each.
const LISTED: usize = 10;
const LONGEST: usize = 40;

/// A key that a row has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownKey {
    /// The key.
    pub name: String,
    /// What stands under it.
    pub holds: Holds,
}

/// What stands under a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holds {
    /// What can stand in a template.
    Text,
    /// An array of objects, as messages are.
    Objects,
    /// Anything else.
    Other,
}

/// The keys of a row in words.
pub fn list(keys: &[KnownKey]) -> String {
    if keys.is_empty() {
        return "no keys".to_owned();
    }
    let name = |key: &KnownKey| format!("`{}`", shortened(&key.name, LONGEST));
    let names: Vec<String> = keys.iter().take(LISTED).map(name).collect();
    let more = if keys.len() > LISTED { ", ..." } else { "" };
    format!("only {}{more}", names.join(", "))
}

/// Names that data sets give to what is asked, in the order in which they are looked for.
const QUESTIONS: [&str; 9] = [
    "question",
    "instruction",
    "prompt",
    "query",
    "input",
    "user",
    "human",
    "problem",
    "source",
];

/// Names of what is answered.
const ANSWERS: [&str; 10] = [
    "answer",
    "response",
    "output",
    "completion",
    "chosen",
    "assistant",
    "reply",
    "solution",
    "target",
    "label",
];

/// Names of what a question may be about.
const CONTEXTS: [&str; 2] = ["input", "context"];

/// For a row with these keys that lacks one which a template names.
pub fn of(keys: &[KnownKey]) -> String {
    let named = |names: &[&str]| {
        let known = |name: &&str| keys.iter().find(|key| is(key, name));
        names.iter().find_map(known)
    };
    if let (Some(question), Some(answer)) = (named(&QUESTIONS), named(&ANSWERS)) {
        let context = named(&CONTEXTS).filter(|context| context != &question);
        let context = context.map_or(String::new(), |context| {
            format!("{{?\\n{{{}}}}}", context.name)
        });
        return format!(
            "name its own: {PROMPT_FORMATTER} \"user: {{{}}}{context}\\n\\nassistant:\" \
             {RESPONSE_FORMATTER} \" {{{}}}\"",
            question.name, answer.name
        );
    }
    if let Some(objects) = keys.iter().find(|key| key.holds == Holds::Objects) {
        return match objects.name.as_str() {
            "messages" => format!("{DATA_FORMAT} messages reads those"),
            "conversations" => format!("{DATA_FORMAT} sharegpt reads those"),
            _ => "a conversation must stand under `messages`".to_owned(),
        };
    }
    match keys.iter().any(|key| key.holds == Holds::Text) {
        true => format!("name its own in {PROMPT_FORMATTER} and {RESPONSE_FORMATTER}"),
        false => "each row must be an object of texts, such as {\"input\": \"...\", \"output\": \
                  \"...\"}"
            .to_owned(),
    }
}

/// Whether a text stands under a key of this name, however it is capitalised, that a template can
/// name.
fn is(key: &KnownKey, name: &str) -> bool {
    key.holds == Holds::Text && key.name.eq_ignore_ascii_case(name)
}

/// For a value of this kind where a text is needed.
pub fn of_kind(found: &str) -> &'static str {
    match found {
        // As pandas writes a table unless it is told otherwise.
        "an object" => " (pandas writes such rows by to_json(orient=\"records\", lines=True))",
        _ => "",
    }
}

/// For a line that is no JSON from `rest` on.
pub fn of_syntax(rest: &[u8]) -> &'static str {
    let begins = |words: &[&str]| words.iter().any(|word| rest.starts_with(word.as_bytes()));
    if begins(&["NaN", "Infinity"]) {
        return "Python writes NaN and Infinity, JSON has neither; write null in their place";
    }
    if begins(&["'", "None", "True", "False"]) {
        return "it is Python's way to write; write each row by json.dumps";
    }
    "each line must be one whole JSON object"
}
