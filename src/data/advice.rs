//! What to do about a row that no template fits, or that is no JSON: said with the row's own keys, as
//! it can be typed.

use serde::de::IgnoredAny;

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
    /// An array of messages.
    Messages,
    /// An array of other objects.
    Rows,
    /// An object.
    Object,
    /// Anything else.
    Other,
}

/// The keys of a row in words.
pub fn list(keys: &[KnownKey]) -> String {
    match keys.is_empty() {
        true => "no values".to_owned(),
        false => format!("only {}", names(keys)),
    }
}

fn names(keys: &[KnownKey]) -> String {
    let name = |key: &KnownKey| format!("`{}`", shortened(&key.name, LONGEST));
    let names: Vec<String> = keys.iter().take(LISTED).map(name).collect();
    let more = if keys.len() > LISTED { ", ..." } else { "" };
    format!("{}{more}", names.join(", "))
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

/// Names of what stands before a question.
const SYSTEMS: [&str; 2] = ["system_prompt", "system"];

/// The formatters of prompts and of answers for a row with these keys, as they can be typed, if it is
/// clear what is asked and what answered. `renamed` gives both, and
/// `renamed_system` a system message's text, with texts in place of their keys.
pub fn formatters(
    keys: &[KnownKey],
    renamed_system: impl Fn(&str) -> Option<String>,
    renamed: impl Fn(&str, &str) -> Option<[String; 2]>,
) -> Option<String> {
    let named = |names: &[&str]| {
        let known = |name: &&str| keys.iter().find(|key| is(key, name));
        names.iter().find_map(known)
    };
    let (question, answer) = (named(&QUESTIONS)?, named(&ANSWERS)?);
    let context = named(&CONTEXTS).filter(|context| context != &question);
    let context = context.map_or(String::new(), |context| {
        format!("{{?\n{{{}}}}}", context.name)
    });
    let question = format!("{{{}}}{context}", question.name);
    let texts = renamed(&question, &format!("{{{}}}", answer.name))?;
    let [prompt, response] = texts.map(|text| text.replace('\n', "\\n"));
    let system = named(&SYSTEMS).and_then(|system| {
        let text = renamed_system(&format!("{{{}}}", system.name))?;
        Some(format!("{{?{}}}", text.replace('\n', "\\n")))
    });
    let system = system.unwrap_or_default();
    Some(format!(
        "name its own: {PROMPT_FORMATTER} \"{system}{prompt}\" {RESPONSE_FORMATTER} \"{response}\""
    ))
}

/// Which format reads the conversation under one of these keys, if that is clear.
pub fn reader(keys: &[KnownKey]) -> Option<String> {
    let objects = [Holds::Messages, Holds::Rows];
    let formats = [("messages", "messages"), ("conversations", "sharegpt")];
    let is_there = |name: &str| {
        let mut keys = keys.iter();
        keys.any(|key| key.name == name && objects.contains(&key.holds))
    };
    let (_, format) = formats.into_iter().find(|(name, _)| is_there(name))?;
    Some(format!("{DATA_FORMAT} {format} reads those"))
}

/// For a row with these keys that lacks one which a template names.
pub fn of(keys: &[KnownKey]) -> String {
    if let Some(reader) = reader(keys) {
        return reader;
    }
    if let Some(talk) = keys.iter().find(|key| key.holds == Holds::Messages) {
        return format!(
            "a conversation must stand under `messages`, so rename `{}`",
            shortened(&talk.name, LONGEST)
        );
    }
    let has_text = keys.iter().any(|key| key.holds == Holds::Text);
    for (holds, more) in [(Holds::Rows, ""), (Holds::Object, PANDAS)] {
        let around = keys.iter().filter(|key| key.holds == holds);
        let around: Vec<KnownKey> = around.cloned().collect();
        if !around.is_empty() && (holds == Holds::Rows || !has_text) {
            return format!(
                "if its rows stand under {}, put each on a line of its own{more}",
                names(&around)
            );
        }
    }
    match has_text {
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
        "an object" => PANDAS,
        _ => "",
    }
}

const PANDAS: &str = " (pandas writes such rows by to_json(orient=\"records\", lines=True))";

/// For a line that is no JSON from `rest` on, behind `before`.
pub fn of_syntax(before: &[u8], rest: &[u8]) -> &'static str {
    let begins = |words: &[&str]| words.iter().any(|word| rest.starts_with(word.as_bytes()));
    if begins(&["NaN", "Infinity"]) {
        return "Python writes NaN and Infinity, JSON has neither; write null in their place";
    }
    if begins(&["'", "None", "True", "False"]) {
        return "it is Python's way to write; write each row by json.dumps";
    }
    let first = before
        .iter()
        .chain(rest)
        .find(|byte| !byte.is_ascii_whitespace());
    if !first.is_some_and(|first| b"{[\"".contains(first)) {
        return "plain text, YAML and the like hold no rows; write each as a JSON object on a line, such \
                as {\"input\": \"...\", \"output\": \"...\"} or {\"text\": \"...\"}";
    }
    if serde_json::from_slice::<IgnoredAny>(before).is_ok() {
        return "a whole row ends before that; put what follows on a line of its own, without a comma";
    }
    "each line must be one whole JSON object"
}

