//! The text that ends an answer. It may come in several tokens and begin or end inside one, so what may be its
//! beginning is held back until that is known.

/// Looks for a text in bytes that come in pieces.
pub struct Stop {
    /// Empty where nothing is looked for.
    text: Vec<u8>,
    /// What may be the beginning of `text`: shorter than it between calls.
    held: Vec<u8>,
}

impl Stop {
    pub fn new(text: Option<&str>) -> Self {
        Self {
            text: text.unwrap_or_default().into(),
            held: Vec::new(),
        }
    }

    /// Takes the next bytes and gives those that are surely part of the answer, and whether the text has come. What
    /// follows the text in the same bytes is dropped with it.
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
        let sure = self.held.drain(..self.held.len() - keep).collect();
        (sure, false)
    }

    /// What was held back, once it is known that no more comes: part of the answer after all.
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
        let mut stop = Stop::new(Some("<end>"));
        assert_eq!(stop.push(b"a <b> <e"), (b"a <b> ".to_vec(), false));
        assert_eq!(stop.push(b"n"), (b"".to_vec(), false));
        assert_eq!(stop.push(b"<en"), (b"<en".to_vec(), false));
        assert_eq!(stop.push(b"d> more"), (b"".to_vec(), true));
        assert_eq!(stop.rest(), b"");
    }

    #[test]
    fn what_was_only_the_beginning_is_given_back() {
        let mut stop = Stop::new(Some("<end>"));
        assert_eq!(stop.push(b"x<en"), (b"x".to_vec(), false));
        assert_eq!(stop.rest(), b"<en");
    }

    #[test]
    fn without_a_text_nothing_is_held_back() {
        for text in [None, Some("")] {
            let mut stop = Stop::new(text);
            assert_eq!(stop.push(b"ab"), (b"ab".to_vec(), false));
            assert_eq!(stop.rest(), b"");
        }
    }

    proptest! {
        // Two letters, so that the text's beginning comes often, and over itself.
        #[test]
        fn any_cut_gives_what_stands_before_the_text(text in "[ab]{1,5}", pieces in prop::collection::vec("[ab]{0,4}", 0..12)) {
            let mut stop = Stop::new(Some(&text));
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
