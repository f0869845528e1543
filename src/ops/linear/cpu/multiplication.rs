//! The products on the CPU.
//!
//! W stays where it lies; a chunk of it at a time is packed into panels (`panel.rs`), which all threads then multiply
//! with blocks of rows that stay in a core's cache (Goto and van de Geijn 2008, "Anatomy of High-Performance Matrix
//! Multiplication"). One row alone, which is decoding, is bound by how fast W can be read: its products go straight
//! down W's bytes.

use std::ops::Range;

use candle_core::{DType, Device, Result, Tensor};
use half::bf16;
use rayon::prelude::*;

use super::Matrix;
use super::panel::{Panels, Right, Side};
use super::part::Part;
use super::rows::{Packed, Unit};
use super::tile::{Block, Kernel, NEXT, Place, Tile, WIDTH};
use crate::ops::cpu::level::vectorised;
use crate::ops::cpu::numbers::{narrowed, round};
use crate::ops::cpu::output::{Output, Parts, chunks, prefetch_for_writing};
use crate::ops::cpu::vector::{LANES, Vector, dot};
use crate::ops::tensor;
use crate::tensors::Element;

/// Units of which panels are packed at once, before the next are: a part of a panel of them is 128 KB.
const DEPTH: usize = 1024;
/// Units of panels that are packed at once: 8 MB, which the cores' common cache holds.
const PACKED: usize = 1 << 21;
/// Units of a run of rows that a task multiplies with its panels: half a megabyte.
const BLOCK: usize = 1 << 17;
/// Panels that one task multiplies with its block of rows, at most.
const PANELS: usize = 8;
/// Tasks for each thread, where there is enough to share: threads are not equally fast.
const TASKS: usize = 8;
/// Rows of W that one task of a single row's product takes.
const STRIPE: usize = 64;
/// Numbers of W widened at once for a single row; they stay in registers and L1.
const STRIP: usize = 256;

/// What a product is, beside its two sides.
#[derive(Clone, Copy)]
pub struct Sums<'a> {
    /// `[rows, n]` that the sums are added to.
    pub onto: Option<&'a [f32]>,
    /// What they are stored as: f32 or bf16.
    pub dtype: DType,
}

/// left times W, or W transposed: `[rows, n]`.
pub fn multiply(left: &Packed, w: &Matrix, side: Side, sums: Sums) -> Result<Tensor> {
    let [rows, _] = left.dims();
    let (unit, level) = (left.unit(), left.level());
    let right = Right { w, side, unit };
    let (_, columns) = side.dims(w);
    if rows == 0 {
        return Tensor::zeros((0, columns), sums.dtype, &Device::Cpu);
    }
    if rows == 1 && side == Side::Forward {
        return tensor(single(left, w, sums.onto), (1, columns))?.to_dtype(sums.dtype);
    }
    let kernel = Kernel::of(level, unit);
    // Up to a whole line: rows and panels are zero there.
    let units = left.run();
    let is_wide = sums.dtype == DType::F32;
    let mut wide = Output::new(if is_wide || units > DEPTH {
        rows * columns
    } else {
        0
    });
    let mut narrow = Output::new(if is_wide { 0 } else { rows * columns });
    let product = Multiplication {
        left,
        kernel,
        columns,
        onto: sums.onto,
        wide: wide.parts(),
        narrow: (!is_wide).then(|| narrow.parts()),
        units,
    };
    let height = (BLOCK / units.min(DEPTH))
        .min(rows)
        .next_multiple_of(kernel.height);

    for first in (0..units).step_by(DEPTH) {
        let depth = first..(first + DEPTH).min(units);
        let most = (PACKED / (depth.len() * WIDTH * right.parts())).max(1);
        let all = columns.div_ceil(WIDTH);
        for start in (0..all).step_by(most) {
            let panels = start..(start + most).min(all);
            let packed = Panels::pack(level, right, panels.clone(), depth.clone(), kernel.depth);
            let shares = TASKS * rayon::current_num_threads();
            let group = (panels.len() * rows.div_ceil(height) / shares).clamp(1, PANELS);
            let mut tasks = Vec::new();
            for row in (0..rows).step_by(height) {
                for panel in panels.clone().step_by(group) {
                    let panels = panel..(panel + group).min(panels.end);
                    tasks.push((row..(row + height).min(rows), panels));
                }
            }
            tasks
                .into_par_iter()
                .for_each(|(rows, panels)| product.run(&packed, rows, panels));
        }
    }
    // SAFETY: the tasks' rows and panels are the whole.
    match is_wide {
        true => Tensor::from_vec(unsafe { wide.finish() }, (rows, columns), &Device::Cpu),
        false => Tensor::from_vec(unsafe { narrow.finish() }, (rows, columns), &Device::Cpu),
    }
}

