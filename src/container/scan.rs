//! A look at JSON whose text may end anywhere, for the array of rows in it.
//!
//! An array of rows is one whose first element is an object, unless that is a message of a
//! conversation: then the array belongs to a row.

/// The key of the first array of rows in an object; `None` if there is none, or if the object is a
/// row itself, which holds a conversation.
pub fn key_of_rows(object: &[u8]) -> Option<String> {
    let mut tokens = Tokens { rest: object };
    let (mut depth, mut last, mut found) = (0_usize, None, None);
    while let Some(token) = tokens.next() {
        match token {
            Token::Text(text) if depth == 1 => last = Some(text),
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

#[derive(PartialEq, Eq)]
enum Element {
    Row,
    /// An object that says who speaks.
    Message,
    Other,
}

/// What follows an opening bracket.
fn first_element(mut tokens: Tokens) -> Element {
    if tokens.next() != Some(Token::Sign(b'{')) {
        return Element::Other;
    }
    let (mut depth, mut last) = (1_usize, None);
    for token in tokens {
        match token {
            Token::Text(text) => last = Some(text),
            Token::Sign(b':') if depth == 1 && matches!(last, Some(b"role" | b"from")) => {
                return Element::Message;
            }
            Token::Sign(b'{' | b'[') => depth += 1,
            Token::Sign(b'}' | b']') if depth == 1 => break,
            Token::Sign(b'}' | b']') => depth -= 1,
            Token::Sign(_) => {}
        }
    }
    Element::Row
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
        ] {
            assert_eq!(key(text), None, "{text}");
        }
        assert!(is_array_of_rows(b" [ {\"a\": 1}]"));
        assert!(!is_array_of_rows(b"{\"a\": [{}]}"));
    }
}
