//! The vocabulary file: which bytes each token stands for.
//!
//! A line is `id 'literal' length`, for instance `34 '!' 1`. The literal is Python's: `'...'` or
//! `"..."` is text, of which the UTF-8 bytes count, and `b'...'` is bytes; both with backslash
//! escapes. Ids run 1, 2, 3, ... without a gap. The file is part of the program, so an error here
//! is for its maintainer and names the line.

use thiserror::Error;

/// Why a vocabulary file cannot be used.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum VocabularyError {
    /// A line does not have the three fields.
    #[error("line {line} is not `id 'literal' length`")]
    Shape {
        /// Its number, from 1.
        line: usize,
    },
    /// An id is left out, or stands twice.
    #[error("line {line} has id {found}; ids must run 1, 2, 3, ...")]
    Id {
        /// Its number, from 1.
        line: usize,
        /// The id that stands there.
        found: u32,
    },
    /// The literal does not close, or has an escape that the vocabulary never uses.
    #[error("line {line}: not a Python literal that this program knows: {literal}")]
    Literal {
        /// Its number, from 1.
        line: usize,
        /// The literal as it stands there.
        literal: String,
    },
    /// The literal was changed, or is read wrongly.
    #[error("line {line} promises {promised} bytes and its literal has {found}")]
    Length {
        /// Its number, from 1.
        line: usize,
        /// The length that the line gives, in bytes.
        promised: usize,
        /// The length of the bytes that the literal stands for.
        found: usize,
    },
    /// Text of any bytes is encoded, so each byte alone must be a token.
    #[error("no token stands for the single byte {byte:#04x}, so not every text could be encoded")]
    MissingByte {
        /// The first byte that is none.
        byte: u8,
    },
}

/// All tokens, laid end to end.
pub(super) struct Vocabulary {
    bytes: Vec<u8>,
    /// Token `id` is `bytes[ends[id - 1]..ends[id]]`; `ends[0]` is 0.
    ends: Vec<usize>,
}

impl Vocabulary {
    pub(super) fn parse(file: &str) -> Result<Self, VocabularyError> {
        let mut vocabulary = Vocabulary {
            bytes: Vec::with_capacity(file.len() / 2),
            ends: vec![0],
        };
        let mut is_single = [false; 256];
        for (line, text) in (1..).zip(file.lines()) {
            let (id, literal, promised) =
                split_line(text).ok_or(VocabularyError::Shape { line })?;
            if id as usize != line {
                return Err(VocabularyError::Id { line, found: id });
            }
            let start = vocabulary.bytes.len();
            push_literal(literal, &mut vocabulary.bytes).ok_or_else(|| {
                VocabularyError::Literal {
                    line,
                    literal: literal.to_owned(),
                }
            })?;
            let token = &vocabulary.bytes[start..];
            if token.len() != promised || token.is_empty() {
                return Err(VocabularyError::Length {
                    line,
                    promised,
                    found: token.len(),
                });
            }
            if let &[byte] = token {
                is_single[usize::from(byte)] = true;
            }
            vocabulary.ends.push(vocabulary.bytes.len());
        }
        match (0..=255).find(|&byte| !is_single[usize::from(byte)]) {
            Some(byte) => Err(VocabularyError::MissingByte { byte }),
            None => Ok(vocabulary),
        }
    }

    pub(super) fn token(&self, id: u32) -> Option<&[u8]> {
        let id = id as usize;
        let start = *self.ends.get(id.checked_sub(1)?)?;
        let end = *self.ends.get(id)?;
        Some(&self.bytes[start..end])
    }

    /// Every token with its id, by rising id.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &[u8])> {
        (1..).zip(
            self.ends
                .windows(2)
                .map(|ends| &self.bytes[ends[0]..ends[1]]),
        )
    }
}

