//! Any lines are a vocabulary or an error; encoding takes the longest token everywhere, and
//! decoding undoes it.

#![no_main]

use std::fmt::Write;

use libfuzzer_sys::fuzz_target;
use state_tune::tokenizer::Tokenizer;

fuzz_target!(|text: &str| {
    let _ = Tokenizer::parse(text);

    // Numbered, and behind all single bytes, lines have a chance.
    let mut file = String::new();
    let bytes = (0..=255).map(|byte| format!("b'\\x{byte:02x}' 1"));
    for (id, line) in (1..).zip(bytes.chain(text.lines().map(str::to_owned))) {
        writeln!(file, "{id} {line}").unwrap();
    }
    let Ok(tokenizer) = Tokenizer::parse(&file) else {
        return;
    };
    let tokens: Vec<&[u8]> = (1..).map_while(|id| tokenizer.token(id)).collect();
    let ids = tokenizer.encode(text);
    assert_eq!(tokenizer.decode(&ids), text.as_bytes());
    let mut rest = text.as_bytes();
    for id in ids {
        let longest = tokens.iter().filter(|token| rest.starts_with(token));
        let longest = longest.map(|token| token.len()).max().unwrap();
        assert_eq!(tokenizer.token(id).unwrap().len(), longest);
        rest = &rest[longest..];
    }
});
