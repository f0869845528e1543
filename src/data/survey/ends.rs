//! How many completions an answer could not say whole, since it ends before.

use std::fmt;

use crate::data::Example;
use crate::data::formats::BETWEEN;
use crate::setting::RESPONSE_END;
use crate::tokenizer::{END_OF_TEXT, Text, Tokenizer};

/// How many completions hold the text at which answers end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ends {
    /// That text.
    pub text: String,
    /// How many completions have it before their end.
    pub cut: usize,
    /// How many there are.
    pub completions: usize,
}

impl Ends {
    /// Of examples whose answers are to end in `end`.
    pub fn of(examples: &[Example], end: &Text) -> Self {
        match end.as_plain() {
            // Answers end at one token, which a longer run of line ends has not.
            Some("") => {
                let blank_line = Tokenizer::world().encode(BETWEEN);
                Self::count(examples, BETWEEN, |tokens| is_inside(tokens, &blank_line))
            }
            Some(end) => Self::count(examples, end, holds_text(end)),
            // The token ends answers, and stands in none.
            None => Self::default(),
        }
    }

    fn count(examples: &[Example], end: &str, is_cut: impl Fn(&[u32]) -> bool) -> Self {
        let mut ends = Self {
            text: end.to_owned(),
            ..Self::default()
        };
        for example in examples {
            for part in &example.learnt {
                ends.completions += 1;
                ends.cut += usize::from(is_cut(&example.tokens[part.clone()]));
            }
        }
        ends
    }
}

/// Whether `part` stands in `whole` before its end.
fn is_inside<T: PartialEq>(whole: &[T], part: &[T]) -> bool {
    let before = whole.strip_suffix(part).unwrap_or(whole);
    // Most differ in their first element, which is cheap to look at.
    let mut places = before.windows(part.len());
    places.any(|place| place[0] == part[0] && place == part)
}

/// Whether a completion's text holds `end` before its end.
fn holds_text(end: &str) -> impl Fn(&[u32]) -> bool {
    let world = Tokenizer::world();
    // Once for each token of the vocabulary: examples hold millions.
    let first = end.as_bytes()[0];
    let has_first = |id| world.token(id).is_some_and(|bytes| bytes.contains(&first));
    let begin_it: Vec<bool> = (0..1 << 16).map(has_first).collect();
    move |tokens| {
        // Few completions have to be looked at as text.
        let mut ids = tokens.iter();
        let may_hold = ids.any(|&id| begin_it.get(id as usize) == Some(&true));
        may_hold && is_inside(&world.decode(tokens), end.as_bytes())
    }
}

/// A line, or nothing where nothing is lost.
impl fmt::Display for Ends {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            text,
            cut,
            completions,
        } = self;
        match cut {
            0 => Ok(()),
            cut => writeln!(
                f,
                "ends   {cut} of {completions} completions hold {text:?}, where answers will end: what \
                 follows it is learnt and never said; {RESPONSE_END} '{END_OF_TEXT}' ends them by a token \
                 that no text holds"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Dataset, Survey};

    #[test]
    fn completions_that_answers_would_break_off_are_counted() {
        let world = Tokenizer::world();
        let example = |completion: &str| Example {
            tokens: world.encode(completion),
            learnt: std::iter::once(0..world.encode(completion).len()).collect(),
            line: 1,
            cut: (0, 0),
        };
        let texts = [
            "Arr.\n\nMatey!",
            "Arr!\n\n",
            "Arr!",
            " a <end>",
            "<end> b <end>",
            // Other tokens than the blank line's.
            "one\n\n\ntwo",
        ];
        let data = Dataset {
            examples: texts.map(example).to_vec(),
            ..Dataset::default()
        };
        let cut = |end: &str| {
            let ends = Survey::of(&data, &Text::typed(end)).unwrap().ends;
            (ends.cut, ends.to_string().lines().count())
        };
        assert_eq!(cut(""), (1, 1));
        assert_eq!(cut("\n\n"), (2, 1));
        assert_eq!(cut("<end>"), (1, 1));
        assert_eq!(cut("none"), (0, 0));
        assert_eq!(cut(END_OF_TEXT), (0, 0));
        let shown = Survey::of(&data, &Text::default()).unwrap().to_string();
        let wanted = "ends   1 of 6 completions hold \"\\n\\n\", where answers will end: ";
        assert!(shown.contains(wanted), "{shown}");
    }
}
