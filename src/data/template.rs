//! Templates: text with `{key}` where a row's value goes.
//!
//! The original program filled them with Python's `str.format_map`, so the same text must give the
//! same result here: `{key}` is the value, `{{` and `}}` are braces. Python's format language can
//! do more (`{}`, `{0}`, `{a.b}`, `{a[0]}`, `{a!r}`, `{a:>3}`), which no data set needs. That, and
//! a brace without its partner, is an error that says where and what to do, because such text is
//! nearly always JSON or code whose braces were meant as they stand.
//!
//! One thing Python has not: `{?text {key} text}` is left out where the row has nothing under the
//! key, as Alpaca's rows often have no input.

mod own_text;

use std::fmt;
use std::iter::Peekable;

use thiserror::Error;

use super::error::DataError;
use super::jsonl::Row;
use super::line_ends::LineEnds;
use crate::tokenizer::Text;

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
    /// A part that may be left out names no key that would decide it.
    #[error(
        "character {at}: {{?...}} is a part that is left out where its key has no text, and it names \
         no key; write {{?text {{key}} text}}"
    )]
    NoKeyInside {
        /// Where its `{` stands.
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
    Text(Text),
    Key(String),
    /// Left out unless there is text under each of its keys. Holds no other such part.
    Optional(Vec<Piece>),
}

impl Template {
    /// Reads a template, in which the end-of-text token may stand (see [`Text::typed`]). A
    /// two-character `\n` means nothing here: whoever takes text from the user has resolved it.
    pub fn parse(text: &str) -> Result<Template, TemplateError> {
        let mut characters = (1..).zip(text.chars()).peekable();
        let pieces = parse_pieces(&mut characters, None)?;
        Ok(Template { pieces })
    }

    /// The keys it uses, in their order.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.pieces.iter().flat_map(|piece| match piece {
            Piece::Optional(inner) => keys(inner),
            piece => keys(std::slice::from_ref(piece)),
        })
    }

    /// The keys of parts that may be left out.
    pub fn optional_keys(&self) -> impl Iterator<Item = &str> {
        self.pieces.iter().flat_map(|piece| match piece {
            Piece::Optional(inner) => keys(inner),
            _ => keys(&[]),
        })
    }

    /// The keys without which a row does not fit.
    pub fn required_keys(&self) -> impl Iterator<Item = &str> {
        keys(&self.pieces)
    }

    /// The text of a template that has `placeholder` where this one has its only key; `None` if it
    /// has another number of keys.
    pub fn with_only_key(&self, placeholder: &str) -> Option<String> {
        let key = self.only_key()?;
        Some(self.to_string().replace(&format!("{{{key}}}"), placeholder))
    }

    /// Its key, if it has one and no other.
    pub fn only_key(&self) -> Option<&str> {
        let mut keys = self.keys();
        let key = keys.next()?;
        keys.all(|other| other == key).then_some(key)
    }

    /// Whether a row has text under none of its keys.
    pub fn is_blank(&self, row: &Row) -> bool {
        let is_blank = |key: &str| row.text_of(key).is_none_or(|text| text.trim().is_empty());
        self.keys().all(is_blank)
    }

    /// Gives its own text the line ends that it is to have.
    pub fn with_line_ends(mut self, line_ends: LineEnds) -> Self {
        change_line_ends(&mut self.pieces, line_ends);
        self
    }

    /// The text with a row's values in it; values are inserted as they are, braces and all.
    pub fn render(&self, row: &Row) -> Result<Text, DataError> {
        self.fill(|key| row.text(key))
    }

    /// The same with `value` under `key`, whatever the row has there.
    pub fn render_with(&self, row: &Row, key: &str, value: &str) -> Result<Text, DataError> {
        let own = key;
        self.fill(|key| if key == own { Ok(value) } else { row.text(key) })
    }

    fn fill<'a>(
        &self,
        value: impl Fn(&str) -> Result<&'a str, DataError>,
    ) -> Result<Text, DataError> {
        let mut length = 0;
        // Once, instead of at each piece.
        for piece in &self.pieces {
            length += match piece {
                Piece::Text(plain) => plain.len(),
                Piece::Key(key) => value(key)?.len(),
                Piece::Optional(_) => 0,
            };
        }
        let mut text = Text::with_capacity(length);
        for piece in &self.pieces {
            match piece {
                Piece::Optional(inner) => {
                    let mut is_there = true;
                    for key in keys(inner) {
                        is_there &= match value(key) {
                            Ok(value) => !value.trim().is_empty(),
                            Err(error) if error.is_absence() => false,
                            Err(error) => return Err(error),
                        };
                    }
                    if is_there {
                        fill_plain(inner, &value, &mut text)?;
                    }
                }
                piece => fill_plain(std::slice::from_ref(piece), &value, &mut text)?,
            }
        }
        Ok(text)
    }
}

