//! The text that ends an answer. It may come in several tokens and begin or end inside one, so
//! bytes that may be its beginning are held back until it is known whether they are.

use crate::tokenizer::Text;

/// Stands for the end-of-text token among bytes.
const END_OF_TEXT: u16 = 256;

/// Finds a text in bytes that come in pieces.
pub struct StopText {
    /// The text to find, as bytes, which the end-of-text token may follow; empty where there is none.
    text: Vec<u16>,
    /// Bytes that may be the beginning of `text`. Between calls they are fewer than its own.
    held: Vec<u16>,
}

impl StopText {
    /// `None` and the empty text are never found, nor is the end-of-text token alone: it ends an
    /// answer by itself.
    pub fn new(text: Option<&Text>) -> Self {
        let mut units = Vec::new();
        if let Some(text) = text {
            let mut parts = text.parts();
            units.extend(parts.next().unwrap_or_default().bytes().map(u16::from));
            // Nothing comes behind the token, which ends an answer.
            let is_followed = !units.is_empty() && parts.next().is_some();
            units.extend(is_followed.then_some(END_OF_TEXT));
        }
        Self {
            text: units,
            held: Vec::new(),
        }
    }

    /// Takes the next bytes. Returns those that are part of the answer for certain, and whether the
    /// text has come. The text, and what follows it in the same bytes, is dropped.
    pub fn push(&mut self, bytes: &[u8]) -> (Vec<u8>, bool) {
        if self.text.is_empty() {
            return (bytes.to_vec(), false);
        }
        self.push_units(bytes.iter().copied().map(u16::from))
    }

    /// The same for the end-of-text token.
    pub fn push_end_of_text(&mut self) -> (Vec<u8>, bool) {
        match self.text.last() {
            Some(&END_OF_TEXT) => self.push_units([END_OF_TEXT]),
            _ => (Vec::new(), false),
        }
    }

    fn push_units(&mut self, units: impl IntoIterator<Item = u16>) -> (Vec<u8>, bool) {
        self.held.extend(units);
        let mut places = self.held.windows(self.text.len());
        if let Some(at) = places.position(|place| place == self.text) {
            let before = bytes(&self.held[..at]);
            self.held.clear();
            return (before, true);
        }
        let begun = |n: &usize| self.held.ends_with(&self.text[..*n]);
        let keep = (1..self.text.len()).rev().find(begun).unwrap_or(0);
        let certain: Vec<u16> = self.held.drain(..self.held.len() - keep).collect();
        (bytes(&certain), false)
    }

    /// The bytes that were held back. To be called when no more come: they are part of the answer.
    pub fn rest(self) -> Vec<u8> {
        bytes(&self.held)
    }
}

/// The bytes among units: the token is no part of an answer.
fn bytes(units: &[u16]) -> Vec<u8> {
    let bytes = units.iter().map(|&unit| u8::try_from(unit));
    bytes.filter_map(Result::ok).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::tokenizer::END_OF_TEXT as END;

    #[test]
    fn a_text_may_end_in_the_end_of_text_token() {
        let end = Text::typed(&format!("\n\n{END}never"));
        let mut stop = StopText::new(Some(&end));
        assert_eq!(stop.push(b"a\n\n"), (b"a".to_vec(), false));
        assert_eq!(stop.push(b"b\n"), (b"\n\nb".to_vec(), false));
        assert_eq!(stop.push(b"\n"), (b"".to_vec(), false));
        assert_eq!(stop.push_end_of_text(), (b"".to_vec(), true));
        // Without the text before it the token is not this end.
        let mut stop = StopText::new(Some(&end));
        assert_eq!(stop.push(b"a\n"), (b"a".to_vec(), false));
        assert_eq!(stop.push_end_of_text(), (b"\n".to_vec(), false));
        assert_eq!(stop.rest(), b"");
    }

    #[test]
    fn holds_back_what_may_be_the_beginning() {
        let mut stop = StopText::new(Some(&"<end>".into()));
        assert_eq!(stop.push(b"a <b> <e"), (b"a <b> ".to_vec(), false));
        assert_eq!(stop.push(b"n"), (b"".to_vec(), false));
        assert_eq!(stop.push(b"<en"), (b"<en".to_vec(), false));
        assert_eq!(stop.push(b"d> more"), (b"".to_vec(), true));
        assert_eq!(stop.rest(), b"");
    }

    #[test]
    fn what_was_only_the_beginning_is_given_back() {
        let mut stop = StopText::new(Some(&"<end>".into()));
        assert_eq!(stop.push(b"x<en"), (b"x".to_vec(), false));
        assert_eq!(stop.rest(), b"<en");
    }

    #[test]
    fn without_a_text_nothing_is_held_back() {
        for text in [None, Some(Text::default()), Some(Text::typed(END))] {
            let mut stop = StopText::new(text.as_ref());
            assert_eq!(stop.push(b"ab"), (b"ab".to_vec(), false));
            assert_eq!(stop.push_end_of_text(), (b"".to_vec(), false));
            assert_eq!(stop.rest(), b"");
        }
    }

    proptest! {
        // Two letters, so that the text's beginning comes often, and over itself.
        #[test]
        fn any_cut_gives_what_stands_before_the_text(
            text in "[ab]{1,5}",
            pieces in prop::collection::vec("[ab]{0,4}", 0..12),
        ) {
            let mut stop = StopText::new(Some(&text.as_str().into()));
            let (mut answer, mut stopped) = (Vec::new(), false);
            for piece in &pieces {
                let (bytes, now) = stop.push(piece.as_bytes());
                answer.extend(bytes);
                stopped = now;
                if stopped {
                    break;
                }
            }
            answer.extend(stop.rest());
            let all = pieces.concat();
            let wanted = all.split_once(&text).map_or(all.as_str(), |(before, _)| before);
            prop_assert_eq!(String::from_utf8(answer).unwrap(), wanted);
            prop_assert_eq!(stopped, all.contains(&text));
        }
    }
}
