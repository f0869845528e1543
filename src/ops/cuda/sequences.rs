//! Where a batch's sequences begin and end, copied to the GPU; and what all of them give.

use candle_core::{DType, Result, Tensor};

use super::{Grid, constant, gpu, int, launch, output, pointer};
use crate::ops::offsets::{Offsets, Sequences};

/// Rows of a chunk, in which WKV is computed on the tensor cores.
const CHUNK: usize = constant(include_str!("../wkv/strips.cuh"), "CHUNK");

impl Offsets {
    /// On the GPU of `like`.
    pub(crate) fn on_gpu(&self, like: &Tensor) -> Result<&Sequences> {
        if let Some(sequences) = self.on_gpu.get() {
            return Ok(sequences);
        }
        let (chunks, first_chunks) = chunks(self);
        let upload = |numbers: Vec<usize>| {
            let numbers: Vec<i32> = numbers.into_iter().map(|number| number as i32).collect();
            let count = numbers.len();
            Tensor::from_vec(numbers, count, like.device())
        };
        let sequences = Sequences {
            offsets: upload(self.starts.clone())?,
            chunks: upload(chunks.into_iter().flatten().collect())?.reshape(((), 2))?,
            first_chunks: upload(first_chunks)?,
        };
        Ok(self.on_gpu.get_or_init(|| sequences))
    }
}

/// The sum over the first dimension of f32 `[sequences, ...]`: the gradient of what every sequence
/// starts from.
pub fn sum_over_sequences(starts: &Tensor) -> Result<Tensor> {
    let [sequences, rest @ ..] = starts.dims() else {
        unreachable!("a tensor of each sequence's");
    };
    let sums = output(starts, rest, DType::F32)?;
    let count = sums.elem_count();
    let args = [
        pointer(starts)?,
        pointer(&sums)?,
        int(*sequences)?,
        int(count)?,
    ];
    // SAFETY: the kernel's arguments; it writes the sums, which nobody has seen.
    unsafe { launch(gpu(starts)?, "sum_over_sequences", Grid::each(count), &args)? };
    Ok(sums)
}

/// (first row and number of rows of each chunk; the first chunk of each sequence, and how many
/// there are).
fn chunks(offsets: &Offsets) -> (Vec<[usize; 2]>, Vec<usize>) {
    let (mut chunks, mut first) = (Vec::new(), vec![0]);
    for range in offsets.ranges() {
        for start in range.clone().step_by(CHUNK) {
            chunks.push([start, CHUNK.min(range.end - start)]);
        }
        first.push(chunks.len());
    }
    (chunks, first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_never_span_sequences() {
        let offsets = Offsets::from_lengths([1, 64, 130]);
        let want = vec![[0, 1], [1, 64], [65, 64], [129, 64], [193, 2]];
        assert_eq!(chunks(&offsets), (want, vec![0, 1, 2, 5]));
    }
}
