//! Where each sequence lies in a flat batch.

use std::ops::Range;
use std::sync::OnceLock;

use candle_core::Tensor;

/// Where each sequence lies in a flat batch: sequence `i` is the rows `offsets[i]..offsets[i + 1]`,
/// never empty.
#[derive(Clone, Debug)]
pub struct Offsets {
    /// Where each begins, and where the last one ends.
    pub(super) starts: Vec<usize>,
    pub(super) on_gpu: OnceLock<Sequences>,
}

impl Eq for Offsets {}

impl PartialEq for Offsets {
    fn eq(&self, other: &Self) -> bool {
        self.starts == other.starts
    }
}

impl Offsets {
    /// Offsets of sequences with these lengths, one after another. A length of 0 makes no sequence.
    pub fn from_lengths(lengths: impl IntoIterator<Item = usize>) -> Self {
        let mut offsets = vec![0];
        for length in lengths.into_iter().filter(|&length| length > 0) {
            offsets.push(offsets[offsets.len() - 1] + length);
        }
        Self {
            starts: offsets,
            on_gpu: OnceLock::new(),
        }
    }

    /// The number of rows of all sequences together.
    pub fn rows(&self) -> usize {
        self.starts[self.sequences()]
    }

    /// The number of sequences.
    pub fn sequences(&self) -> usize {
        self.starts.len() - 1
    }

    /// The row range of each sequence, in order.
    pub fn ranges(&self) -> impl ExactSizeIterator<Item = Range<usize>> + '_ {
        self.starts.windows(2).map(|pair| pair[0]..pair[1])
    }

    /// The first row of each sequence, in order.
    pub fn starts(&self) -> &[usize] {
        &self.starts[..self.sequences()]
    }

    /// Whether `row` is the first of a sequence.
    pub fn is_start(&self, row: usize) -> bool {
        self.starts().binary_search(&row).is_ok()
    }
}

/// What kernels need to know of a batch's sequences, on the GPU: copied there once.
#[derive(Clone, Debug)]
pub struct Sequences {
    /// `[sequences + 1]`: where each begins, and where the last one ends.
    pub offsets: Tensor,
    /// `[chunks, 2]`: the first row of each run of up to `CHUNK` rows of one sequence, and how many
    /// they are.
    pub chunks: Tensor,
    /// `[sequences + 1]`: the first chunk of each sequence, and how many there are.
    pub first_chunks: Tensor,
}
