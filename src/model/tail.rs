//! The rows of a batch that the last channel-mix is computed of, where they are not all.
//!
//! Behind the last time-mix nothing looks further back than one row, and only scored rows are
//! asked for: what lies before them, as prompts do, needs neither that half of a block nor its
//! gradient.

use super::Batch;
use crate::ops::Offsets;

/// Of each sequence the row before its first scored one, and all from there on.
pub struct Tail {
    /// Their numbers in the batch, ascending.
    pub rows: Vec<u32>,
    /// Which of them belong to which sequence. The first of each takes the starting shift for the
    /// row before it, which is wrong unless its sequence begins there in the batch, too; otherwise
    /// that row is not scored, and nothing comes of it.
    pub offsets: Offsets,
    /// The scored rows' numbers among them.
    pub scored: Vec<u32>,
}

impl Tail {
    /// That of a batch; `None` where it would be the whole of it.
    pub fn of(batch: &Batch) -> Option<Self> {
        let (mut rows, mut lengths, mut scored) = (Vec::new(), Vec::new(), Vec::new());
        let mut left = &batch.scored[..];
        for sequence in batch.offsets.ranges() {
            let (start, end) = (sequence.start as u32, sequence.end as u32);
            let (own, others) = left.split_at(left.partition_point(|&row| row < end));
            left = others;
            let Some(first) = own.first() else { continue };
            let from = start.max(first.saturating_sub(1));
            let before = rows.len() as u32;
            scored.extend(own.iter().map(|row| row - from + before));
            rows.extend(from..end);
            lengths.push((end - from) as usize);
        }
        (rows.len() < batch.tokens.len()).then(|| Self {
            rows,
            offsets: Offsets::from_lengths(lengths),
            scored,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::ops::Range;

    use super::*;
    use crate::model::{FirstRow, Sequence};

    #[test]
    fn a_tail_begins_one_row_before_what_is_scored() {
        let sequence = |tokens, scored| Sequence { tokens, scored };
        let batch = Batch::pack(
            [
                sequence(&[1, 2, 3, 4, 5, 6], &[4..5, 5..6]),
                sequence(&[1, 2, 3], &[]),
                sequence(&[1, 2, 3, 4, 5], &[2..3, 4..5]),
                sequence(&[1, 2], &[Range { start: 1, end: 2 }]),
            ],
            FirstRow::Token,
        );
        assert_eq!(batch.scored, [3, 4, 8, 10, 11]);
        let tail = Tail::of(&batch).unwrap();
        assert_eq!(tail.rows, [2, 3, 4, 7, 8, 9, 10, 11]);
        assert_eq!(tail.offsets, Offsets::from_lengths([3, 4, 1]));
        assert_eq!(tail.scored, [1, 2, 4, 6, 7]);

        let whole = Batch::pack([sequence(&[1, 2, 3], &[1..2, 2..3])], FirstRow::Token);
        assert!(Tail::of(&whole).is_none(), "nothing is left out");
    }
}
