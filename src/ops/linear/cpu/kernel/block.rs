//! What a kernel multiplies, and where its sums are.

use std::ops::Range;

/// Columns of a panel.
pub const WIDTH: usize = 32;
/// Rows that any kernel takes at most.
pub const HEIGHT: usize = 32;
/// Units of f32 that are summed one after another; such sums are then added to a total. Of longer
/// chains rounding grows (docs/ACCURACY.md), shorter ones cost time.
pub const CHAIN: usize = 32;
/// Pairs of bf16 are summed to the end: totals cost time there, and brought losses no nearer to f32's.
pub const NO_CHAIN: usize = usize::MAX;
/// Rows of [`Factors::next`].
pub const NEXT: usize = 4;

/// The factors of one block of sums, which run over every pass, in order; tiles take the passes of one
/// part of the panel together.
pub struct Factors<'a> {
    /// Rows of units, `stride` apart.
    pub left: &'a [u32],
    pub stride: usize,
    pub rows: usize,
    /// Units of a pass: a multiple of 16.
    pub k: usize,
    /// `[k, WIDTH]` units for each part of the panel.
    pub panel: &'a [u32],
    /// Passes with the same part of the panel follow one another, each as far before the next one's
    /// units of a row.
    pub passes: &'a [Pass],
    /// A few rows that will be needed next, as far apart as these: a kernel may have the cache
    /// fetch their units.
    pub next: &'a [u32],
}

impl Factors<'_> {
    /// The units of every pass, in order, in runs of `chain`.
    pub fn chains(&self, chain: usize) -> impl Iterator<Item = (Pass, Range<usize>)> {
        let starts = (0..self.k).step_by(chain);
        let units = starts.map(move |start| start..self.k.min(start.saturating_add(chain)));
        self.passes
            .iter()
            .flat_map(move |pass| units.clone().map(|units| (*pass, units)))
    }
}

/// Which units of the rows meet which of the panel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Pass {
    /// Units from a row's start.
    pub left: usize,
    /// Units from the panel's start.
    pub panel: usize,
}

/// A block of sums, while they are not where they belong.
#[derive(Clone)]
#[repr(C, align(64))]
pub struct SumBlock(pub [[f32; WIDTH]; HEIGHT]);

impl SumBlock {
    /// No sums yet.
    pub const ZERO: Self = Self([[0.0; WIDTH]; HEIGHT]);

    /// Where the block is.
    pub fn place(&mut self) -> Place {
        Place {
            start: self.0.as_mut_ptr().cast(),
            stride: WIDTH,
        }
    }
}

/// Where a block of sums is: in each row of it [`WIDTH`] floats, `stride` from the row before.
#[derive(Clone, Copy)]
pub struct Place {
    pub start: *mut f32,
    pub stride: usize,
}
