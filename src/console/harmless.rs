//! Texts of files, of models and of servers as they may be shown on a terminal: a control code could
//! move the cursor, colour what follows or worse, and a direction mark could turn a name round.

use std::borrow::Cow;

/// A text of a file as it may be shown in a line: what would break the line, speak to the terminal
/// or turn the text round is escaped, and of a very long one only the start is left.
pub fn harmless(line: &str) -> String {
    const MOST: usize = 2000;
    let mut text = String::new();
    for c in line.chars().take(MOST) {
        push(&mut text, c, is_harmful(c));
    }
    if line.chars().nth(MOST).is_some() {
        text.push_str("...");
    }
    text
}

/// The same of a text of any length, whose lines and tabs stay.
pub fn harmless_lines(text: &str) -> Cow<'_, str> {
    let is_escaped = |c: char| is_harmful(c) && !matches!(c, '\n' | '\t');
    if !text.contains(is_escaped) {
        return text.into();
    }
    let mut shown = String::new();
    for c in text.chars() {
        push(&mut shown, c, is_escaped(c));
    }
    shown.into()
}

fn push(text: &mut String, c: char, is_escaped: bool) {
    match is_escaped {
        true => text.extend(c.escape_default()),
        false => text.push(c),
    }
}

/// Whether a character is a control code or a mark that turns the direction of text.
fn is_harmful(c: char) -> bool {
    let turns = matches!(
        c,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    );
    // A byte order mark inside a text shows nothing, and two texts seem the same.
    c.is_control() || turns || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_one_line_and_short() {
        assert_eq!(harmless("a\nb \u{1b}[31m é"), "a\\nb \\u{1b}[31m é");
        assert_eq!(harmless(&"x".repeat(5000)).len(), 2003);
    }

    #[test]
    fn neither_control_codes_nor_direction_marks_are_left() {
        let text = "a\tb\n\u{1b}[2J\u{9b}1m\r\u{202e}gpj.exe\u{2066} \u{feff}שלום é";
        let wanted = "a\tb\n\\u{1b}[2J\\u{9b}1m\\r\\u{202e}gpj.exe\\u{2066} \\u{feff}שלום é";
        assert_eq!(harmless_lines(text), wanted);
        assert!(matches!(harmless_lines("a\tb\n"), Cow::Borrowed(_)));
        assert_eq!(harmless("\u{202e}\t"), "\\u{202e}\\t");
    }
}
