//! Text in which the end-of-text token may stand.
//!
//! Token 0 ends each text that RWKV's models were trained on, and no characters stand for it. A user
//! writes it as RWKV's tokenizers for `transformers` do, where it means nothing else; the shorter
//! `<|endoftext|>` is other tokenizers' own, and `\0` is a character, token 1. What a file of data
//! says is text, and stays it.

use std::fmt;

use memchr::memchr_iter;

use super::Tokenizer;

/// How a user writes the end-of-text token.
pub const END_OF_TEXT: &str = "<|rwkv_tokenizer_end_of_text|>";

/// The end-of-text token.
pub const END_OF_TEXT_TOKEN: u32 = 0;

/// How tokenizers of the field write signs without bars inside the angle brackets.
const FOREIGN_SIGNS: [&str; 5] = ["</s>", "<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>"];

/// What other tokenizers take for a sign of their own in plain text, as <|endoftext|> or </s>. In
/// World's it is as many tokens as any text.
fn foreign_signs(text: &str) -> impl Iterator<Item = &str> {
    let with_bars = |rest: &'_ str, bar: char| {
        let name = rest.strip_prefix('<')?.strip_prefix(bar)?;
        let (name, behind) = name.split_once(bar)?;
        let is_name = !name.is_empty() && !name.contains(char::is_whitespace);
        let is_sign = is_name && name.len() <= LONGEST_NAME && behind.starts_with('>');
        is_sign.then_some(name.len() + 2 * (1 + bar.len_utf8()))
    };
    let places = memchr_iter(b'<', text.as_bytes()).map(|at| &text[at..]);
    places.filter_map(move |rest| {
        let len = match rest[1..].chars().next() {
            // DeepSeek's have wide bars.
            Some(bar @ ('|' | '\u{ff5c}')) => with_bars(rest, bar)?,
            _ => FOREIGN_SIGNS
                .iter()
                .find(|sign| rest.starts_with(**sign))?
                .len(),
        };
        Some(&rest[..len])
    })
}

/// The most bytes of a sign's name.
const LONGEST_NAME: usize = 60;

/// Some text, in parts between which the end-of-text token stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Text {
    first: String,
    /// The parts behind the first token; nearly every text has none.
    rest: Vec<String>,
}

impl Text {
    /// Reads what a user typed, where [`END_OF_TEXT`] is the token.
    pub fn typed(text: &str) -> Self {
        let mut parts = text.split(END_OF_TEXT).map(str::to_owned);
        Self {
            first: parts.next().unwrap_or_default(),
            rest: parts.collect(),
        }
    }

    /// Without any text, but with room for some.
    pub fn with_capacity(bytes: usize) -> Self {
        Self {
            first: String::with_capacity(bytes),
            rest: Vec::new(),
        }
    }

    /// Its length in bytes, without the tokens.
    pub fn len(&self) -> usize {
        self.parts().map(str::len).sum()
    }

    /// The parts in their order; between each two stands the token.
    pub fn parts(&self) -> impl Iterator<Item = &str> {
        let parts = [&self.first].into_iter().chain(&self.rest);
        parts.map(String::as_str)
    }

    /// All of it, unless the token stands in it.
    pub fn as_plain(&self) -> Option<&str> {
        self.rest.is_empty().then_some(&self.first)
    }

    /// Whether there is neither a character nor the token.
    pub fn is_empty(&self) -> bool {
        self.as_plain().is_some_and(str::is_empty)
    }

    /// What other tokenizers take for a sign of their own, such as an end.
    pub fn foreign_signs(&self) -> impl Iterator<Item = &str> {
        self.parts().flat_map(foreign_signs)
    }

    /// Whether it ends so, characters and tokens.
    pub fn ends_with(&self, end: &Text) -> bool {
        let own: Vec<&str> = self.parts().collect();
        let (from, whole) = (&end.first, &end.rest);
        own.len()
            .checked_sub(1 + whole.len())
            .is_some_and(|at| own[at].ends_with(from.as_str()) && own[at + 1..].iter().eq(whole))
    }

    /// Whether it ends in white space.
    pub fn ends_blank(&self) -> bool {
        self.last_part().ends_with(char::is_whitespace)
    }

    /// Whether it begins with white space.
    pub fn starts_blank(&self) -> bool {
        self.first.starts_with(char::is_whitespace)
    }