/// The keys that stand in some pieces themselves, not in an optional part.
fn keys(pieces: &[Piece]) -> impl Iterator<Item = &str> {
    pieces.iter().filter_map(|piece| match piece {
        Piece::Key(key) => Some(key.as_str()),
        Piece::Text(_) | Piece::Optional(_) => None,
    })
}

/// Writes pieces of which none is optional.
fn fill_plain<'a>(
    pieces: &[Piece],
    value: impl Fn(&str) -> Result<&'a str, DataError>,
    text: &mut Text,
) -> Result<(), DataError> {
    for piece in pieces {
        match piece {
            Piece::Text(plain) => text.push(plain),
            Piece::Key(key) => text.push_str(value(key)?),
            Piece::Optional(_) => {}
        }
    }
    Ok(())
}

/// The text that [`Template::parse`] reads as this template.
impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.pieces.iter().try_for_each(|piece| piece.fmt(f))
    }
}

impl fmt::Display for Piece {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(plain) => {
                f.write_str(&plain.to_string().replace('{', "{{").replace('}', "}}"))
            }
            Self::Key(key) => write!(f, "{{{key}}}"),
            Self::Optional(inner) => {
                f.write_str("{?")?;
                inner.iter().try_for_each(|piece| piece.fmt(f))?;
                f.write_str("}")
            }
        }
    }
}

/// Reads pieces up to the text's end, or up to the brace that closes the optional part which began
/// at `open`.
fn parse_pieces(
    characters: &mut Peekable<impl Iterator<Item = (usize, char)>>,
    open: Option<usize>,
) -> Result<Vec<Piece>, TemplateError> {
    let mut pieces = Vec::new();
    let mut plain = String::new();
    let mut is_closed = false;
    while let Some((at, character)) = characters.next() {
        match character {
            '{' | '}' if characters.next_if(|&(_, next)| next == character).is_some() => {
                plain.push(character)
            }
            '{' => {
                if !plain.is_empty() {
                    pieces.push(Piece::Text(Text::typed(&std::mem::take(&mut plain))));
                }
                let is_optional =
                    open.is_none() && characters.next_if(|&(_, next)| next == '?').is_some();
                pieces.push(match is_optional {
                    true => Piece::Optional(parse_pieces(characters, Some(at))?),
                    false => Piece::Key(parse_key(at, characters)?),
                });
            }
            '}' if open.is_none() => return Err(TemplateError::Unopened { at }),
            '}' => {
                is_closed = true;
                break;
            }
            _ => plain.push(character),
        }
    }
    if !plain.is_empty() {
        pieces.push(Piece::Text(Text::typed(&plain)));
    }
    match open {
        Some(at) if !is_closed => Err(TemplateError::Unclosed { at }),
        Some(at) if keys(&pieces).next().is_none() => Err(TemplateError::NoKeyInside { at }),
        _ => Ok(pieces),
    }
}

fn change_line_ends(pieces: &mut [Piece], line_ends: LineEnds) {
    for piece in pieces {
        match piece {
            Piece::Text(text) => line_ends.apply_to(text),
            Piece::Optional(inner) => change_line_ends(inner, line_ends),
            Piece::Key(_) => {}
        }
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
mod tests;
