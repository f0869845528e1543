//! Examples laid flat: all their tokens in one row of numbers, and where each begins.

use std::ops::Range;

use super::Example;
use crate::ops::Offsets;

/// What one forward and backward pass runs over. Sequences stand one after another without padding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// For each row its token, or `None` for the soft prompt.
    pub tokens: Vec<Option<u32>>,
    /// Which rows belong to which sequence.
    pub offsets: Offsets,
    /// The rows that predict a completion token, ascending.
    pub scored: Vec<u32>,
    /// For each scored row, the token it should predict.
    pub targets: Vec<u32>,
}

impl Batch {
    /// Packs examples, each behind a soft prompt's row if there is one. A last token predicts nothing and is left out.
    pub fn pack<'a>(examples: impl IntoIterator<Item = &'a Example>, soft_prompt: bool) -> Self {
        let (mut tokens, mut lengths) = (Vec::new(), Vec::new());
        let (mut scored, mut targets) = (Vec::new(), Vec::new());
        for example in examples {
            let first_row = tokens.len();
            tokens.extend(soft_prompt.then_some(None));
            tokens.extend(
                example.tokens[..example.tokens.len() - 1]
                    .iter()
                    .copied()
                    .map(Some),
            );
            lengths.push(tokens.len() - first_row);

            // Token t is predicted by the row before its own; without a soft prompt the first token has none.
            let lead = usize::from(soft_prompt);
            for part in &example.learnt {
                let first = (part.start + lead).max(1) - lead;
                scored.extend((first..part.end).map(|t| (first_row + t + lead - 1) as u32));
                targets.extend_from_slice(&example.tokens[first..part.end]);
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

/// Cuts a batch, given the rows of its examples, at their borders into as few runs as hold at most `most` rows each.
/// An example that is longer by itself makes a run of its own.
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

    fn example(prompt: &[u32], completion: &[u32]) -> Example {
        Example {
            tokens: [prompt, completion].concat(),
            learnt: vec![Range {
                start: prompt.len(),
                end: prompt.len() + completion.len(),
            }],
            line: 1,
            cut: (0, 0),
        }
    }

    #[test]
    fn every_learnt_part_is_predicted_by_the_row_before_it() {
        let chat = Example {
            tokens: vec![1, 2, 3, 4, 5, 6, 7],
            learnt: vec![0..1, 2..4, 6..7],
            line: 1,
            cut: (0, 0),
        };
        let batch = Batch::pack(&[example(&[8], &[9]), chat.clone()], true);
        assert_eq!(batch.scored, [1, 2, 4, 5, 8]);
        assert_eq!(batch.targets, [9, 1, 3, 4, 7]);
        let batch = Batch::pack([&chat], false);
        assert_eq!(batch.tokens.len(), 6);
        assert_eq!(batch.scored, [1, 2, 5], "nothing stands before the first");
        assert_eq!(batch.targets, [3, 4, 7]);
        for soft_prompt in [true, false] {
            let count = Batch::pack([&chat], soft_prompt).targets.len();
            assert_eq!(chat.scored(soft_prompt), count);
        }
    }

    #[test]
    fn a_soft_prompt_leads_and_predicts() {
        let batch = Batch::pack(&[example(&[1, 2], &[3, 4]), example(&[], &[5, 6])], true);
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
        let batch = Batch::pack(&[example(&[1, 2], &[3, 4]), example(&[], &[5, 6])], false);
        assert_eq!(batch.tokens, [Some(1), Some(2), Some(3), Some(5)]);
        assert_eq!(batch.offsets, Offsets::from_lengths([3, 1]));
        assert_eq!(batch.scored, [1, 2, 3]);
        assert_eq!(batch.targets, [3, 4, 6]);
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
