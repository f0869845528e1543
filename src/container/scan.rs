//! A look at JSON whose text may end anywhere, for the array of rows in it.
//!
//! An array of rows is one whose first element is an object, unless the array belongs to a row: it
//! holds the messages of a conversation, or a prompt or an answer stands beside it.

/// The key of the first array of rows in an object; `None` if there is none, or if the object is a
/// row itself.
pub fn key_of_rows(object: &[u8]) -> Option<String> {
    let mut tokens = Tokens { rest: object };
    let (mut depth, mut last, mut found) = (0_usize, None, None);
    while let Some(token) = tokens.next() {
        match token {
            Token::Text(text) if depth == 1 => last = Some(text),
            Token::Sign(b':') if depth == 1 => {
                let is_text = tokens.rest.trim_ascii_start().starts_with(b"\"");
                if is_text && last.is_some_and(|key| OF_ROWS.contains(&key)) {
                    return None;
                }
            }
            Token::Sign(b'[') if depth == 1 => {
                match first_element(tokens.clone()) {
                    Element::Message => return None,
                    Element::Row => found = found.or(last),
                    Element::Other => {}
                }
                depth += 1;
            }
            Token::Sign(b'{' | b'[') => depth += 1,
            Token::Sign(b'}' | b']') => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    let quoted = [b"\"", found?, b"\""].concat();
    serde_json::from_slice(&quoted).ok()
}

/// Whether a JSON value is an array of rows.
pub fn is_array_of_rows(value: &[u8]) -> bool {
    let mut tokens = Tokens { rest: value };
    tokens.next() == Some(Token::Sign(b'[')) && first_element(tokens) == Element::Row
}

/// Whether a JSON value is an array of messages, and so a row of its own. Rows may well have a key
/// that says who they are of, so both keys of a message must be there.
pub fn is_conversation(value: &[u8]) -> bool {
    let mut tokens = Tokens { rest: value };
    let is_array = tokens.next() == Some(Token::Sign(b'['));
    is_array
        && keys_of_first(tokens)
            .is_some_and(|keys| has_one(&keys, SPEAKERS) && has_one(&keys, CONTENTS))
}

#[derive(PartialEq, Eq)]
enum Element {
    Row,
    /// An object that says who speaks.
    Message,
    Other,
}

/// What follows an opening bracket.
fn first_element(tokens: Tokens) -> Element {
    match keys_of_first(tokens) {
        None => Element::Other,
        Some(keys) if has_one(&keys, SPEAKERS) => Element::Message,
        Some(_) => Element::Row,
    }
}

/// Keys under which rows have texts, and what surrounds rows has none.
const OF_ROWS: [&[u8]; 12] = [
    b"input",
    b"output",
    b"instruction",
    b"prompt",
    b"completion",
    b"question",
    b"answer",
    b"query",
    b"response",
    b"text",
    b"messages",
    b"conversations",
];

/// Keys of a message, of which one says who speaks and one what.
const SPEAKERS: [&[u8]; 2] = [b"role", b"from"];
const CONTENTS: [&[u8]; 2] = [b"content", b"value"];

fn has_one(keys: &[&[u8]], wanted: [&[u8]; 2]) -> bool {
    keys.iter().any(|key| wanted.contains(key))
}

/// The keys of the object that follows an opening bracket, if one does.
fn keys_of_first<'a>(mut tokens: Tokens<'a>) -> Option<Vec<&'a [u8]>> {
    if tokens.next() != Some(Token::Sign(b'{')) {
        return None;
    }
    let (mut depth, mut last, mut keys) = (1_usize, None, Vec::new());
    for token in tokens {
        match token {
            Token::Text(text) => last = Some(text),
            Token::Sign(b':') if depth == 1 => keys.extend(last),
            Token::Sign(b'{' | b'[') => depth += 1,
            Token::Sign(b'}' | b']') if depth == 1 => break,
            Token::Sign(b'}' | b']') => depth -= 1,
            Token::Sign(_) => {}
        }
    }
    Some(keys)
}

#[derive(Debug, PartialEq, Eq)]
enum Token<'a> {
    /// A brace, a bracket or a colon.
    Sign(u8),
    /// What stands between quotation marks, escapes and all.
    Text(&'a [u8]),
}

/// The signs and texts of JSON; all else is passed over.
#[derive(Clone)]
struct Tokens<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Tokens<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        let is_token = |byte: &u8| b"{}[]:\"".contains(byte);
        let at = self.rest.iter().position(is_token)?;
        let sign = self.rest[at];
        self.rest = &self.rest[at + 1..];
        if sign != b'"' {
            return Some(Token::Sign(sign));
        }
        let mut is_escaped = false;
        let end = self.rest.iter().position(|&byte| {
            let is_end = byte == b'"' && !is_escaped;
            is_escaped = byte == b'\\' && !is_escaped;
            is_end
        })?;
        let text = &self.rest[..end];
        self.rest = &self.rest[end + 1..];
        Some(Token::Text(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_array_of_rows_is_found_in_a_text_that_ends_anywhere() {
        let key = |text: &str| key_of_rows(text.as_bytes());
        let data = Some("data".to_string());
        for text in [
            r#"{"version": "v2", "n": [1, 2], "data": [{"title": "x"}]}"#,
            r#"{"data":[{"#,
            r#"{"data": [ {"a": {"role": 1}, "b": ["from"]"#,
            r#"{"a\"b": "[{", "da\u0074a": [{}, {}], "more": [{}]}"#,
        ] {
            assert_eq!(key(text), data, "{text}");
        }
        for text in [
            "",
            "{",
            r#"{"data": ["#,
            r#"{"data": {"rows": [{}]}}"#,
            r#"{"input": "a", "output": "b"}"#,
            r#"{"messages": [{"role": "user", "content": ""}]}"#,
            r#"{"tools": [{"type": "function"}], "conversations": [{"from": "human"}]}"#,
            r#"{"sources": [{"a": 1}], "n": 1, "output": "b"}"#,
            r#"{"tools": [{"type": "function"}], "messages": "[{\"role\": \"user\"}]"}"#,
        ] {
            assert_eq!(key(text), None, "{text}");
        }
        // Around rows, it has no text of its own under such a key.
        let conversations = key(r#"{"conversations": [{"id": 1}], "n": 2}"#);
        assert_eq!(conversations.as_deref(), Some("conversations"));
        assert!(is_array_of_rows(b" [ {\"a\": 1}]"));
        assert!(!is_array_of_rows(b"{\"a\": [{}]}"));
        assert!(is_conversation(b"[{\"content\": \"\", \"role\": \"x\"}"));
        for rows in [
            r#"[{"role": 1}]"#,
            r#"[[{"role": 1, "content": 2}]]"#,
            r#"{"a": [{"role"#,
        ] {
            assert!(!is_conversation(rows.as_bytes()), "{rows}");
        }
    }
}