#[cfg(test)]
mod tests {
    use crate::data::Formats;
    use crate::data::format::DataFormat;
    use crate::data::jsonl::Row;
    use crate::data::template::Template;

    #[test]
    fn a_missing_key_comes_with_what_to_type_instead() {
        let missing = |line: &str, formats: &Formats| {
            let row = Row::parse(1, line.as_bytes()).unwrap();
            formats.render(&row).unwrap_err().to_string()
        };
        let g1 = Formats {
            prompt: Template::parse("User: {input}\n\nAssistant:").unwrap(),
            response: Template::parse("{output}!").unwrap(),
            ..Formats::default()
        };
        for (line, question, answer) in [
            (r#"{"answer": "a", "question": "q"}"#, "question", "answer"),
            (
                r#"{"Instruction": "a", "Input": "b", "Output": "c"}"#,
                "Instruction}{?\\n{Input}",
                "Output",
            ),
            (
                r#"{"instruction": "a", "context": "b", "response": "c"}"#,
                "instruction}{?\\n{context}",
                "response",
            ),
            (
                r#"{"prompt": "a", "rejected": "b", "chosen": "c"}"#,
                "prompt",
                "chosen",
            ),
        ] {
            let wanted = format!(
                "; name its own: prompt_formatter \"user: {{{question}}}\\n\\nassistant:\" \
                 response_formatter \" {{{answer}}}\""
            );
            let found = missing(line, &Formats::default());
            assert!(found.ends_with(&wanted), "{found}");
            // Otherwise as what was typed.
            let wanted = format!(
                "prompt_formatter \"User: {{{question}}}\\n\\nAssistant:\" response_formatter \
                 \"{{{answer}}}!\""
            );
            let found = missing(line, &g1);
            assert!(found.ends_with(&wanted), "{found}");
        }
        let orca = r#"{"system_prompt": "s", "question": "q", "response": "r"}"#;
        let found = missing(orca, &Formats::default());
        let wanted = "prompt_formatter \"{?system: {system_prompt}\\n\\n}user: {question}\\n\\nassistant:\" \
                      response_formatter \" {response}\"";
        assert!(found.ends_with(wanted), "{found}");
        for (line, wanted) in [
            (
                r#"{"dialog": [{"role": "user", "content": "a"}]}"#,
                "; a conversation must stand under `messages`, so rename `dialog`",
            ),
            (
                r#"{"chosen": [{"from": "gpt", "value": "a"}], "rejected": []}"#,
                "; a conversation must stand under `messages`, so rename `chosen`",
            ),
            (
                r#"{"type": "text_only", "instances": [{"text": "a"}]}"#,
                "; if its rows stand under `instances`, put each on a line of its own",
            ),
            (
                r#"{"0": {"input": "a", "output": "b"}, "1": {"input": "c", "output": "d"}}"#,
                "; if its rows stand under `0`, `1`, put each on a line of its own (pandas writes such rows by \
                 to_json(orient=\"records\", lines=True))",
            ),
            (
                r#"{"data": {"train": [{"input": "a", "output": "b"}]}}"#,
                "; if its rows stand under `data`, put each on a line of its own (pandas writes such rows by \
                 to_json(orient=\"records\", lines=True))",
            ),
            (
                r#"{"messages": [ {}], "id": "x"}"#,
                "; data_format messages reads those",
            ),
            (
                r#"{"conversations": [{}]}"#,
                "; data_format sharegpt reads those",
            ),
            (
                r#"{"question": "q", "answer": ["a"]}"#,
                "; name its own in prompt_formatter and response_formatter",
            ),
        ] {
            let by_templates = Formats {
                format: Some(DataFormat::Template),
                ..Formats::default()
            };
            let found = missing(line, &by_templates);
            assert!(found.ends_with(wanted), "{found}");
        }
    }

    #[test]
    fn a_line_that_is_no_json_comes_with_what_to_do() {
        let fault = |line: &str| Row::parse(1, line.as_bytes()).unwrap_err().to_string();
        for (line, words) in [
            ("- input: a", "plain text, YAML"),
            ("User: Hi.", "plain text, YAML"),
            ("| input | output |", "plain text, YAML"),
            (r#"{"input": "a"}{"input": "b"}"#, "on a line of its own"),
            (r#"{"input": "a"}, {"input": "b"}"#, "without a comma"),
            (r#"{"input": "a"},"#, "without a comma"),
            (r#"{"input": NaN}"#, "write null"),
            ("{'input': 1}", "json.dumps"),
            (r#"{"input": "a"#, "one whole JSON object"),
            (r#"{"input" "a"}"#, "one whole JSON object"),
        ] {
            assert!(fault(line).contains(words), "{line}: {}", fault(line));
        }
    }
}
