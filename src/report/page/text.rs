//! Text from data, made fit to be looked at.

/// Text in which signs stand for the characters that a browser would drop or refuse. Line ends and
/// tabs stay.
pub fn visible(text: &str) -> String {
    let sign = |c: char| match c {
        '\n' | '\t' => c,
        // Unicode has a picture of each: U+2400 is that of U+0000.
        '\0'..' ' => char::from_u32(0x2400 + c as u32).unwrap_or('\u{fffd}'),
        '\u{7f}' => '\u{2421}',
        c if c.is_control() => '\u{fffd}',
        c => c,
    };
    text.chars().map(sign).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_become_signs() {
        assert_eq!(
            visible("a\0\u{1b}[1m\r\n\tb\u{7f}\u{85}é😀"),
            "a␀␛[1m␍\n\tb␡\u{fffd}é😀"
        );
    }
}
