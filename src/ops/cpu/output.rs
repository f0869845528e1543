//! Memory that an op writes its output to.
//!
//! To zero an output first would be to write all of it once more than needed, by one thread while
//! the others wait. Here each task gets its part uninitialised, and either writes it as such or has
//! it [`cleared`] in its own core's cache.

use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ops::Range;

use rayon::prelude::*;

/// Bytes of a cache line.
#[cfg(target_arch = "x86_64")]
const LINE: usize = 64;

/// Rows of `width` numbers, `height` of them in parallel at a time: `piece` begins some of them and
/// returns what fills the next one, which is handed out as zeros.
pub fn rows<F: FnMut(usize, &mut [f32])>(
    len: usize,
    width: usize,
    height: usize,
    piece: impl Fn(usize) -> F + Sync,
) -> Vec<f32> {
    let mut out = Output::new(len);
    out.memory()
        .par_chunks_mut(width * height)
        .enumerate()
        .for_each(|(i, chunk)| {
            let first = i * height;
            let mut fill = piece(first);
            for (row, out) in (first..).zip(chunk.chunks_mut(width)) {
                fill(row, cleared(out, 0.0));
            }
        });
    // SAFETY: the rows are the whole, and each was cleared.
    unsafe { out.finish() }
}

/// `zero` everywhere in a part.
#[inline(always)]
pub fn cleared<T: Copy>(part: &mut [MaybeUninit<T>], zero: T) -> &mut [T] {
    part.fill(MaybeUninit::new(zero));
    // SAFETY: every element was just written.
    unsafe { part.assume_init_mut() }
}

/// Has the cache lines of `len` numbers ready to be written.
#[inline(always)]
pub fn prefetch_for_writing<T>(start: *mut T, len: usize) {
    // In assembly, since the compiler's intrinsic becomes an ordinary prefetch unless the program
    // is compiled for processors that have this instruction. Others ignore it.
    #[cfg(target_arch = "x86_64")]
    for at in (0..len * size_of::<T>()).step_by(LINE) {
        let address = start.cast::<u8>().wrapping_add(at);
        // SAFETY: a hint, whatever the address.
        unsafe {
            std::arch::asm!(
                "prefetchw [{}]",
                in(reg) address,
                options(nostack, preserves_flags, readonly)
            );
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (start, len);
}

/// Has the cache fetch some numbers.
#[inline(always)]
pub fn prefetch<T>(numbers: &[T]) {
    prefetch_bytes(numbers.as_ptr().cast(), size_of_val(numbers));
}

/// Has the cache fetch `len` bytes, wherever they are.
#[inline(always)]
pub fn prefetch_bytes(start: *const u8, len: usize) {
    #[cfg(target_arch = "x86_64")]
    for at in (0..len).step_by(LINE) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a hint, whatever the address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(start.cast::<i8>().wrapping_add(at)) }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (start, len);
}

/// Numbers as memory that may be written.
///
/// # Safety
///
/// No element may be left uninitialised when the borrow ends.
#[inline(always)]
pub unsafe fn uncleared<T: Copy>(numbers: &mut [T]) -> &mut [MaybeUninit<T>] {
    // SAFETY: the layout is the same, and the caller leaves no element uninitialised.
    unsafe { std::slice::from_raw_parts_mut(numbers.as_mut_ptr().cast(), numbers.len()) }
}

/// A vector to be written.
pub struct Output<T> {
    data: Vec<T>,
    len: usize,
}

impl<T> Output<T> {
    /// Memory for `len` elements, none of them written.
    pub fn new(len: usize) -> Self {
        Self {
            data: Vec::with_capacity(len),
            len,
        }
    }

    /// All of it, to be written.
    pub fn memory(&mut self) -> &mut [MaybeUninit<T>] {
        &mut self.data.spare_capacity_mut()[..self.len]
    }

    /// The same, for tasks whose parts are not chunks of it.
    pub fn parts(&mut self) -> OutputParts<'_, T> {
        OutputParts::of(self.memory())
    }

    /// What was written.
    ///
    /// # Safety
    ///
    /// Every element must have been written.
    pub unsafe fn finish(mut self) -> Vec<T> {
        // SAFETY: the vector has this capacity, and the caller has had all of it written.
        unsafe { self.data.set_len(self.len) };
        self.data
    }
}

/// An output that tasks write disjoint parts of.
pub struct OutputParts<'a, T = f32> {
    start: *mut MaybeUninit<T>,
    len: usize,
    whole: PhantomData<&'a mut [MaybeUninit<T>]>,
}

// SAFETY: only `part` and `pointer` give access, and their callers keep what they write apart.
unsafe impl<T: Send> Send for OutputParts<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for OutputParts<'_, T> {}

impl<'a, T> OutputParts<'a, T> {
    /// Of memory that is to be written.
    pub fn of(memory: &'a mut [MaybeUninit<T>]) -> Self {
        Self {
            start: memory.as_mut_ptr(),
            len: memory.len(),
            whole: PhantomData,
        }
    }

    /// Where a part begins.
    #[inline(always)]
    pub fn pointer(&self, range: Range<usize>) -> *mut T {
        assert!(range.start <= range.end && range.end <= self.len);
        // SAFETY: inside the output by the assert.
        unsafe { self.start.add(range.start) }.cast()
    }

    /// One part, to be written.
    ///
    /// # Safety
    ///
    /// No part that overlaps it may be used while it lives.
    #[inline(always)]
    #[expect(clippy::mut_from_ref, reason = "the caller keeps parts apart")]
    pub unsafe fn part(&self, range: Range<usize>) -> &mut [MaybeUninit<T>] {
        assert!(range.start <= range.end && range.end <= self.len);
        // SAFETY: inside the output by the assert, and the caller keeps parts apart.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(range.start), range.len()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_out_of_order_make_a_whole() {
        let mut out = Output::new(10);
        let parts = out.parts();
        for range in [6..10, 0..1, 1..6] {
            // SAFETY: the last part is gone when the next is asked for.
            let part = unsafe { parts.part(range.clone()) };
            for (x, at) in cleared(part, 0.0).iter_mut().zip(range) {
                *x = at as f32;
            }
        }
        // SAFETY: the parts are the whole.
        let got = unsafe { out.finish() };
        assert_eq!(got, (0..10).map(|x| x as f32).collect::<Vec<_>>());
    }
}