/// What all tasks of a product share.
struct Multiplication<'a> {
    left: &'a Packed,
    kernel: Kernel,
    columns: usize,
    /// Units that are summed over.
    units: usize,
    onto: Option<&'a [f32]>,
    /// Sums in f32, `[rows, columns]`: the output, or what waits for further units; else nothing.
    wide: Parts<'a, f32>,
    /// The output `[rows, columns]` where it is bf16.
    narrow: Option<Parts<'a, bf16>>,
}

impl Multiplication<'_> {
    /// One task: some rows times some panels. A few rows are taken through all panels while they are in the core's first
    /// caches, block of units by block; between blocks their sums wait in `tiles`.
    fn run(&self, packed: &Panels, rows: Range<usize>, panels: Range<usize>) {
        let kernel = self.kernel.start();
        let passes = packed.passes(self.left.unit(), self.left.run());
        let mut tiles = vec![Tile::ZERO; panels.len()];
        for row in rows.clone().step_by(self.kernel.height) {
            let height = self.kernel.height.min(rows.end - row);
            for (block, passes) in packed.blocks().zip(&passes) {
                for (number, (panel, tile)) in panels.clone().zip(&mut tiles).enumerate() {
                    let spot = Spot {
                        row,
                        column: panel * WIDTH,
                        height,
                        width: WIDTH.min(self.columns - panel * WIDTH),
                    };
                    let factors = Block {
                        left: self.units(row, block.start),
                        stride: self.left.stride(),
                        rows: height,
                        k: block.len(),
                        panel: packed.panel(panel, &block),
                        passes,
                        // Each of eight panels fetches its share of the next rows.
                        next: self.units(row + self.kernel.height + number * NEXT, block.start),
                    };
                    let is_last = block.end == packed.units().end;
                    let is_first = block.start == packed.units().start;
                    if is_first {
                        self.copy_start(&spot, block.start, tile);
                    }
                    let waiting = tile.place();
                    let from = match is_first {
                        true => self.start(&spot, block.start, waiting),
                        false => Some(waiting),
                    };
                    let to = match is_last {
                        true => self.end(&spot, block.end, waiting),
                        false => waiting,
                    };
                    // SAFETY: a tile is as high as any kernel; where sums go straight to the output, so is the spot, which
                    // no other task has.
                    unsafe { kernel.run(&factors, from, to) };
                    if is_last {
                        self.finish(&spot, block.end, tile);
                    }
                }
            }
        }
    }

    /// The units of the rows from `row` on, from unit `unit` of that row; past the last row, those of the first.
    fn units(&self, row: usize, unit: usize) -> &[u32] {
        let (units, start) = (self.left.units(), row * self.left.stride() + unit);
        units.get(start..).unwrap_or(units)
    }

    /// Where the sums of the units before `unit` are, if there are any; `waiting` has them unless the spot is whole.
    fn start(&self, spot: &Spot, unit: usize, waiting: Place) -> Option<Place> {
        let before = self.before(spot, unit)?;
        Some(if self.is_whole(spot) { before } else { waiting })
    }

    /// Brings the sums of the units before `unit` to `tile`, if the spot is not whole.
    fn copy_start(&self, spot: &Spot, unit: usize, tile: &mut Tile) {
        let Some(before) = self.before(spot, unit).filter(|_| !self.is_whole(spot)) else {
            return;
        };
        for (i, sums) in tile.0[..spot.height].iter_mut().enumerate() {
            // SAFETY: the spot's rows and columns are there, and nobody writes them meanwhile.
            let before = unsafe {
                std::slice::from_raw_parts(before.start.add(i * before.stride), spot.width)
            };
            sums[..spot.width].copy_from_slice(before);
        }
    }

    /// Where a spot's sums of the units before `unit` are in a whole matrix; only to be read.
    fn before(&self, spot: &Spot, unit: usize) -> Option<Place> {
        match (unit, self.onto) {
            (0, None) => None,
            (0, Some(onto)) => Some(Place {
                start: onto[self.at(spot, 0).start..].as_ptr().cast_mut(),
                stride: self.columns,
            }),
            _ => Some(self.place(spot)),
        }
    }

    /// Where the sums of all units up to `unit` go first: where they belong, if that is so many whole rows of f32.
    fn end(&self, spot: &Spot, unit: usize, waiting: Place) -> Place {
        let narrow = self.narrow.as_ref().filter(|_| unit == self.units);
        for row in 0..spot.height {
            let range = self.at(spot, row);
            match narrow {
                Some(narrow) => prefetch_for_writing(narrow.pointer(range), spot.width),
                None => prefetch_for_writing(self.wide.pointer(range), spot.width),
            }
        }
        match narrow.is_none() && self.is_whole(spot) {
            true => self.place(spot),
            false => waiting,
        }
    }

    /// Brings sums that did not go where they belong there.
    fn finish(&self, spot: &Spot, unit: usize, tile: &Tile) {
        let narrow = self.narrow.as_ref().filter(|_| unit == self.units);
        if narrow.is_none() && self.is_whole(spot) {
            return;
        }
        for (row, sums) in tile.0[..spot.height].iter().enumerate() {
            let (range, sums) = (self.at(spot, row), &sums[..spot.width]);
            // SAFETY: no other task has this spot.
            match narrow {
                Some(narrow) => narrowed(self.left.level(), sums, unsafe { narrow.part(range) }),
                None => {
                    unsafe { self.wide.part(range) }.write_copy_of_slice(sums);
                }
            }
        }
    }

    fn is_whole(&self, spot: &Spot) -> bool {
        spot.height == self.kernel.height && spot.width == WIDTH
    }

    /// A spot's sums in f32.
    fn place(&self, spot: &Spot) -> Place {
        Place {
            start: self.wide.pointer(self.at(spot, 0)),
            stride: self.columns,
        }
    }

    /// Numbers of one row of a spot.
    fn at(&self, spot: &Spot, row: usize) -> Range<usize> {
        let start = (spot.row + row) * self.columns + spot.column;
        start..start + spot.width
    }
}

