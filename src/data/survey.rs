//! What a file's examples are like, for a person to look at before an hour of training.

pub mod ends;

use std::fmt;
use std::ops::Range;

use self::ends::Ends;
use super::{Dataset, Example};
use crate::tokenizer::{Text, Tokenizer};

/// The most characters that are shown of each part of the first example.
const GLANCE: usize = 400;

/// The most turns that are shown of a conversation.
const TURNS: usize = 4;

/// The lengths of some texts, in tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lengths {
    /// The shortest.
    pub min: usize,
    /// No more than half of the texts are longer.
    pub median: usize,
    /// No more than one text in twenty is longer.
    pub p95: usize,
    /// The longest.
    pub max: usize,
}

/// The facts of all examples, and the first one as the model will see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Survey {
    /// How many there are.
    pub examples: usize,
    /// What is read and not learnt, without the soft prompt.
    pub prompt: Lengths,
    /// What is learnt.
    pub completion: Lengths,
    /// Both together.
    pub whole: Lengths,
    /// How many prompts and how many completions the cutoffs shortened.
    pub cut: (usize, usize),
    /// Blank lines.
    pub blank: usize,
    /// Where answers will end inside a completion.
    pub ends: Ends,
    /// The first example's parts: what is read, and what is learnt after it.
    pub first: Vec<(String, String)>,
}

impl Lengths {
    /// Of at least one length.
    fn of(lengths: impl Iterator<Item = usize>) -> Self {
        let mut sorted: Vec<usize> = lengths.collect();
        sorted.sort_unstable();
        // The nearest rank: the smallest length that so many percent do not exceed.
        let rank = |percent: usize| sorted[(sorted.len() * percent).div_ceil(100).max(1) - 1];
        Self {
            min: rank(0),
            median: rank(50),
            p95: rank(95),
            max: rank(100),
        }
    }
}

impl Survey {
    /// Looks at the examples of a file, whose answers are to end in `end`; `None` if there are none.
    pub fn of(data: &Dataset, end: &Text) -> Option<Self> {
        let examples = &data.examples;
        let first = examples.first()?;
        let text = |tokens: &[u32]| Tokenizer::world().display(tokens);
        let read = |e: &Example| e.tokens.len() - e.learnt_len();
        let mut at = 0;
        let mut parts = |learnt: &Range<usize>| {
            let read = at..learnt.start;
            at = learnt.end;
            (
                text(&first.tokens[read]),
                text(&first.tokens[learnt.clone()]),
            )
        };
        Some(Self {
            examples: examples.len(),
            prompt: Lengths::of(examples.iter().map(read)),
            completion: Lengths::of(examples.iter().map(Example::learnt_len)),
            whole: Lengths::of(examples.iter().map(|e| e.tokens.len())),
            cut: (
                examples.iter().map(|e| e.cut.0).sum(),
                examples.iter().map(|e| e.cut.1).sum(),
            ),
            blank: data.blank,
            ends: Ends::of(examples, end),
            first: first.learnt.iter().map(&mut parts).collect(),
        })
    }
}

impl fmt::Display for Lengths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            min,
            median,
            p95,
            max,
        } = self;
        write!(f, "{min}/{median}/{p95}/{max}")
    }
}

impl fmt::Display for Survey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            examples,
            prompt,
            completion,
            whole,
            cut,
            blank,
            ends,
            first,
        } = self;
        let (prompts, completions) = cut;
        writeln!(
            f,
            "tokens prompt {prompt}, completion {completion}, both {whole} (min/median/p95/max of \
             {examples} examples)"
        )?;
        writeln!(
            f,
            "cut    {prompts} prompts and {completions} completions shortened, {blank} blank \
             lines left out"
        )?;
        ends.fmt(f)?;
        write!(f, "first  ")?;
        for (read, learnt) in first.iter().take(TURNS) {
            write!(f, "[[{}]]{}", glance(read, true), glance(learnt, false))?;
        }
        if first.len() > TURNS {
            write!(f, "... and {} turns more", first.len() - TURNS)?;
        }
        write!(
            f,
            "\n       (what stands in [[ ]] is read, the rest is learnt)"
        )
    }
}