/// The three fields. The literal may hold spaces, so it is what lies between the first and the
/// last.
fn split_line(line: &str) -> Option<(u32, &str, usize)> {
    let (id, rest) = line.split_once(' ')?;
    let (literal, length) = rest.rsplit_once(' ')?;
    Some((id.parse().ok()?, literal, length.parse().ok()?))
}

/// Appends the bytes that a Python literal stands for; `None` if it is malformed or uses an escape
/// that the file never does.
fn push_literal(literal: &str, out: &mut Vec<u8>) -> Option<()> {
    let (is_bytes, quoted) = match literal.strip_prefix('b') {
        Some(quoted) => (true, quoted),
        None => (false, literal),
    };
    let quote = quoted.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
    let mut rest = quoted.strip_prefix(quote)?.strip_suffix(quote)?;

    while let Some((plain, escaped)) = rest.split_once('\\') {
        out.extend_from_slice(plain.as_bytes());
        let kind = escaped.chars().next()?;
        rest = &escaped[kind.len_utf8()..];
        let byte = match kind {
            'n' => b'\n',
            't' => b'\t',
            'r' => b'\r',
            '\\' | '\'' | '"' => kind as u8,
            'x' if is_bytes => u8::try_from(take_hex(&mut rest, 2)?).ok()?,
            // In text these name a character, so `\x80` is the two bytes of U+0080.
            'x' | 'u' if !is_bytes => {
                let digits = if kind == 'x' { 2 } else { 4 };
                let character = char::from_u32(take_hex(&mut rest, digits)?)?;
                out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                continue;
            }
            _ => return None,
        };
        out.push(byte);
    }
    out.extend_from_slice(rest.as_bytes());
    Some(())
}

fn take_hex(rest: &mut &str, digits: usize) -> Option<u32> {
    let (hex, tail) = rest.split_at_checked(digits)?;
    *rest = tail;
    u32::from_str_radix(hex, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn literal(text: &str) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        push_literal(text, &mut bytes).map(|()| bytes)
    }

    #[test]
    fn literals_are_read_as_python_reads_them() {
        let cases: [(&str, &[u8]); 9] = [
            ("' a b '", b" a b "),
            (r#""it's""#, b"it's"),
            (r"'\''", b"'"),
            (r"'\\n'", br"\n"),
            (r"'\t\r\n'", b"\t\r\n"),
            (r"b'\xff\xfe'", b"\xff\xfe"),
            (r"'\x80'", "\u{80}".as_bytes()),
            (r"'\u3000'", "\u{3000}".as_bytes()),
            ("'é'", "é".as_bytes()),
        ];
        for (text, bytes) in cases {
            assert_eq!(literal(text).as_deref(), Some(bytes), "{text}");
        }
        for broken in [
            "",
            "b",
            "a",
            "'",
            "'a",
            "'a\"",
            r"'\q'",
            r"'\x4'",
            r"'\ud800'",
            r"b'\u3000'",
            r"'\'",
        ] {
            assert_eq!(literal(broken), None, "{broken}");
        }
    }

    #[test]
    fn a_broken_file_names_its_line() {
        let error = |file: &str| Vocabulary::parse(file).err();
        assert_eq!(
            error("1 'a' 1\nnonsense"),
            Some(VocabularyError::Shape { line: 2 })
        );
        assert_eq!(
            error("1 'a' 1\n3 'b' 1"),
            Some(VocabularyError::Id { line: 2, found: 3 })
        );
        assert_eq!(
            error("1 a 1"),
            Some(VocabularyError::Literal {
                line: 1,
                literal: "a".into()
            })
        );
        assert_eq!(
            error("1 'ab' 3"),
            Some(VocabularyError::Length {
                line: 1,
                promised: 3,
                found: 2
            })
        );
        assert_eq!(
            error("1 '' 0"),
            Some(VocabularyError::Length {
                line: 1,
                promised: 0,
                found: 0
            })
        );
        assert_eq!(
            error("1 'a' 1"),
            Some(VocabularyError::MissingByte { byte: 0 })
        );
    }
}
