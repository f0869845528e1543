//! The World tokenizer against ids that the `rwkv` Python package made, and against a slow and
//! obvious reference.

use std::collections::HashMap;
use std::sync::LazyLock;

use proptest::prelude::*;

use super::*;

/// Made with `rwkv.rwkv_tokenizer.TRIE_TOKENIZER("rwkv_vocab_v20230424.txt").encode(text)`.
#[rustfmt::skip]
const GOLDEN: &[(&str, &[u32])] = &[
    ("", &[]),
    ("\0", &[1]),
    ("a", &[98]),
    ("Hello, world!", &[33155, 45, 40213, 34]),
    ("The quick brown fox jumps over the lazy dog.", &[6699, 39418, 37917, 21704, 38828, 31601, 22590, 31261, 21551, 47]),
    (" leading and trailing ", &[52107, 21265, 57451, 33]),
    ("it's \"quoted\" \\n 'twice'", &[1956, 460, 269, 42122, 35, 327, 111, 274, 2222, 7759, 40]),
    ("\n", &[11]),
    ("\r\n\r\n", &[19244]),
    ("\n\n\n\n\n\n\n\n\n\n\n", &[49921, 3328]),
    ("\t\t\tif x:\r\n", &[3320, 1942, 355, 59, 263]),
    ("       ", &[43914]),
    ("                                                                                                                                                                                                        ", &[65529, 65522]),
    ("\n \n  \n", &[3330, 3339]),
    ("User: hi\n\nAssistant: hello\n\n", &[24281, 59, 4571, 261, 5585, 41693, 59, 38685, 261]),
    ("1234567890 3.14159e-10", &[632, 654, 676, 698, 710, 286, 47, 634, 635, 58, 102, 46, 630]),
    ("fn main() { println!(\"{}\", x); }", &[1879, 31356, 472, 358, 52562, 365, 398, 9187, 355, 502, 360]),
    ("<|endoftext|>", &[61, 125, 25258, 7588, 2318, 125, 63]),
    ("aaaaaaaaaaaaaaaaaaaa", &[53739, 53739, 24364]),
    ("=-=-=-=-=-=-=-=-=-=-=-=-", &[23343, 23343, 23343, 23343, 23343, 23343]),
    ("你好，世界！", &[10464, 11685, 19137, 10267, 14610, 19126]),
    ("一二三四五六七八九十", &[10250, 10337, 10256, 11412, 10344, 10679, 10253, 10677, 10320, 10917]),
    ("日本語のテキストです。", &[13053, 13205, 16592, 10138, 10199, 10177, 43480, 43382, 10080]),
    ("한국어 문장입니다.", &[43875, 18830, 23056, 18902, 58625, 47]),
    ("Привет, мир!", &[27858, 27950, 27930, 45, 32732, 2810, 34]),
    ("مرحبا بالعالم", &[2949, 2934, 2930, 2925, 2924, 48211, 2942, 28211, 2949]),
    ("שלום", &[2916, 2903, 2896, 2904]),
    ("नमस्ते दुनिया", &[9473, 9477, 9484, 9495, 9469, 9492, 22877, 9490, 9473, 9488, 9478, 9487]),
    ("สวัสดีชาวโลก", &[9627, 9624, 9631, 9627, 9609, 9635, 9606, 9632, 9624, 9641, 9623, 9601]),
    ("Καλημέρα", &[2702, 2721, 27810, 2732, 2718, 27831]),
    ("Ünïcödé ñandú œuvre", &[2490, 111, 2509, 100, 9350, 2503, 4977, 7005, 2520, 47852]),
    ("e\u{301} vs é", &[102, 2672, 4851, 4970]),
    ("Z\u{351}\u{36b}\u{343}\u{36a}\u{302}a\u{321}l\u{338}go", &[91, 206, 146, 206, 172, 206, 132, 206, 171, 2673, 98, 205, 162, 109, 205, 185, 1903]),
    ("😀", &[3319, 153, 129]),
    ("👩\u{200d}👩\u{200d}👧\u{200d}👦 🏳\u{fe0f}\u{200d}🌈", &[3319, 146, 170, 9810, 3319, 146, 170, 9810, 3319, 146, 168, 9810, 3319, 146, 167, 33, 3319, 144, 180, 19103, 9810, 3319, 141, 137]),
    ("🇩🇪🇯🇵", &[3319, 136, 170, 3319, 136, 171, 3319, 136, 176, 3319, 136, 182]),
    ("\u{200b}\u{200d}\u{feff}\u{202e}", &[9808, 9810, 19125, 3006, 175]),
    ("\u{80}\u{a0}\u{a0}\u{a0}\u{3000}\u{3000}", &[2423, 42538, 43299]),
    ("\u{10ffff}\u{e000}\u{fffd}", &[245, 144, 192, 192, 239, 129, 129, 19232]),
    ("\x01\x02\x1b[31mred\x1b[0m\x7f", &[2, 3, 28, 92, 651, 2051, 1843, 28, 92, 49, 110, 128]),
    ("mixed 混合 смесь 😀 text", &[35071, 33, 13916, 11038, 32775, 27929, 2822, 33, 3319, 153, 129, 32224]),
    ("𝕳𝖊𝖑𝖑𝖔 𠀀𪛖", &[3318, 150, 180, 3318, 151, 139, 3318, 151, 146, 3318, 151, 146, 3318, 151, 149, 33, 241, 161, 129, 129, 241, 171, 156, 151]),
];

