//! Numbers that a kernel and the code that launches it must agree on. They stand in the `.cu` file
//! alone, as `constexpr int NAME = 64;`, and are read from its text when this program is compiled.

/// The value of `constexpr int {name}` in `source`. Does not compile where there is none.
pub const fn constant(source: &str, name: &str) -> usize {
    let (source, name) = (source.as_bytes(), name.as_bytes());
    let mut at = 0;
    while at < source.len() {
        if let Some(after) = follows(source, at, b"constexpr int ")
            && let Some(after) = follows(source, after, name)
            && let Some(number) = follows(source, after, b" = ")
        {
            return digits(source, number);
        }
        at += 1;
    }
    panic!("the kernel's file has no such constant")
}

/// Where `word` ends, if it stands at `at`.
const fn follows(source: &[u8], at: usize, word: &[u8]) -> Option<usize> {
    let mut i = 0;
    while i < word.len() {
        if at + i >= source.len() || source[at + i] != word[i] {
            return None;
        }
        i += 1;
    }
    Some(at + word.len())
}

/// The digits from `at` on, which a semicolon must end: no expression.
const fn digits(source: &[u8], mut at: usize) -> usize {
    let mut value = 0;
    while source[at] != b';' {
        assert!(
            source[at].is_ascii_digit(),
            "the constant is no plain number"
        );
        value = value * 10 + (source[at] - b'0') as usize;
        at += 1;
    }
    value
}

#[cfg(test)]
mod tests {
    use super::constant;

    const SOURCE: &str =
        "constexpr int ROWS_OF = 3;\n// constexpr\nconstexpr int ROWS = 64; int x;";

    #[test]
    fn the_constant_of_exactly_that_name_is_read() {
        assert_eq!(constant(SOURCE, "ROWS"), 64);
        assert_eq!(constant(SOURCE, "ROWS_OF"), 3);
    }

    #[test]
    #[should_panic(expected = "no such constant")]
    fn a_name_that_is_not_there_is_an_error() {
        constant(SOURCE, "ROW");
    }

    #[test]
    #[should_panic(expected = "no plain number")]
    fn an_expression_is_an_error() {
        constant("constexpr int ROWS = 2 * 3;", "ROWS");
    }
}
