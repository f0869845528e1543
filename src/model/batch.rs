//! Sequences laid flat: all their tokens in one row of numbers, and where each begins.

use std::ops::Range;

use crate::ops::Offsets;

/// A text as tokens, and which of them the model is to predict.
#[derive(Clone, Copy, Debug)]
pub struct Sequence<'a> {
    /// At least one.
    pub tokens: &'a [u32],
    /// The tokens whose prediction is scored, as ascending ranges of `tokens`; the last one ends
    /// where the tokens do.
    pub scored: &'a [Range<usize>],
}

/// What the first row of each sequence is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FirstRow {
    /// The soft prompt, which predicts the first token.
    SoftPrompt,
    /// The first token, which nothing predicts.
    Token,
}

impl FirstRow {
    /// Rows before the first token's.
    fn before_tokens(self) -> usize {
        match self {
            Self::SoftPrompt => 1,
            Self::Token => 0,
        }
    }
}

impl<'a> Sequence<'a> {
    /// Rows that the model computes for it: the soft prompt's, and one for each token but the last,
    /// which predicts nothing.
    pub fn rows(&self, first_row: FirstRow) -> usize {
        self.tokens.len() - 1 + first_row.before_tokens()
    }

    /// How many predictions are scored: the tokens in `scored`, without the sequence's first token if
    /// there is no soft prompt to predict it.
    pub fn targets(&self, first_row: FirstRow) -> usize {
        self.predicted(first_row).map(|part| part.len()).sum()
    }

    /// `scored`, without a token that no row predicts.
    fn predicted(self, first_row: FirstRow) -> impl Iterator<Item = Range<usize>> + 'a {
        let unpredicted = 1 - first_row.before_tokens();
        let parts = self.scored.iter();
        parts.map(move |part| part.start.max(unpredicted)..part.end)
    }
}

/// What one forward and backward pass runs over. Sequences stand one after another without padding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// For each row its token, or `None` for the soft prompt.
    pub tokens: Vec<Option<u32>>,
    /// Which rows belong to which sequence.
    pub offsets: Offsets,
    /// The rows whose prediction is scored, ascending.
    pub scored: Vec<u32>,
    /// For each scored row, the token it should predict.
    pub targets: Vec<u32>,
}

impl Batch {
    /// Packs sequences. A last token predicts nothing and is left out.
    pub fn pack<'a>(
        sequences: impl IntoIterator<Item: Into<Sequence<'a>>>,
        first_row: FirstRow,
    ) -> Self {
        let before = first_row.before_tokens();
        let (mut tokens, mut lengths) = (Vec::new(), Vec::new());
        let (mut scored, mut targets) = (Vec::new(), Vec::new());
        for sequence in sequences {
            let sequence: Sequence = sequence.into();
            let start = tokens.len();
            let read = &sequence.tokens[..sequence.tokens.len() - 1];
            tokens.extend(std::iter::repeat_n(None, before));
            tokens.extend(read.iter().copied().map(Some));
            lengths.push(tokens.len() - start);
            // Token t is predicted by the row before its own.
            for part in sequence.predicted(first_row) {
                targets.extend_from_slice(&sequence.tokens[part.clone()]);
                scored.extend(part.map(|t| (start + before + t - 1) as u32));
            }
        }
        Self {
            tokens,
            offsets: Offsets::from_lengths(lengths),
            scored,
            targets,
        }
    }
}

/// Cuts a batch, given the rows of its sequences, at their borders into as few runs as hold at most
/// `most` rows each. A sequence that is longer by itself makes a run of its own.
pub fn split(rows: &[usize], most: usize) -> Vec<Range<usize>> {
    let (mut runs, mut start, mut sum) = (Vec::new(), 0, 0usize);
    for (i, &rows) in rows.iter().enumerate() {
        if i > start && sum.saturating_add(rows) > most {
            runs.push(start..i);
            (start, sum) = (i, 0);
        }
        sum = sum.saturating_add(rows);
    }
    runs.push(start..rows.len());
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHAT: Sequence = Sequence {
        tokens: &[1, 2, 3, 4, 5, 6, 7],
        scored: &[0..1, 2..4, 6..7],
    };
    const PROMPT_AND_ANSWER: Sequence = Sequence {
        tokens: &[1, 2, 3, 4],
        scored: &[Range { start: 2, end: 4 }],
    };
    const ANSWER_ALONE: Sequence = Sequence {
        tokens: &[5, 6],
        scored: &[Range { start: 0, end: 2 }],
    };

    #[test]
    fn every_scored_part_is_predicted_by_the_row_before_it() {
        let other = Sequence {
            tokens: &[8, 9],
            scored: &[Range { start: 1, end: 2 }],
        };
        let batch = Batch::pack([other, CHAT], FirstRow::SoftPrompt);
        assert_eq!(batch.scored, [1, 2, 4, 5, 8]);
        assert_eq!(batch.targets, [9, 1, 3, 4, 7]);
        let batch = Batch::pack([CHAT], FirstRow::Token);
        assert_eq!(batch.tokens.len(), 6);
        assert_eq!(batch.scored, [1, 2, 5], "nothing stands before the first");
        assert_eq!(batch.targets, [3, 4, 7]);
        for first_row in [FirstRow::SoftPrompt, FirstRow::Token] {
            let batch = Batch::pack([CHAT], first_row);
            assert_eq!(CHAT.targets(first_row), batch.targets.len());
            assert_eq!(CHAT.rows(first_row), batch.tokens.len());
        }
    }

    #[test]
    fn a_soft_prompt_leads_and_predicts() {
        let batch = Batch::pack([PROMPT_AND_ANSWER, ANSWER_ALONE], FirstRow::SoftPrompt);
        assert_eq!(
            batch.tokens,
            [None, Some(1), Some(2), Some(3), None, Some(5)]
        );
        assert_eq!(batch.offsets, Offsets::from_lengths([4, 2]));
        assert_eq!(batch.scored, [2, 3, 4, 5]);
        assert_eq!(batch.targets, [3, 4, 5, 6]);
    }

    #[test]
    fn without_one_the_first_token_of_an_empty_prompt_is_not_scored() {
        let batch = Batch::pack([PROMPT_AND_ANSWER, ANSWER_ALONE], FirstRow::Token);
        assert_eq!(batch.tokens, [Some(1), Some(2), Some(3), Some(5)]);
        assert_eq!(batch.offsets, Offsets::from_lengths([3, 1]));
        assert_eq!(batch.scored, [1, 2, 3]);
        assert_eq!(batch.targets, [3, 4, 6]);
    }

    #[test]
    fn a_lone_token_is_scored_only_after_a_soft_prompt() {
        let lone = Sequence {
            tokens: &[5],
            scored: &[Range { start: 0, end: 1 }],
        };
        let counts = |first_row| (lone.targets(first_row), lone.rows(first_row));
        assert_eq!(counts(FirstRow::SoftPrompt), (1, 1));
        assert_eq!(counts(FirstRow::Token), (0, 0));
    }

    #[test]
    fn runs_hold_what_they_may_and_lose_nothing() {
        let whole = |n: usize| vec![Range { start: 0, end: n }];
        assert_eq!(split(&[3, 3, 3], 9), whole(3));
        assert_eq!(split(&[3, 3, 3], 8), [0..2, 2..3]);
        assert_eq!(split(&[9, 1, 1, 9], 4), [0..1, 1..3, 3..4]);
        assert_eq!(split(&[5], 1), whole(1));
    }
}
