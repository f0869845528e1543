//! JSON values as they stand in a line: what they are, in words, and what makes a line no JSON.

use super::error::DataError;

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

/// What a JSON value is, in words.
pub fn kind(json: &str) -> &'static str {
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
    let before = &text.as_bytes()[..error.column().min(text.len())];
    let place = format!(" at line {} column {}", error.line(), error.column());
    let reason = error.to_string();
    DataError::NotJson {
        line,
        column: String::from_utf8_lossy(before).chars().count().max(1),
        reason: reason.strip_suffix(&place).unwrap_or(&reason).to_owned(),
    }
}
