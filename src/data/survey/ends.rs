//! How many completions an answer could not say whole, since it ends before; and how many do not say
//! where they end.

use std::fmt;

use crate::data::Example;
use crate::data::formats::BETWEEN;
use crate::setting::{RESPONSE_END, RESPONSE_FORMATTER};
use crate::tokenizer::{END_OF_TEXT, END_OF_TEXT_TOKEN, Text, Tokenizer};

/// How many completions hold the text at which answers end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ends {
    /// That text.
    pub text: String,
    /// How many completions have it before their end.
    pub cut: usize,
    /// How many do not end in it, where nothing that was typed is put behind them.
    pub open: usize,
    /// How many a formatter ends in the end-of-text token.
    pub with_token: usize,
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
                let mut ends =
                    Self::count(examples, BETWEEN, |tokens| is_inside(tokens, &blank_line));
                let parts = |example: &Example| example.learnt.clone();
                let parts = examples
                    .iter()
                    .flat_map(|e| parts(e).into_iter().map(|part| &e.tokens[part]));
                for tokens in parts {
                    let has_token = tokens.ends_with(&[END_OF_TEXT_TOKEN]);
                    ends.with_token += usize::from(has_token);
                    ends.open += usize::from(!has_token && !tokens.ends_with(&blank_line));
                }
                ends
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

/// Whether `part` stands in `whole` before its end, where it may stand several times.
fn is_inside<T: PartialEq>(whole: &[T], part: &[T]) -> bool {
    let mut before = whole;
    while let Some(rest) = before.strip_suffix(part) {
        before = rest;
    }
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
            open,
            with_token,
            completions,
        } = self;
        if *cut > 0 {
            let from_formatter = match with_token {
                0 => String::new(),
                _ => format!(" (take it out of {RESPONSE_FORMATTER} then)"),
            };
            writeln!(
                f,
                "ends   {cut} of {completions} completions hold {text:?}, where answers will end: what \
                 follows it is learnt and never said; {RESPONSE_END} '{END_OF_TEXT}' ends them by a token \
                 that no text holds{from_formatter}"
            )?;
        }
        if *open > 0 {
            let end = match cut {
                0 => format!("{text:?}"),
                _ => format!("'{END_OF_TEXT}'"),
            };
            writeln!(
                f,
                "ends   {open} of {completions} completions do not end in {text:?}, where answers will \
                 end: they teach no end; {RESPONSE_END} {end} puts one behind each"
            )?;
        }
        Ok(())
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
            // Of which nothing is lost.
            "Arr!<end><end>",
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
        assert_eq!(cut(""), (1, 2));
        assert_eq!(cut("\n\n"), (2, 1));
        assert_eq!(cut("<end>"), (1, 1));
        assert_eq!(cut("none"), (0, 0));
        assert_eq!(cut(END_OF_TEXT), (0, 0));
        let shown = Survey::of(&data, &Text::default()).unwrap().to_string();
        let wanted = "ends   1 of 7 completions hold \"\\n\\n\", where answers will end: ";
        assert!(shown.contains(wanted), "{shown}");
    }

    #[test]
    fn completions_without_an_end_are_counted() {
        let world = Tokenizer::world();
        let (mut tokens, mut learnt) = (Vec::new(), Vec::new());
        for text in ["Arr!", "Aye.\n\n", "Arr.\n\n\n"] {
            let start = tokens.len();
            tokens.extend(world.encode(text));
            learnt.push(start..tokens.len());
        }
        let example = Example {
            tokens,
            learnt,
            line: 1,
            cut: (0, 0),
        };
        // The third ends in the token of three line ends, at which no answer does.
        let ends = Ends::of(std::slice::from_ref(&example), &Text::default());
        assert_eq!((ends.open, ends.completions), (2, 3));
        let wanted = "ends   2 of 3 completions do not end in \"\\n\\n\", where answers will end: \
                      they teach no end; response_end \"\\n\\n\" puts one behind each\n";
        assert_eq!(ends.to_string(), wanted);
        // A formatter may put the token there, at which answers end, too.
        let mut with_token = example.clone();
        let end = with_token.learnt[0].end;
        with_token.tokens[end - 1] = END_OF_TEXT_TOKEN;
        let ends = Ends::of(&[with_token], &Text::default());
        assert_eq!((ends.open, ends.with_token), (1, 1));
        for end in ["</s>", END_OF_TEXT] {
            assert_eq!(
                Ends::of(std::slice::from_ref(&example), &Text::typed(end)).open,
                0
            );
        }
    }
}
