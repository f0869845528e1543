//! Text to token ids and back, with the RWKV World vocabulary: 65,529 tokens, among them every
//! single byte.
//!
//! The rule is greedy: at every place take the longest token that fits, then go on behind it. So
//! any string encodes, and decoding gives the same bytes back. A model predicts one token at a
//! time, and a token may end inside a character: [`Utf8Stream`] turns such pieces into text that
//! can be printed as it comes.

mod stream;
#[cfg(test)]
mod tests;
mod text;
mod trie;
mod vocabulary;

use std::sync::LazyLock;

pub use stream::Utf8Stream;
pub use text::{END_OF_TEXT, END_OF_TEXT_TOKEN, Text};
pub use vocabulary::VocabularyError;

use trie::Trie;
use vocabulary::Vocabulary;

const WORLD: &str = include_str!("../../rwkv_vocab_v20230424.txt");

/// What decoding gives for an id that the vocabulary lacks (a model's head is wider than the
/// vocabulary).
const UNKNOWN: &[u8] = "\u{FFFD}".as_bytes();

/// A vocabulary, ready to encode and decode.
pub struct Tokenizer {
    vocabulary: Vocabulary,
    trie: Trie,
}

impl Tokenizer {
    /// The World vocabulary, built on the first call and shared from then on.
    pub fn world() -> &'static Tokenizer {
        static TOKENIZER: LazyLock<Tokenizer> = LazyLock::new(|| {
            // Only a damaged build can fail here: the file is part of the program, and a test reads
            // it.
            Tokenizer::parse(WORLD)
                .unwrap_or_else(|error| panic!("the built-in vocabulary: {error}"))
        });
        &TOKENIZER
    }

    /// A vocabulary file, for the tests and the fuzzer: the program has only the World one.
    #[doc(hidden)]
    pub fn parse(file: &str) -> Result<Tokenizer, VocabularyError> {
        let vocabulary = Vocabulary::parse(file)?;
        let trie = Trie::new(vocabulary.iter());
        Ok(Tokenizer { vocabulary, trie })
    }

    /// The ids of `text`, longest token first.
    pub fn encode(&self, text: &str) -> Vec<u32> {
        let mut ids = Vec::new();
        self.encode_into(text, &mut ids);
        ids
    }

    /// Puts the ids of `text` behind others.
    pub fn encode_into(&self, text: &str, ids: &mut Vec<u32>) {
        let mut rest = text.as_bytes();
        // English and code run at four to five bytes a token, other scripts at three or so.
        ids.reserve(rest.len().div_ceil(4));
        while !rest.is_empty() {
            let (id, length) = self.trie.longest(rest);
            ids.push(id);
            rest = &rest[length..];
        }
    }

    /// The bytes of `ids`, which need not be whole characters.
    ///
    /// Id 0 marks the end of a text and gives nothing; an id that the vocabulary lacks gives
    /// U+FFFD.
    pub fn decode(&self, ids: &[u32]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(ids.len() * 4);
        for &id in ids {
            match self.token(id) {
                Some(token) => bytes.extend_from_slice(token),
                None if id == 0 => {}
                None => bytes.extend_from_slice(UNKNOWN),
            }
        }
        bytes
    }

    /// The text of `ids` for a person: what is no UTF-8 is U+FFFD, and the end-of-text token is as a
    /// user would write it.
    pub fn display(&self, ids: &[u32]) -> String {
        let parts = ids.split(|&id| id == END_OF_TEXT_TOKEN);
        let parts = parts.map(|part| String::from_utf8_lossy(&self.decode(part)).into_owned());
        parts.collect::<Vec<_>>().join(END_OF_TEXT)
    }

    /// The bytes of one token; `None` for 0 and for ids that the vocabulary lacks.
    pub fn token(&self, id: u32) -> Option<&[u8]> {
        self.vocabulary.token(id)
    }
}
