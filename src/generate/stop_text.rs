//! The text that ends an answer. It may come in several tokens and begin or end inside one, so
//! bytes that may be its beginning are held back until it is known whether they are.

/// Finds a text in bytes that come in pieces.
pub struct StopText {
    /// The text to find; empty where there is none.
    text: Vec<u8>,
    /// Bytes that may be the beginning of `text`. Between calls they are fewer than its own.
    held: Vec<u8>,
}

impl StopText {
    /// `None` and the empty text are never found.
    pub fn new(text: Option<&str>) -> Self {
        Self {
            text: text.unwrap_or_default().into(),
            held: Vec::new(),
        }
    }

    /// Takes the next bytes. Returns those that are part of the answer for certain, and whether the
    /// text has come. The text, and what follows it in the same bytes, is dropped.
    pub fn push(&mut self, bytes: &[u8]) -> (Vec<u8>, bool) {
        if self.text.is_empty() {
            return (bytes.to_vec(), false);
        }
        self.held.extend_from_slice(bytes);
        let mut places = self.held.windows(self.text.len());
        if let Some(at) = places.position(|place| place == self.text) {
            let before = self.held[..at].to_vec();
            self.held.clear();
            return (before, true);
        }
        let begun = |n: &usize| self.held.ends_with(&self.text[..*n]);
        let keep = (1..self.text.len()).rev().find(begun).unwrap_or(0);
        let certain = self.held.drain(..self.held.len() - keep).collect();
        (certain, false)
    }

    /// The bytes that were held back. To be called when no more come: they are part of the answer.
    pub fn rest(self) -> Vec<u8> {
        self.held
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn holds_back_what_may_be_the_beginning() {
        let mut stop = StopText::new(Some("<end>"));
        assert_eq!(stop.push(b"a <b> <e"), (b"a <b> ".to_vec(), false));
        assert_eq!(stop.push(b"n"), (b"".to_vec(), false));
        assert_eq!(stop.push(b"<en"), (b"<en".to_vec(), false));
        assert_eq!(stop.push(b"d> more"), (b"".to_vec(), true));
        assert_eq!(stop.rest(), b"");
    }

    #[test]
    fn what_was_only_the_beginning_is_given_back() {
        let mut stop = StopText::new(Some("<end>"));
        assert_eq!(stop.push(b"x<en"), (b"x".to_vec(), false));
        assert_eq!(stop.rest(), b"<en");
    }

    #[test]
    fn without_a_text_nothing_is_held_back() {
        for text in [None, Some("")] {
            let mut stop = StopText::new(text);
            assert_eq!(stop.push(b"ab"), (b"ab".to_vec(), false));
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
            let mut stop = StopText::new(Some(&text));
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
