//! Activations in main memory: f32, or bf16 that a kernel widens row by row on its way, so that it
//! computes in f32 whatever it reads and writes.

use std::ops::Range;

use candle_core::{DType, Device, Result, Shape, Tensor, bail};
use half::bf16;

use super::bf16::{narrowed, narrowed_inline, widened, widened_inline};
use super::level::Level;
use super::output::{Output, OutputParts, prefetch, prefetch_for_writing};

/// The elements of a contiguous tensor.
#[derive(Clone, Copy)]
pub enum Activations<'a> {
    F32(&'a [f32]),
    Bf16(&'a [bf16]),
}

impl<'a> Activations<'a> {
    /// What they are stored as.
    pub fn dtype(self) -> DType {
        match self {
            Self::F32(_) => DType::F32,
            Self::Bf16(_) => DType::BF16,
        }
    }

    /// How many numbers.
    pub fn len(self) -> usize {
        match self {
            Self::F32(numbers) => numbers.len(),
            Self::Bf16(numbers) => numbers.len(),
        }
    }

    /// Some of them as f32: where they are, or widened into `scratch`.
    #[inline(always)]
    pub fn part<'b>(self, level: Level, range: Range<usize>, scratch: &'b mut [f32]) -> &'b [f32]
    where
        'a: 'b,
    {
        match self {
            Self::F32(numbers) => &numbers[range],
            Self::Bf16(numbers) => {
                let scratch = &mut scratch[..range.len()];
                widened(level, &numbers[range], scratch);
                scratch
            }
        }
    }

    /// As [`Self::part`], where it is compiled along with its caller.
    #[inline(always)]
    pub fn part_inline<'b>(self, range: Range<usize>, scratch: &'b mut [f32]) -> &'b [f32]
    where
        'a: 'b,
    {
        match self {
            Self::F32(numbers) => &numbers[range],
            Self::Bf16(numbers) => {
                let scratch = &mut scratch[..range.len()];
                widened_inline(&numbers[range], scratch);
                scratch
            }
        }
    }

    /// Has the cache fetch some of them.
    #[inline(always)]
    pub fn prefetch(self, range: Range<usize>) {
        match self {
            Self::F32(numbers) => prefetch(&numbers[range]),
            Self::Bf16(numbers) => prefetch(&numbers[range]),
        }
    }

    /// Some of them as f32, into `to`.
    pub fn copy(self, level: Level, range: Range<usize>, to: &mut [f32]) {
        match self {
            Self::F32(numbers) => to.copy_from_slice(&numbers[range]),
            Self::Bf16(numbers) => widened(level, &numbers[range], to),
        }
    }

    /// As [`Self::copy`], where it is compiled along with its caller.
    #[inline(always)]
    pub fn copy_inline(self, range: Range<usize>, to: &mut [f32]) {
        match self {
            Self::F32(numbers) => to.copy_from_slice(&numbers[range]),
            Self::Bf16(numbers) => widened_inline(&numbers[range], to),
        }
    }
}

/// A tensor to be written, as f32 or as bf16.
pub enum ActivationsOutput {
    F32(Output<f32>),
    Bf16(Output<bf16>),
}

impl ActivationsOutput {
    /// `len` numbers of type `dtype`, which is one of the two.
    pub fn new(dtype: DType, len: usize) -> Result<Self> {
        match dtype {
            DType::F32 => Ok(Self::F32(Output::new(len))),
            DType::BF16 => Ok(Self::Bf16(Output::new(len))),
            _ => bail!("an op cannot write {dtype:?} on the CPU"),
        }
    }

    /// The whole, for tasks that write parts of it.
    pub fn parts(&mut self) -> ActivationsParts<'_> {
        match self {
            Self::F32(output) => ActivationsParts::F32(output.parts()),
            Self::Bf16(output) => ActivationsParts::Bf16(output.parts()),
        }
    }

    /// What was written.
    ///
    /// # Safety
    ///
    /// Every number must have been written.
    pub unsafe fn finish(self, shape: &Shape) -> Result<Tensor> {
        match self {
            Self::F32(output) => {
                // SAFETY: the caller has had every number written.
                Tensor::from_vec(unsafe { output.finish() }, shape, &Device::Cpu)
            }
            Self::Bf16(output) => {
                // SAFETY: as above.
                Tensor::from_vec(unsafe { output.finish() }, shape, &Device::Cpu)
            }
        }
    }
}

/// An output that tasks write disjoint parts of.
pub enum ActivationsParts<'a> {
    F32(OutputParts<'a, f32>),
    Bf16(OutputParts<'a, bf16>),
}

impl ActivationsParts<'_> {
    /// Has the cache fetch where `len` numbers from `start` on will be written.
    #[inline(always)]
    pub fn prefetch(&self, start: usize, len: usize) {
        match self {
            Self::F32(parts) => prefetch_for_writing(parts.pointer(start..start + len), len),
            Self::Bf16(parts) => prefetch_for_writing(parts.pointer(start..start + len), len),
        }
    }

    /// Writes `values` from number `start` on.
    ///
    /// # Safety
    ///
    /// No other task may write these numbers meanwhile.
    pub unsafe fn write(&self, level: Level, start: usize, values: &[f32]) {
        let range = start..start + values.len();
        match self {
            Self::F32(parts) => {
                // SAFETY: the caller keeps other tasks away.
                unsafe { parts.part(range) }.write_copy_of_slice(values);
            }
            // SAFETY: as above.
            Self::Bf16(parts) => narrowed(level, values, unsafe { parts.part(range) }),
        }
    }

    /// As [`Self::write`], where it is compiled along with its caller.
    ///
    /// # Safety
    ///
    /// As for [`Self::write`].
    #[inline(always)]
    pub unsafe fn write_inline(&self, start: usize, values: &[f32]) {
        let range = start..start + values.len();
        match self {
            Self::F32(parts) => {
                // SAFETY: the caller keeps other tasks away.
                unsafe { parts.part(range) }.write_copy_of_slice(values);
            }
            // SAFETY: as above.
            Self::Bf16(parts) => narrowed_inline(values, unsafe { parts.part(range) }),
        }
    }
}