#[test]
fn agrees_with_the_python_package() {
    for (text, ids) in GOLDEN {
        assert_eq!(Tokenizer::world().encode(text), *ids, "{text:?}");
        assert_eq!(Tokenizer::world().decode(ids), text.as_bytes(), "{text:?}");
    }
}

#[test]
fn the_built_in_file_is_whole() {
    let tokenizer = Tokenizer::world();
    assert_eq!(tokenizer.vocabulary.iter().count(), 65_529);
    assert_eq!(tokenizer.token(1), Some(b"\0".as_slice()));
    assert_eq!(tokenizer.token(34), Some(b"!".as_slice()));
    assert_eq!(tokenizer.token(65_529).map(<[u8]>::len), Some(128));
    for (id, token) in tokenizer.vocabulary.iter() {
        assert_eq!(tokenizer.trie.longest(token), (id, token.len()));
    }
}

#[test]
fn ids_that_are_no_token() {
    let tokenizer = Tokenizer::world();
    for id in [0, 65_530, 65_535, u32::MAX] {
        assert_eq!(tokenizer.token(id), None);
    }
    assert_eq!(tokenizer.decode(&[34, 0, 34, 0]), b"!!");
    assert_eq!(
        tokenizer.decode(&[34, 65_530, u32::MAX]),
        "!\u{FFFD}\u{FFFD}".as_bytes()
    );
}

/// Tries every length from the longest down.
fn reference(text: &str) -> Vec<u32> {
    static IDS: LazyLock<HashMap<&[u8], u32>> = LazyLock::new(|| {
        Tokenizer::world()
            .vocabulary
            .iter()
            .map(|(id, token)| (token, id))
            .collect()
    });
    let mut rest = text.as_bytes();
    let mut ids = Vec::new();
    while !rest.is_empty() {
        let (id, length) = (1..=rest.len().min(128))
            .rev()
            .find_map(|length| Some((*IDS.get(&rest[..length])?, length)))
            .expect("every byte is a token");
        ids.push(id);
        rest = &rest[length..];
    }
    ids
}

/// Text that runs along the vocabulary: tokens, parts of tokens, long runs of one character, and
/// characters of all kinds.
fn text() -> impl Strategy<Value = String> {
    let token = (1..65_530u32, 0..200usize).prop_map(|(id, keep)| {
        let token = Tokenizer::world().token(id).unwrap_or_default();
        String::from_utf8_lossy(&token[..keep.min(token.len())]).into_owned()
    });
    let run = (
        prop::sample::select(vec![' ', '\n', '\t', '=', '-', 'a', '\u{a0}', '\u{3000}']),
        1..150usize,
    )
        .prop_map(|(character, times)| character.to_string().repeat(times));
    let character = any::<char>().prop_map(String::from);
    let ascii = "[ -~\\n]{1,12}";
    prop::collection::vec(
        prop_oneof![4 => token, 1 => run, 2 => character, 2 => ascii],
        0..30,
    )
    .prop_map(|parts| parts.concat())
}

proptest! {
    #[test]
    fn takes_the_longest_token_and_loses_nothing(text in text()) {
        let ids = Tokenizer::world().encode(&text);
        prop_assert_eq!(&ids, &reference(&text));
        prop_assert_eq!(Tokenizer::world().decode(&ids), text.as_bytes());
    }

    #[test]
    fn decodes_any_ids(ids in prop::collection::vec(any::<u32>().prop_map(|id| id >> 14), 0..50)) {
        let parts: Vec<u8> = ids.iter().flat_map(|&id| Tokenizer::world().decode(&[id])).collect();
        prop_assert_eq!(Tokenizer::world().decode(&ids), parts);
    }
}
