//! Frozen numbers in eight or four bits, block by block.
//!
//! A row is cut into blocks of [`BLOCK`] neighbouring numbers, and each block has a scale, a bf16.
//! A number is
//!
//! ```text
//! int8   scale * code            code in -127..=127      scale = max |w| / 127
//! nf4    scale * LEVELS[code]    code in 0..=15          scale = max |w|
//! ```
//!
//! where the code is the one that comes nearest, given the scale as bf16 has it: rounding the scale
//! then costs int8 nothing and nf4 little. nf4 is QLoRA's type of that name (Dettmers et al. 2023),
//! whose sixteen levels are equally often hit by numbers of a normal distribution; they are
//! bitsandbytes' to the last bit. QLoRA's double quantisation would take its 32-bit scales from
//! half a bit a number to an eighth; bf16 scales take a quarter, and no more code.
//!
//! In memory, for a matrix `[rows, columns]` of `ceil(columns / 64)` blocks a row:
//!
//! ```text
//! codes   [rows, blocks, 64] for int8: byte j of a block is code j, in two's complement
//!         [rows, blocks, 32] for nf4: byte j of a block is code j in its lower half and code 32 + j in its upper half
//! scales  [rows, blocks]     bf16, little-endian
//! ```
//!
//! Both are contiguous. No block reaches over a row's end: a last block that is short is filled up
//! with zeros. Every block begins at a multiple of its size, and numbers 16i to 16i + 15 of a row
//! have one scale and lie in sixteen neighbouring bytes, which is what vectors and the tiles of a
//! GPU want.
//!
//! A number that is not finite as a bf16 has no place in a block, and is an error.

mod cpu;

use std::fmt;
use std::ops::Range;

use candle_core::{Result, bail};
use half::bf16;
use rayon::prelude::*;

use crate::files::Bytes;
use crate::ops::cpu::level::Level;

/// Numbers that share a scale.
pub const BLOCK: usize = 64;

/// What nf4's codes stand for.
pub const LEVELS: [f32; 16] = [
    -1.0,
    -0.696_192_8,
    -0.525_073_05,
    -0.394_917_5,
    -0.284_441_38,
    -0.184_773_43,
    -0.091_050_036,
    0.0,
    0.079_580_3,
    0.160_930_2,
    0.246_112_3,
    0.337_915_24,
    0.440_709_83,
    0.562_617,
    0.722_956_84,
    1.0,
];

/// How many bits a number has, and what they mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Eight bits: the levels are evenly spaced.
    Int8,
    /// Four bits: the levels are [`LEVELS`].
    Nf4,
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Int8 => "int8",
            Self::Nf4 => "nf4",
        })
    }
}

impl Form {
    /// Bytes of a block's codes.
    pub fn size(self) -> usize {
        match self {
            Self::Int8 => BLOCK,
            Self::Nf4 => BLOCK / 2,
        }
    }
}

/// A quantised matrix.
#[derive(Clone, Debug)]
pub struct Quantised {
    form: Form,
    /// Blocks of a row.
    blocks: usize,
    codes: Bytes,
    scales: Bytes,
}

impl Quantised {
    /// Quantises a matrix whose rows `read` puts into the slice that it is given, in parallel.
    pub fn new(
        form: Form,
        [rows, columns]: [usize; 2],
        read: impl Fn(usize, &mut [f32]) + Sync,
    ) -> Result<Self> {
        let (level, blocks) = (Level::current(), columns.div_ceil(BLOCK));
        let mut codes = vec![0; rows * blocks * form.size()];
        let mut scales = vec![0; rows * blocks * size_of::<bf16>()];
        let rows = codes
            .par_chunks_mut(blocks * form.size())
            .zip(scales.par_chunks_mut(blocks * size_of::<bf16>()))
            .enumerate();
        let outcome = rows.try_for_each_init(
            || vec![0.0; blocks * BLOCK],
            |values, (row, (codes, scales))| {
                read(row, &mut values[..columns]);
                match values.iter().position(|&x| !bf16::from_f32(x).is_finite()) {
                    Some(column) => Err((row, column, values[column])),
                    None => {
                        cpu::quantise(level, form, values, codes, scales);
                        Ok(())
                    }
                }
            },
        );
        if let Err((row, column, value)) = outcome {
            bail!(
                "the number in row {row}, column {column} is {value}, which {form} cannot hold; is the file damaged?"
            );
        }
        Ok(Self {
            form,
            blocks,
            codes: codes.into(),
            scales: scales.into(),
        })
    }

    /// What its codes mean.
    pub fn form(&self) -> Form {
        self.form
    }

    /// All codes, as the module's page lays them out.
    pub fn codes(&self) -> &[u8] {
        &self.codes
    }

    /// All scales.
    pub fn scales(&self) -> &[u8] {
        &self.scales
    }

    /// Bytes of memory.
    pub fn bytes(&self) -> usize {
        self.codes.len() + self.scales.len()
    }

    /// Some of its rows, if it has them.
    pub fn some_rows(&self, rows: Range<usize>) -> Option<Self> {
        let of = |bytes: &Bytes, size: usize| {
            let size = self.blocks * size;
            bytes.slice(rows.start * size..rows.end * size)
        };
        Some(Self {
            codes: of(&self.codes, self.form.size())?,
            scales: of(&self.scales, size_of::<bf16>())?,
            ..*self
        })
    }

    /// Some neighbouring numbers of a row, from a multiple of sixteen on.
    #[inline(always)]
    pub fn part(&self, row: usize, columns: Range<usize>) -> QuantisedPart<'_> {
        let (first, end) = (row * self.blocks, (row + 1) * self.blocks);
        let start = first + columns.start / BLOCK;
        QuantisedPart {
            form: self.form,
            codes: &self.codes[start * self.form.size()..end * self.form.size()],
            scales: &self.scales[..end * size_of::<bf16>()].as_chunks().0[start..],
            first: columns.start % BLOCK,
            len: columns.len(),
        }
    }
}

/// Some numbers of a row.
#[derive(Clone, Copy)]
pub struct QuantisedPart<'a> {
    form: Form,
    /// From the block that the first number is in, to the row's end.
    codes: &'a [u8],
    scales: &'a [[u8; 2]],
    /// Where in its block the first number stands: a multiple of sixteen.
    first: usize,
    len: usize,
}

impl QuantisedPart<'_> {
    /// How many numbers.
    pub(crate) fn len(&self) -> usize {
        self.len
    }
}

#[cfg(test)]
mod tests;
