//! Templates: text with `{key}` where a row's value goes.
//!
//! The original program filled them with Python's `str.format_map`, so the same text must give the
//! same result here: `{key}` is the value, `{{` and `}}` are braces. Python's format language can
//! do more (`{}`, `{0}`, `{a.b}`, `{a[0]}`, `{a!r}`, `{a:>3}`), which no data set needs. That, and
//! a brace without its partner, is an error that says where and what to do, because such text is
//! nearly always JSON or code whose braces were meant as they stand.

use std::fmt;

use thiserror::Error;

use super::error::DataError;
use super::jsonl::Row;

/// Why a text is no template. Positions are characters, counted from 1.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum TemplateError {
    /// A `{` is never closed.
    #[error(
        "character {at}: this `{{` has no `}}`; write {{key}} to insert a value, or {{{{ for a \
         brace as it stands"
    )]
    Unclosed {
        /// Where it stands.
        at: usize,
    },
    /// A `}` closes nothing.
    #[error("character {at}: this `}}` has no `{{`; write }}}} for a brace as it stands")]
    Unopened {
        /// Where it stands.
        at: usize,
    },
    /// A key holds a `{`, as in JSON that was meant as it stands.
    #[error("character {at}: a `{{` inside {{...}}; write {{{{ and }}}} for braces as they stand")]
    BraceInKey {
        /// Where it stands.
        at: usize,
    },
    /// Python's `{}` takes the next of several values, and a row's have no order.
    #[error(
        "character {at}: {{}} names no key; write {{key}}, or {{{{}}}} for two braces as they stand"
    )]
    EmptyKey {
        /// Where its `{` stands.
        at: usize,
    },
    /// Python's `{0}` takes a value by its position.
    #[error(
        "character {at}: {{{key}}} is a position and not a key, and a row has keys only; rename \
         the key in the data"
    )]
    Position {
        /// Where its `{` stands.
        at: usize,
        /// The digits.
        key: String,
    },
    /// More of Python's format language than a key.
    #[error(
        "character {at}: `{sign}` inside {{...}} ({meaning} in Python) is not supported; insert a \
         whole value with {{key}}, \
         where the key holds none of . [ ! : or write {{{{ and }}}} for braces as they stand"
    )]
    BeyondKey {
        /// Where the sign stands.
        at: usize,
        /// The first sign that is not part of a key.
        sign: char,
        /// What it does in Python.
        meaning: &'static str,
    },
}

/// A parsed template; rendering it can only fail on a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    pieces: Vec<Piece>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Key(String),
}

impl Template {
    /// Reads a template. A two-character `\n` means nothing here: whoever takes text from the user
    /// has resolved it.
    pub fn parse(text: &str) -> Result<Template, TemplateError> {
        let mut pieces = Vec::new();
        let mut plain = String::new();
        let mut characters = (1..).zip(text.chars()).peekable();
        while let Some((at, character)) = characters.next() {
            match character {
                '{' | '}' if characters.next_if(|&(_, next)| next == character).is_some() => {
                    plain.push(character)
                }
                '{' => {
                    if !plain.is_empty() {
                        pieces.push(Piece::Text(std::mem::take(&mut plain)));
                    }
                    pieces.push(Piece::Key(parse_key(at, &mut characters)?));
                }
                '}' => return Err(TemplateError::Unopened { at }),
                _ => plain.push(character),
            }
        }
        if !plain.is_empty() {
            pieces.push(Piece::Text(plain));
        }
        Ok(Template { pieces })
    }

    /// The keys it uses, in their order.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Key(key) => Some(key.as_str()),
            Piece::Text(_) => None,
        })
    }

    /// The text with a row's values in it; values are inserted as they are, braces and all.
    pub fn render(&self, row: &Row) -> Result<String, DataError> {
        self.fill(|key| row.text(key))
    }

    /// The same with `value` under `key`, whatever the row has there.
    pub fn render_with(&self, row: &Row, key: &str, value: &str) -> Result<String, DataError> {
        let own = key;
        self.fill(|key| if key == own { Ok(value) } else { row.text(key) })
    }

    fn fill<'a>(
        &self,
        value: impl Fn(&str) -> Result<&'a str, DataError>,
    ) -> Result<String, DataError> {
        let mut text = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Text(plain) => text.push_str(plain),
                Piece::Key(key) => text.push_str(value(key)?),
            }
        }
        Ok(text)
    }
}

/// The text that [`Template::parse`] reads as this template.
impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for piece in &self.pieces {
            match piece {
                Piece::Text(plain) => {
                    f.write_str(&plain.replace('{', "{{").replace('}', "}}"))?;
                }
                Piece::Key(key) => write!(f, "{{{key}}}")?,
            }
        }
        Ok(())
    }
}

/// Reads a key and its closing brace; `open` is where the opening one stood.
fn parse_key(
    open: usize,
    characters: &mut impl Iterator<Item = (usize, char)>,
) -> Result<String, TemplateError> {
    let beyond = |at, sign, meaning| Err(TemplateError::BeyondKey { at, sign, meaning });
    let mut key = String::new();
    for (at, character) in characters {
        match character {
            '}' if key.is_empty() => return Err(TemplateError::EmptyKey { at: open }),
            // Python counts digits of other scripts too; they do no harm as keys, so they may pass.
            '}' if key.chars().all(|c| c.is_ascii_digit()) => {
                return Err(TemplateError::Position { at: open, key });
            }
            '}' => return Ok(key),
            '{' => return Err(TemplateError::BraceInKey { at }),
            '.' => return beyond(at, '.', "an attribute"),
            '[' => return beyond(at, '[', "an item of a list"),
            '!' => return beyond(at, '!', "a conversion"),
            ':' => return beyond(at, ':', "a format"),
            _ => key.push(character),
        }
    }
    Err(TemplateError::Unclosed { at: open })
}

#[cfg(test)]
mod tests {
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
            prop_assert_eq!(Template::parse(&template).unwrap().render(&row("{}")).unwrap(), text);
        }

        #[test]
        fn never_panics(text in "[{}a0.\\[!:é]{0,12}") {
            let _ = Template::parse(&text);
        }
    }
}
