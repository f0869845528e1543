//! Text out of bytes that come in pieces, because a token may hold half a character.

/// Collects bytes and gives back text as soon as it is complete.
///
/// All that [`push`](Self::push) returns, joined, is what `String::from_utf8_lossy` makes of all
/// the bytes at once, wherever they were cut, but for a last character whose end never came: that
/// is dropped with the stream.
#[derive(Debug, Default)]
pub struct Utf8Stream {
    /// The start of a character whose end has not come yet: at most three bytes between calls.
    pending: Vec<u8>,
}

impl Utf8Stream {
    /// An empty stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes and gives the text that is complete so far; an unfinished character is
    /// held back.
    pub fn push(&mut self, bytes: &[u8]) -> String {
        self.pending.extend_from_slice(bytes);
        let mut text = String::with_capacity(self.pending.len());
        let mut rest = self.pending.as_slice();
        let unfinished = loop {
            match std::str::from_utf8(rest) {
                Ok(valid) => {
                    text.push_str(valid);
                    break 0;
                }
                Err(error) => {
                    let (valid, tail) = rest.split_at(error.valid_up_to());
                    // Valid as the error says; the lossy form only spares an unwrap.
                    text.push_str(&String::from_utf8_lossy(valid));
                    // No length means that the bytes end too early but are not wrong yet.
                    let Some(wrong) = error.error_len() else {
                        break tail.len();
                    };
                    text.push(char::REPLACEMENT_CHARACTER);
                    rest = &tail[wrong..];
                }
            }
        };
        self.pending.drain(..self.pending.len() - unfinished);
        text
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn holds_back_what_is_unfinished() {
        let mut stream = Utf8Stream::new();
        assert_eq!(stream.push(b"a\xf0\x9f"), "a");
        assert_eq!(stream.push(b"\x98"), "");
        assert_eq!(stream.push(b"\x80b"), "\u{1F600}b");
        assert_eq!(stream.push(b"\xe2\x82"), "");
        assert_eq!(held(&stream), "\u{FFFD}");
    }

    #[test]
    fn wrong_bytes_do_not_wait() {
        let mut stream = Utf8Stream::new();
        assert_eq!(stream.push(b"\xff\xe2\x82"), "\u{FFFD}");
        assert_eq!(stream.push(b"x"), "\u{FFFD}x");
        assert_eq!(held(&stream), "");
    }

    /// What is held back, as the lossy text of all bytes would end.
    fn held(stream: &Utf8Stream) -> String {
        String::from_utf8_lossy(&stream.pending).into_owned()
    }

    /// Bytes that are often the start, middle or end of a character, so that cuts fall badly.
    fn awkward_bytes() -> impl Strategy<Value = Vec<u8>> {
        let character = any::<char>().prop_map(|c| c.to_string().into_bytes());
        let byte = prop_oneof![any::<u8>(), 0x80..=0xbfu8, 0xe0..=0xf5u8].prop_map(|b| vec![b]);
        prop::collection::vec(prop_oneof![character, byte], 0..40).prop_map(|parts| parts.concat())
    }

    proptest! {
        #[test]
        fn any_cut_gives_the_lossy_text(bytes in awkward_bytes(), cuts in prop::collection::vec(0usize..8, 1..20)) {
            let mut stream = Utf8Stream::new();
            let mut text = String::new();
            let mut rest = bytes.as_slice();
            for &cut in &cuts {
                let (piece, tail) = rest.split_at(cut.min(rest.len()));
                text += &stream.push(piece);
                rest = tail;
            }
            text += &stream.push(rest);
            text += &held(&stream);
            prop_assert_eq!(text, String::from_utf8_lossy(&bytes).into_owned());
        }
    }
}