/// Where a block of sums belongs in the output.
struct Spot {
    row: usize,
    column: usize,
    height: usize,
    width: usize,
}

/// One row times W transposed.
fn single(left: &Packed, w: &Matrix, to: Option<&[f32]>) -> Vec<f32> {
    let (x, level) = (left.numbers(), left.level());
    chunks(w.rows, STRIPE, 0.0, |stripe, out| {
        let first = stripe * STRIPE;
        if let Some(to) = to {
            out.copy_from_slice(&to[first..][..out.len()]);
        }
        stripe_of_single(level, w, first, &x, left.unit(), out);
    })
}

vectorised! {
    /// Some rows of W, from `first` on, times x, added to `out`.
    fn stripe_of_single(
        w: &Matrix,
        first: usize,
        x: &[f32],
        unit: Unit,
        out: &mut [f32],
    ) {
        for (row, out) in (first..).zip(out) {
            *out += dot_row::<V>(w, row, x, unit);
        }
    }
}

/// One row of W times x.
#[inline(always)]
fn dot_row<V: Vector>(w: &Matrix, row: usize, x: &[f32], unit: Unit) -> f32 {
    match w.part(row, 0..w.columns) {
        Part::Stored(Element::Bf16, bytes) => return dot_bf16::<V>(bytes, x),
        Part::Quantised(numbers) if !unit.rounds() => return numbers.dot::<V>(x),
        _ => {}
    }
    let mut strip = [0.0; STRIP];
    let mut sum = 0.0;
    for (first, x) in (0..).step_by(STRIP).zip(x.chunks(STRIP)) {
        let strip = &mut strip[..x.len()];
        w.part(row, first..first + x.len()).widen::<V>(strip);
        if unit.rounds() {
            strip
                .iter_mut()
                .for_each(|x| *x = f32::from_bits(round(*x) << 16));
        }
        sum += dot::<V>(strip, x);
    }
    sum
}

/// The sum of the products of some bf16 and as many f32: widened in registers, since nearly every weight of a model is
/// such a number, and answering waits for nothing else.
#[inline(always)]
fn dot_bf16<V: Vector>(bytes: &[u8], x: &[f32]) -> f32 {
    const SUMS: usize = 4;
    let mut sums = [V::zero(); SUMS];
    let (wide, x_wide) = (
        bytes.chunks_exact(2 * SUMS * LANES),
        x.chunks_exact(SUMS * LANES),
    );
    let (rest, x_rest) = (wide.remainder(), x_wide.remainder());
    for (bytes, x) in wide.zip(x_wide) {
        let lanes = bytes.as_chunks().0.iter().zip(x.as_chunks().0);
        for (sum, (bytes, x)) in sums.iter_mut().zip(lanes) {
            *sum = sum.add_product(V::load_bf16(bytes), V::load_whole(x));
        }
    }
    for (bytes, x) in rest.chunks(2 * LANES).zip(x_rest.chunks(LANES)) {
        let mut numbers = [0.0; LANES];
        Element::Bf16.decode_into(bytes, &mut numbers);
        sums[0] = sums[0].add_product(V::load_whole(&numbers), V::load(x));
    }
    let [a, b, c, d] = sums;
    a.add(b).add(c.add(d)).sum()
}
