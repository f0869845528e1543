//! JSON values as they stand in a line: what they are, in words and as Python writes them, and what
//! makes a line no JSON.

use serde_json::value::RawValue;

use super::advice;
use super::error::DataError;
use super::members::Members;

/// The text of a JSON string, or what else it is, in words.
pub fn string(json: &str) -> Result<String, &'static str> {
    match json.as_bytes() {
        // Without an escape, which is what most are, it stands as it is.
        [b'"', .., b'"'] if !json.contains('\\') => Ok(json[1..json.len() - 1].to_owned()),
        // The one fault that is left when the line as a whole was well formed.
        [b'"', ..] => serde_json::from_str(json)
            .map_err(|_| "a string with half of a surrogate pair (\\ud800 to \\udfff)"),
        _ => Err(kind(json)),
    }
}

/// Whether a JSON value says anything: null, a blank string, and what is empty do not.
pub fn says_something(json: &str) -> bool {
    let inside = match json.as_bytes() {
        [b'n', ..] => "",
        [b'"' | b'[' | b'{', .., _] => &json[1..json.len() - 1],
        _ => json,
    };
    !inside.trim().is_empty()
}

/// Whether a JSON value begins as an array of objects does.
pub fn is_array_of_objects(json: &str) -> bool {
    let inside = json.trim_start().strip_prefix('[');
    inside.is_some_and(|inside| inside.trim_start().starts_with('{'))
}

/// Whether a JSON value is an array whose first element is a message: it has who speaks, and what.
pub fn is_conversation(json: &str) -> bool {
    if !is_array_of_objects(json) {
        return false;
    }
    let Ok(elements) = serde_json::from_str::<Vec<&RawValue>>(json) else {
        return false;
    };
    let Some(Ok(Members(members))) = elements
        .first()
        .map(|first| serde_json::from_str(first.get()))
    else {
        return false;
    };
    let has = |wanted: [&str; 2]| {
        members
            .iter()
            .any(|(key, _)| wanted.contains(&key.as_ref()))
    };
    has(["role", "from"]) && has(["content", "value"])
}

/// What a JSON value is, in words.
pub fn kind(json: &str) -> &'static str {
    // As Parquet's that are no text are handed on.
    if json.starts_with("{\"bytes\":\"") {
        return "bytes that are no UTF-8";
    }
    match json.trim_start().as_bytes().first() {
        Some(b'n') => "null",
        Some(b't' | b'f') => "a boolean",
        Some(b'"') => "a string",
        Some(b'[') => "an array",
        Some(b'{') => "an object",
        _ => "a number",
    }
}

/// The error of a line that is no JSON, with the column in characters.
pub fn not_json(line: usize, text: &str, error: &serde_json::Error) -> DataError {
    // The parser counts bytes and names line 1, since it saw one line only.
    let bytes = text.as_bytes();
    let before = &bytes[..error.column().min(text.len())];
    let (ahead, rest) = bytes.split_at(error.column().saturating_sub(1).min(text.len()));
    let place = format!(" at line {} column {}", error.line(), error.column());
    let reason = error.to_string();
    DataError::NotJson {
        line,
        column: String::from_utf8_lossy(before).chars().count().max(1),
        reason: reason.strip_suffix(&place).unwrap_or(&reason).to_owned(),
        advice: advice::of_syntax(ahead, rest),
    }
}

/// What `"{}".format(json.loads(json))` gives in Python; `None` if `json` is no number.
///
/// Without a point or an exponent it is a whole number of any size. All else is a 64-bit float in
/// the fewest digits that read back the same, with an exponent if that is below -4 or from 16 on.
pub fn python_number(json: &str) -> Option<String> {
    if !json.contains(['.', 'e', 'E']) {
        return Some(if json == "-0" { "0" } else { json }.to_owned());
    }
    let number: f64 = json.parse().ok()?;
    if number.is_infinite() {
        return Some(number.to_string());
    }
    let scientific = shortest(number);
    let (digits, exponent) = scientific.split_once('e')?;
    let exponent: i32 = exponent.parse().ok()?;
    let places = digits
        .split_once('.')
        .map_or(0, |(_, fraction)| fraction.len() as i32);
    Some(match exponent {
        // As many places as the digits need, and at least one.
        -4..16 => format!("{number:.*}", (places - exponent).max(1) as usize),
        // Python gives an exponent its sign and at least two digits.
        _ => format!("{digits}e{exponent:+03}"),
    })
}

/// The fewest digits that read back the same, as `d.ddde-5`. Where two such numbers are equally
/// near, Python takes the even one and Rust the larger: rounding to as many digits settles it.
fn shortest(number: f64) -> String {
    let shortest = format!("{number:e}");
    let digits = shortest
        .split_once('e')
        .map_or(shortest.as_str(), |(digits, _)| digits);
    let places = digits
        .split_once('.')
        .map_or(0, |(_, fraction)| fraction.len());
    let rounded = format!("{number:.places$e}");
    // At a power of two the nearest number of that length may belong to the float below.
    if rounded.parse() == Ok(number) {
        rounded
    } else {
        shortest
    }
}