/// A text on one line, and of a long one only the part that is next to the border between prompt
/// and completion.
fn glance(text: &str, keep_end: bool) -> String {
    let signs: Vec<char> = text.chars().collect();
    let escaped = |signs: &[char]| -> String {
        let mut line = String::new();
        for &sign in signs {
            match sign {
                // So that a backslash in the data is not taken for a line end.
                sign if sign.is_control() || sign == '\\' => line.extend(sign.escape_default()),
                sign => line.push(sign),
            }
        }
        line
    };
    if signs.len() <= GLANCE {
        escaped(&signs)
    } else if keep_end {
        format!("...{}", escaped(&signs[signs.len() - GLANCE..]))
    } else {
        format!("{}...", escaped(&signs[..GLANCE]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_lengths_that_occur() {
        let lengths = Lengths::of((1..=100).rev());
        assert_eq!(lengths.to_string(), "1/50/95/100");
        assert_eq!(Lengths::of([7].into_iter()).to_string(), "7/7/7/7");
        assert_eq!(Lengths::of([1, 2, 9].into_iter()).to_string(), "1/2/9/9");
    }

    #[test]
    fn a_survey_counts_what_was_cut_and_left_out_and_shows_the_first() {
        let text = |text: &str| Tokenizer::world().encode(text);
        let example = |prompt: &str, completion: &str, line, cut| {
            let mut tokens = text(prompt);
            let read = tokens.len();
            tokens.extend(text(completion));
            let learnt = vec![Range {
                start: read,
                end: tokens.len(),
            }];
            Example {
                tokens,
                learnt,
                line,
                cut,
            }
        };
        let examples = [
            example("user: hi\n\nassistant:", " hello", 1, (0, 0)),
            example("user: é", " x", 2, (1, 0)),
            example("user: x", " y", 5, (1, 1)),
        ];
        let data = |examples: Vec<Example>| Dataset {
            examples,
            blank: 2,
            ..Dataset::default()
        };
        let survey = Survey::of(&data(examples.to_vec()), &Text::default()).unwrap();
        assert_eq!((survey.cut, survey.blank), ((2, 1), 2));
        let shown = survey.to_string();
        assert!(
            shown.contains("first  [[user: hi\\n\\nassistant:]] hello\n"),
            "{shown}"
        );
        assert_eq!(Survey::of(&Dataset::default(), &Text::default()), None);

        // One token, then two a turn, of which the second is learnt.
        let chat = |turns: usize| Example {
            tokens: text("a").repeat(1 + 2 * turns),
            learnt: (1..=turns).map(|turn| 2 * turn..2 * turn + 1).collect(),
            line: 1,
            cut: (0, 0),
        };
        let shown = Survey::of(&data(vec![chat(2)]), &Text::default())
            .unwrap()
            .to_string();
        let lengths = "tokens prompt 3/3/3/3, completion 2/2/2/2, both 5/5/5/5 ";
        assert!(shown.contains(lengths), "{shown}");
        assert!(shown.contains("first  [[aa]]a[[a]]a\n"), "{shown}");
        let shown = Survey::of(&data(vec![chat(6)]), &Text::default())
            .unwrap()
            .to_string();
        assert!(shown.contains("[[a]]a... and 2 turns more\n"), "{shown}");
    }

    #[test]
    fn of_a_long_text_the_part_at_the_border_is_shown() {
        let long = format!("a{}b", "x".repeat(1000));
        assert!(glance(&long, true).starts_with("...x") && glance(&long, true).ends_with("xb"));
        assert!(glance(&long, false).starts_with("ax") && glance(&long, false).ends_with("x..."));
    }
}
