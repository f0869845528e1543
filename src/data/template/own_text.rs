//! A template's own text: what it holds, and how values meet it.

use super::{Piece, Template};
use crate::tokenizer::Text;

impl Template {
    /// What stands between its keys.
    pub fn own_texts(&self) -> impl Iterator<Item = &Text> {
        self.all_pieces().filter_map(|piece| match piece {
            Piece::Text(text) => Some(text),
            Piece::Key(_) | Piece::Optional(_) => None,
        })
    }

    /// Whether white space of its own and of a value come to stand side by side.
    pub fn doubles_blank<'a>(&self, value: impl Fn(&str) -> Option<&'a str>) -> bool {
        // Whose text came last, and whether it ends in white space.
        let mut before = (true, false);
        self.all_pieces().any(|piece| {
            let (is_own, start, end) = match piece {
                Piece::Text(text) => (true, text.parts().next(), text.parts().last()),
                Piece::Key(key) => (false, value(key), value(key)),
                Piece::Optional(_) => return false,
            };
            let (Some(start), Some(end)) = (start, end) else {
                return false;
            };
            let doubles = before == (!is_own, true) && start.starts_with(char::is_whitespace);
            if !end.is_empty() {
                before = (is_own, end.ends_with(char::is_whitespace));
            }
            doubles
        })
    }

    fn all_pieces(&self) -> impl Iterator<Item = &Piece> {
        self.pieces.iter().flat_map(|piece| match piece {
            Piece::Optional(inner) => inner.as_slice(),
            piece => std::slice::from_ref(piece),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blanks_that_meet_are_seen() {
        let doubles = |template: &str, value: &'static str| {
            let template = Template::parse(template).unwrap();
            template.doubles_blank(|_| Some(value))
        };
        for (template, value) in [
            (" {output}", " a"),
            ("{a} b", "a "),
            ("a{?: {a}}", " a"),
            ("{a} {b}", " a"),
            (" {a}", "\na"),
            ("{a}\n\nb", "a\n"),
        ] {
            assert!(doubles(template, value), "{template} of {value:?}");
        }
        for (template, value) in [
            (" {output}", "a"),
            ("{output}", " a"),
            ("  a {output}", "a "),
            ("a:{a}:b", " a "),
            (" {a} ", ""),
        ] {
            assert!(!doubles(template, value), "{template} of {value:?}");
        }
    }
}
