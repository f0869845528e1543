//! Activations in main memory: f32, or bf16 that a kernel widens row by row on its way, so that it computes in f32
//! whatever it reads and writes.

use std::mem::MaybeUninit;
use std::ops::{Deref, Range};

use candle_core::{CpuStorage, DType, Device, Result, Shape, Storage, Tensor, bail};
use half::bf16;

use super::level::{Level, vectorised};
use super::output::{self, prefetch_for_writing};

/// The elements of a contiguous tensor.
#[derive(Clone, Copy)]
pub enum Numbers<'a> {
    F32(&'a [f32]),
    Bf16(&'a [bf16]),
}

impl<'a> Numbers<'a> {
    pub fn len(self) -> usize {
        match self {
            Self::F32(numbers) => numbers.len(),
            Self::Bf16(numbers) => numbers.len(),
        }
    }

    /// Some of them as f32: where they are, or widened into `room`.
    #[inline(always)]
    pub fn part<'b>(self, level: Level, range: Range<usize>, room: &'b mut [f32]) -> &'b [f32]
    where
        'a: 'b,
    {
        match self {
            Self::F32(numbers) => &numbers[range],
            Self::Bf16(numbers) => {
                let room = &mut room[..range.len()];
                widened(level, &numbers[range], room);
                room
            }
        }
    }

    /// Has the cache fetch some of them.
    #[inline(always)]
    pub fn prefetch(self, range: Range<usize>) {
        match self {
            Self::F32(numbers) => output::prefetch(&numbers[range]),
            Self::Bf16(numbers) => output::prefetch(&numbers[range]),
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

vectorised! {
    fn widened(from: &[bf16], to: &mut [f32]) {
        widened_inline(from, to);
    }
}

#[inline(always)]
fn widened_inline(from: &[bf16], to: &mut [f32]) {
    assert_eq!(from.len(), to.len());
    for (to, from) in to.iter_mut().zip(from) {
        *to = f32::from_bits(u32::from(from.to_bits()) << 16);
    }
}

/// Each number rounded to the nearest bf16; `to` is filled.
pub fn narrowed(level: Level, from: &[f32], to: &mut [MaybeUninit<bf16>]) {
    #[cfg(target_arch = "x86_64")]
    if level.has_bf16() {
        // SAFETY: the level has the instructions.
        return unsafe { narrowed_by_instruction(from, to) };
    }
    vector_narrowed(level, from, to);
}

vectorised! {
    fn vector_narrowed(from: &[f32], to: &mut [MaybeUninit<bf16>]) {
        narrowed_inline(from, to);
    }
}

#[inline(always)]
fn narrowed_inline(from: &[f32], to: &mut [MaybeUninit<bf16>]) {
    assert_eq!(from.len(), to.len());
    for (to, from) in to.iter_mut().zip(from) {
        to.write(bf16::from_bits(round(*from) as u16));
    }
}

/// By the processor's own instruction, which makes zeros of numbers below f32's normal ones, but for the last few.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bf16")]
unsafe fn narrowed_by_instruction(from: &[f32], to: &mut [MaybeUninit<bf16>]) {
    use std::arch::x86_64::*;
    use std::mem::transmute;
    const WHOLE: usize = 32;
    assert_eq!(from.len(), to.len());
    let (whole, rest) = to.as_chunks_mut::<WHOLE>();
    let (numbers, others) = from.as_chunks::<WHOLE>();
    for (to, from) in whole.iter_mut().zip(numbers) {
        // SAFETY: 32 numbers are read, and as many written; all of 512 bits is one type for another.
        unsafe {
            let low = _mm512_loadu_ps(from.as_ptr());
            let high = _mm512_loadu_ps(from.as_ptr().add(WHOLE / 2));
            let rounded = transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(high, low));
            _mm512_storeu_si512(to.as_mut_ptr().cast(), rounded);
        }
    }
    narrowed_inline(others, rest);
}

/// The bits of the nearest bf16, ties to even; NaN stays NaN. Without branches, so that loops over it vectorise.
#[inline(always)]
pub fn round(value: f32) -> u32 {
    let bits = value.to_bits();
    let rounded = (bits.wrapping_add(0x7fff + (bits >> 16 & 1))) >> 16;
    if value.is_nan() {
        bits >> 16 | 0x40
    } else {
        rounded
    }
}

/// A tensor to be written, as f32 or as bf16.
pub enum Output {
    F32(output::Output<f32>),
    Bf16(output::Output<bf16>),
}

impl Output {
    /// `len` numbers of type `dtype`, which is one of the two.
    pub fn new(dtype: DType, len: usize) -> Result<Self> {
        match dtype {
            DType::F32 => Ok(Self::F32(output::Output::new(len))),
            DType::BF16 => Ok(Self::Bf16(output::Output::new(len))),
            _ => bail!("an op cannot write {dtype:?} on the CPU"),
        }
    }

    /// The whole, for tasks that write parts of it.
    pub fn parts(&mut self) -> Parts<'_> {
        match self {
            Self::F32(output) => Parts::F32(output.parts()),
            Self::Bf16(output) => Parts::Bf16(output.parts()),
        }
    }

    /// What was written.
    ///
    /// # Safety
    ///
    /// Every number was.
    pub unsafe fn finish(self, shape: &Shape) -> Result<Tensor> {
        // SAFETY: the caller says so.
        match self {
            Self::F32(output) => Tensor::from_vec(unsafe { output.finish() }, shape, &Device::Cpu),
            Self::Bf16(output) => Tensor::from_vec(unsafe { output.finish() }, shape, &Device::Cpu),
        }
    }
}

/// An output that tasks write disjoint parts of.
pub enum Parts<'a> {
    F32(output::Parts<'a, f32>),
    Bf16(output::Parts<'a, bf16>),
}

impl Parts<'_> {
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
    /// Nobody else writes these numbers meanwhile.
    pub unsafe fn write(&self, level: Level, start: usize, values: &[f32]) {
        let range = start..start + values.len();
        match self {
            Self::F32(parts) => {
                // SAFETY: the caller says so.
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
    /// As there.
    #[inline(always)]
    pub unsafe fn write_inline(&self, start: usize, values: &[f32]) {
        let range = start..start + values.len();
        match self {
            Self::F32(parts) => {
                // SAFETY: the caller says so.
                unsafe { parts.part(range) }.write_copy_of_slice(values);
            }
            // SAFETY: as above.
            Self::Bf16(parts) => narrowed_inline(values, unsafe { parts.part(range) }),
        }
    }
}

/// A tensor's elements, borrowed for as long as this lives.
pub struct Borrowed<G> {
    storage: G,
    range: Range<usize>,
}

impl<G: Deref<Target = Storage>> Borrowed<G> {
    pub fn get(&self) -> Numbers<'_> {
        let range = self.range.clone();
        match &*self.storage {
            Storage::Cpu(CpuStorage::F32(numbers)) => Numbers::F32(&numbers[range]),
            Storage::Cpu(CpuStorage::BF16(numbers)) => Numbers::Bf16(&numbers[range]),
            _ => unreachable!("`numbers` lets no other storage in"),
        }
    }
}

/// Borrows a tensor's elements. Errors when it is neither f32 nor bf16, not on the CPU or not contiguous.
pub fn numbers(tensor: &Tensor) -> Result<Borrowed<impl Deref<Target = Storage>>> {
    let (storage, layout) = tensor.storage_and_layout();
    let Some((start, end)) = layout.contiguous_offsets() else {
        bail!(
            "an op got a tensor of shape {:?} that is not contiguous",
            tensor.shape()
        );
    };
    if !matches!(
        &*storage,
        Storage::Cpu(CpuStorage::F32(_) | CpuStorage::BF16(_))
    ) {
        bail!(
            "an op got a {:?} tensor on {:?}, neither f32 nor bf16 on the CPU",
            tensor.dtype(),
            tensor.device().location()
        );
    }
    Ok(Borrowed {
        storage,
        range: start..end,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_is_that_of_half() {
        let odd = [
            f32::NAN,
            f32::INFINITY,
            -0.0,
            1e-45,
            f32::MAX,
            1.003_906_2,
            1.011_718_8,
        ];
        let many = (0..20_000u32).map(|i| f32::from_bits(i.wrapping_mul(214_013)));
        for value in odd.into_iter().chain(many) {
            let want = bf16::from_f32(value);
            let got = bf16::from_bits(round(value) as u16);
            assert!(got == want || got.is_nan() && want.is_nan(), "{value}");
        }
    }
}