    /// What stands behind all tokens.
    fn last_part(&self) -> &str {
        self.rest.last().unwrap_or(&self.first)
    }

    /// Changes the characters of each part; the tokens between them stay.
    pub fn change(&mut self, mut change: impl FnMut(&mut String)) {
        change(&mut self.first);
        self.rest.iter_mut().for_each(change);
    }

    /// Puts characters behind it.
    pub fn push_str(&mut self, text: &str) {
        let last = self.rest.last_mut();
        last.unwrap_or(&mut self.first).push_str(text);
    }

    /// Puts another text behind it.
    pub fn push(&mut self, text: &Text) {
        self.push_str(&text.first);
        self.rest.extend_from_slice(&text.rest);
    }

    /// The ids of its tokens.
    pub fn encode(&self, tokenizer: &Tokenizer) -> Vec<u32> {
        let mut ids = Vec::new();
        self.encode_into(tokenizer, &mut ids);
        ids
    }

    /// Puts the ids of its tokens behind others.
    pub fn encode_into(&self, tokenizer: &Tokenizer, ids: &mut Vec<u32>) {
        tokenizer.encode_into(&self.first, ids);
        for part in &self.rest {
            ids.push(END_OF_TEXT_TOKEN);
            tokenizer.encode_into(part, ids);
        }
    }
}

/// The characters as they stand.
impl From<String> for Text {
    fn from(text: String) -> Self {
        let rest = Vec::new();
        Self { first: text, rest }
    }
}

/// The characters as they stand.
impl From<&str> for Text {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

/// What [`Text::typed`] reads as this text.
impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.first)?;
        let mut rest = self.rest.iter();
        rest.try_for_each(|part| write!(f, "{END_OF_TEXT}{part}"))
    }
}

/// Whether it is these characters and no token.
impl PartialEq<str> for Text {
    fn eq(&self, text: &str) -> bool {
        self.as_plain() == Some(text)
    }
}

/// Whether it is these characters and no token.
impl PartialEq<&str> for Text {
    fn eq(&self, text: &&str) -> bool {
        self == *text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_stands_where_it_is_typed_and_not_where_a_file_has_its_name() {
        let world = Tokenizer::world();
        let typed =
            Text::typed("a<|rwkv_tokenizer_end_of_text|><|rwkv_tokenizer_end_of_text|>\n\n");
        let [a, blank] = [world.encode("a"), world.encode("\n\n")];
        assert_eq!(typed.encode(world), [&a[..], &[0, 0], &blank].concat());
        assert_eq!(Text::typed(END_OF_TEXT).encode(world), [0]);
        assert!(!Text::typed(END_OF_TEXT).is_empty() && Text::typed("").is_empty());
        let verbatim = Text::from(END_OF_TEXT);
        assert_eq!(verbatim.encode(world), world.encode(END_OF_TEXT));
        assert!(!verbatim.encode(world).contains(&0));
        assert!(verbatim.foreign_signs().eq([END_OF_TEXT]));
        assert_eq!(Text::typed(END_OF_TEXT).foreign_signs().next(), None);
    }

    #[test]
    fn signs_of_other_tokenizers_are_seen() {
        for sign in [
            "</s>",
            "<eos>",
            "<end_of_turn>",
            "<|endoftext|>",
            "<|im_start|>",
            "<|eot_id|>",
            "<\u{ff5c}end\u{2581}of\u{2581}sentence\u{ff5c}>",
        ] {
            let text = Text::from(format!("a < b {sign}\n"));
            assert!(text.foreign_signs().eq([sign]), "{sign}");
        }
        for text in ["a <| b |> c", "<||>", "<s>x</b>", "x |> f <| y", "<"] {
            assert_eq!(Text::from(text).foreign_signs().next(), None, "{text}");
        }
    }

    #[test]
    fn texts_follow_each_other() {
        let mut text = Text::from("a");
        text.push(&Text::typed("b<|rwkv_tokenizer_end_of_text|>c"));
        text.push_str("d");
        assert_eq!(text, Text::typed("ab<|rwkv_tokenizer_end_of_text|>cd"));
        assert_eq!(text.to_string(), "ab<|rwkv_tokenizer_end_of_text|>cd");
        assert_eq!(text.as_plain(), None);
    }
}
