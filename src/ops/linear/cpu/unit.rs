//! Rows of activations as a product takes them.
//!
//! A row is a run of 32-bit *units* along the summed dimension: one f32, or two neighbouring bf16 where the processor
//! multiplies pairs of them. That is the one thing in which product types differ; the loops over tiles and panels are
//! the same. Rows begin at cache lines and are zero up to their end.
//!
//! Where bf16 is multiplied many times faster than f32, an f32 goes as the sum of three bf16: it has 24 bits, and each of
//! them eight. A row is then three runs, one for each part.

use std::mem::MaybeUninit;
use std::ops::Range;

use candle_core::{Result, Tensor};
use half::bf16;
use rayon::prelude::*;

use super::Product;
use super::tile::HEIGHT;
use crate::ops::cpu::level::{Level, vectorised};
use crate::ops::cpu::numbers::{narrowed, numbers, round};
use crate::ops::cpu::output::{Output, Parts, cleared, prefetch_for_writing};

/// Units in a cache line, and in a step of the widest kernel.
pub const LINE: usize = 16;
/// Rows filled by one task.
const PIECE: usize = 32;

/// What a unit holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// One f32.
    F32,
    /// One f32 with a bf16's value, where no instruction multiplies pairs.
    Rounded,
    /// Two bf16, the first in the low half.
    Pair,
    /// The same, of each of the [`PARTS`] that an f32 is the sum of.
    Split,
}

/// bf16 numbers that an f32 is the sum of.
pub const PARTS: usize = 3;

impl Unit {
    pub fn of(product: Product, level: Level) -> Self {
        match product {
            Product::F32 if level == Level::Amx => Self::Split,
            Product::F32 => Self::F32,
            Product::Bf16 if level.has_bf16() => Self::Pair,
            Product::Bf16 => Self::Rounded,
        }
    }

    /// Numbers in one unit.
    pub fn numbers(self) -> usize {
        match self {
            Self::F32 | Self::Rounded => 1,
            Self::Pair | Self::Split => 2,
        }
    }

    /// Runs of units that a row is.
    pub fn runs(self) -> usize {
        match self {
            Self::F32 | Self::Rounded | Self::Pair => 1,
            Self::Split => PARTS,
        }
    }

    /// Whether numbers are rounded to it.
    pub fn rounds(self) -> bool {
        match self {
            Self::F32 | Self::Split => false,
            Self::Rounded | Self::Pair => true,
        }
    }

    /// Numbers from a row's units, each run of which has `run`: the reverse of [`pack`].
    fn unpack(self, units: &[u32], run: usize, out: &mut [f32]) {
        match self {
            Self::F32 | Self::Rounded => out
                .iter_mut()
                .zip(units)
                .for_each(|(out, &unit)| *out = f32::from_bits(unit)),
            Self::Pair | Self::Split => {
                out.fill(0.0);
                // From the smallest part up, sums are exact.
                for units in units.chunks(run).take(self.runs()).rev() {
                    for (out, &unit) in out.chunks_mut(2).zip(units) {
                        let pair = [unit << 16, unit & 0xffff_0000];
                        out.iter_mut()
                            .zip(pair)
                            .for_each(|(out, bits)| *out += f32::from_bits(bits));
                    }
                }
            }
        }
    }
}

vectorised! {
    /// A row's units from its numbers; `out` is filled, with zeros past the end of each run.
    fn pack(unit: Unit, values: &[f32], out: &mut [MaybeUninit<u32>]) {
        match unit {
            Unit::F32 | Unit::Rounded | Unit::Pair => pack_inline(unit, values, out),
            Unit::Split => {
                let run = out.len() / PARTS;
                let (first, rest) = out.split_at_mut(run);
                let (second, third) = rest.split_at_mut(run);
                let pairs = values.chunks_exact(2);
                let odd = pairs.remainder();
                let runs = first.iter_mut().zip(second.iter_mut()).zip(third.iter_mut());
                for (((first, second), third), pair) in runs.zip(pairs) {
                    let (a, b) = (split(pair[0]), split(pair[1]));
                    first.write(a[0] | b[0] << 16);
                    second.write(a[1] | b[1] << 16);
                    third.write(a[2] | b[2] << 16);
                }
                let used = values.len().div_ceil(2);
                for (run, part) in [first, second, third].into_iter().zip(0..) {
                    if let [odd] = odd {
                        run[used - 1].write(split(*odd)[part]);
                    }
                    cleared(&mut run[used..], 0);
                }
            }
        }
    }
}

/// One run of units, where it is compiled along with its caller; `out` is filled.
#[inline(always)]
pub fn pack_inline(unit: Unit, values: &[f32], out: &mut [MaybeUninit<u32>]) {
    let used = match unit {
        Unit::F32 => {
            for (unit, value) in out.iter_mut().zip(values) {
                unit.write(value.to_bits());
            }
            values.len()
        }
        Unit::Rounded => {
            for (unit, &value) in out.iter_mut().zip(values) {
                unit.write(round(value) << 16);
            }
            values.len()
        }
        Unit::Pair | Unit::Split => {
            let pairs = values.chunks_exact(2);
            let odd = pairs.remainder();
            for (unit, pair) in out.iter_mut().zip(pairs) {
                unit.write(round(pair[0]) | round(pair[1]) << 16);
            }
            if let [odd] = odd {
                out[values.len() / 2].write(round(*odd));
            }
            values.len().div_ceil(2)
        }
    };
    cleared(&mut out[used..], 0);
}

/// The bits of three bf16 whose sum is `value`, each the nearest to what those before it leave. Below 2^-110 the last bits
/// are lost, and what rounds to infinity becomes NaN: training on either has failed already.
#[inline(always)]
pub fn split(value: f32) -> [u32; PARTS] {
    let first = round(value);
    let rest = value - f32::from_bits(first << 16);
    let second = round(rest);
    let rest = rest - f32::from_bits(second << 16);
    [first, second, round(rest)]
}

/// A cache line of units.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub struct Line([u32; LINE]);

impl Line {
    pub const ZERO: Self = Self([0; LINE]);

    /// The units of some lines, one after another.
    pub fn units(lines: &[Self]) -> &[u32] {
        // SAFETY: a `Line` is sixteen u32 and nothing else.
        unsafe { std::slice::from_raw_parts(lines.as_ptr().cast(), lines.len() * LINE) }
    }

    /// The same, to be written.
    pub fn parts_of(lines: &mut [MaybeUninit<Self>]) -> &mut [MaybeUninit<u32>] {
        // SAFETY: as above; the borrow is exclusive.
        unsafe { std::slice::from_raw_parts_mut(lines.as_mut_ptr().cast(), lines.len() * LINE) }
    }
}

/// A matrix `[rows, columns]` on the left of a product, as the kernels of a processor take it.
pub struct Packed {
    lines: Vec<Line>,
    layout: Layout,
}

impl Packed {
    /// `count` matrices of one shape. `fill` is called in parallel with ranges of rows, and puts every row of its range
    /// into every matrix, in order.
    pub fn fill(
        product: Product,
        dims: [usize; 2],
        count: usize,
        fill: impl Fn(Range<usize>, &mut Writer) + Sync,
    ) -> Vec<Self> {
        let layout = Layout::new(product, dims);
        let mut outs: Vec<Output<Line>> = (0..count).map(|_| Output::new(layout.len())).collect();
        // Each task's rows of each matrix.
        let mut pieces: Vec<Vec<_>> = Vec::new();
        pieces.resize_with(layout.height().div_ceil(PIECE), Vec::new);
        for out in &mut outs {
            let parts = out.memory().chunks_mut(PIECE * layout.stride);
            for (piece, part) in pieces.iter_mut().zip(parts) {
                piece.push(part);
            }
        }
        pieces.into_par_iter().enumerate().for_each(|(i, parts)| {
            let first = i * PIECE;
            let mut writer = Writer {
                first,
                layout,
                done: vec![0; parts.len()],
                parts,
            };
            fill(
                first.min(layout.rows)..(first + PIECE).min(layout.rows),
                &mut writer,
            );
            writer.finish();
        });
        outs.into_iter()
            .map(|out| Self {
                // SAFETY: the pieces are the whole, and `Writer::finish` saw that each was written.
                lines: unsafe { out.finish() },
                layout,
            })
            .collect()
    }

    /// One matrix, each row computed by itself.
    pub fn each(
        product: Product,
        [rows, columns]: [usize; 2],
        row: impl Fn(usize, &mut [f32]) + Sync,
    ) -> Self {
        let mut made = Self::fill(product, [rows, columns], 1, |range, writer| {
            let mut values = vec![0.0; columns];
            for i in range {
                row(i, &mut values);
                writer.put(0, i, &values);
            }
        });
        made.swap_remove(0)
    }

    /// The numbers of a tensor `[N, C]`.
    pub fn of(product: Product, x: &Tensor) -> Result<Self> {
        let (rows, columns) = x.dims2()?;
        let (values, level) = (numbers(x)?, Level::current());
        let values = values.get();
        let mut made = Self::fill(product, [rows, columns], 1, |range, writer| {
            let mut room = vec![0.0; columns];
            for i in range {
                let row = i * columns..(i + 1) * columns;
                writer.put(0, i, values.part(level, row, &mut room));
            }
        });
        Ok(made.swap_remove(0))
    }

    pub fn dims(&self) -> [usize; 2] {
        [self.layout.rows, self.layout.columns]
    }

    pub fn unit(&self) -> Unit {
        self.layout.unit
    }

    /// The level whose kernels the units are meant for.
    pub fn level(&self) -> Level {
        self.layout.level
    }

    /// Units from one row to the next.
    pub fn stride(&self) -> usize {
        self.layout.stride * LINE
    }

    /// Units of a run of a row.
    pub fn run(&self) -> usize {
        self.layout.run * LINE
    }

    /// All units, rows beyond the last included.
    pub fn units(&self) -> &[u32] {
        Line::units(&self.lines)
    }

    /// The numbers again, rounded as they are.
    pub fn numbers(&self) -> Vec<f32> {
        let [rows, columns] = self.dims();
        let mut values = vec![0.0; rows * columns];
        for (i, row) in values.chunks_mut(columns).enumerate() {
            let units = &self.units()[i * self.stride()..];
            self.unit().unpack(units, self.run(), row);
        }
        values
    }
}

/// How a packed matrix lies in memory.
#[derive(Clone, Copy)]
struct Layout {
    rows: usize,
    columns: usize,
    /// Lines from one row to the next.
    stride: usize,
    /// Lines of a run.
    run: usize,
    unit: Unit,
    level: Level,
}

impl Layout {
    fn new(product: Product, [rows, columns]: [usize; 2]) -> Self {
        let level = Level::current();
        let unit = Unit::of(product, level);
        let run = columns.div_ceil(unit.numbers()).div_ceil(LINE);
        let lines = run * unit.runs();
        Self {
            rows,
            columns,
            // Rows a multiple of 512 bytes apart would crowd into few sets of the cache.
            stride: lines + usize::from(lines.is_multiple_of(8)),
            run,
            unit,
            level,
        }
    }

    /// Rows, and those beyond: a kernel may read a whole tile of them.
    fn height(&self) -> usize {
        self.rows.next_multiple_of(HEIGHT)
    }

    /// Lines of the whole matrix.
    fn len(&self) -> usize {
        self.height() * self.stride
    }
}

/// Where one task puts its rows.
pub struct Writer<'a> {
    first: usize,
    layout: Layout,
    /// This task's rows of each matrix.
    parts: Vec<&'a mut [MaybeUninit<Line>]>,
    /// How many of them are written.
    done: Vec<usize>,
}

impl Writer<'_> {
    /// Sets row `row` of matrix `matrix`, which is the one after the last.
    pub fn put(&mut self, matrix: usize, row: usize, values: &[f32]) {
        let Layout {
            run,
            unit,
            level,
            columns,
            ..
        } = self.layout;
        assert_eq!(row, self.first + self.done[matrix], "rows come in order");
        assert_eq!(values.len(), columns);
        let (units, rest) = self.next(matrix).split_at_mut(run * unit.runs());
        cleared(rest, Line::ZERO);
        let units = Line::parts_of(units);
        if unit == Unit::Pair {
            // SAFETY: a unit is two bf16, the first in the low half, on the processors that have such units.
            let numbers = unsafe {
                std::slice::from_raw_parts_mut(units.as_mut_ptr().cast(), 2 * units.len())
            };
            narrowed(level, values, &mut numbers[..columns]);
            cleared(&mut numbers[columns..], bf16::ZERO);
            return;
        }
        pack(level, unit, values, units);
    }

    /// The next row of a matrix, to be written.
    fn next(&mut self, matrix: usize) -> &mut [MaybeUninit<Line>] {
        let start = self.done[matrix] * self.layout.stride;
        self.done[matrix] += 1;
        &mut self.parts[matrix][start..][..self.layout.stride]
    }

    /// Clears the rows beyond the last, once every other is there.
    fn finish(mut self) {
        for matrix in 0..self.parts.len() {
            let held = self.parts[matrix].len() / self.layout.stride;
            let wanted = self.layout.rows.saturating_sub(self.first).min(held);
            assert_eq!(self.done[matrix], wanted, "every row is put");
            for _ in wanted..held {
                cleared(self.next(matrix), Line::ZERO);
            }
        }
    }
}

/// A packed matrix of which tasks write rows by parts.
pub struct PackedOutput {
    lines: Output<Line>,
    layout: Layout,
}

impl PackedOutput {
    pub fn new(product: Product, dims: [usize; 2]) -> Self {
        let layout = Layout::new(product, dims);
        let mut lines = Output::new(layout.len());
        let used = layout.columns / (LINE * layout.unit.numbers());
        lines
            .memory()
            .par_chunks_mut(PIECE * layout.stride)
            .enumerate()
            .for_each(|(piece, lines)| {
                for (row, lines) in (piece * PIECE..).zip(lines.chunks_mut(layout.stride)) {
                    // What no part reaches: rows beyond the last, and the ends of runs.
                    if row >= layout.rows {
                        cleared(lines, Line::ZERO);
                        continue;
                    }
                    let (runs, rest) = lines.split_at_mut(layout.run * layout.unit.runs());
                    cleared(rest, Line::ZERO);
                    for run in runs.chunks_mut(layout.run) {
                        cleared(&mut run[used..], Line::ZERO);
                    }
                }
            });
        Self { lines, layout }
    }

    /// The whole, for tasks that write parts of it.
    pub fn parts(&mut self) -> PackedParts<'_> {
        PackedParts {
            lines: self.lines.parts(),
            layout: self.layout,
        }
    }

    /// What was written.
    ///
    /// # Safety
    ///
    /// Every number was.
    pub unsafe fn finish(self) -> Packed {
        Packed {
            // SAFETY: the caller says so, and `new` cleared the rest.
            lines: unsafe { self.lines.finish() },
            layout: self.layout,
        }
    }
}

/// A packed matrix that tasks write disjoint parts of.
pub struct PackedParts<'a> {
    lines: Parts<'a, Line>,
    layout: Layout,
}

impl PackedParts<'_> {
    /// Has the cache fetch where `len` numbers of row `row`, from column `column` on, will be written.
    #[inline(always)]
    pub fn prefetch(&self, row: usize, column: usize, len: usize) {
        let Layout {
            stride, run, unit, ..
        } = self.layout;
        let (line, size) = (LINE * unit.numbers(), size_of::<Line>());
        let start = self
            .lines
            .pointer(row * stride..(row + 1) * stride)
            .cast::<u8>();
        for number in 0..unit.runs() {
            let start = start.wrapping_add(number * run * size + column * size / line);
            prefetch_for_writing(start, len * size / line);
        }
    }

    /// Writes some numbers of row `row`, from column `column` on. It is compiled along with its caller.
    ///
    /// # Safety
    ///
    /// Nobody else writes them meanwhile.
    #[inline(always)]
    pub unsafe fn write_inline(&self, row: usize, column: usize, values: &[f32]) {
        let Layout {
            rows,
            columns,
            stride,
            run,
            unit,
            ..
        } = self.layout;
        assert!(row < rows && column + values.len() <= columns);
        let lines = row * stride..(row + 1) * stride;
        let start = self.lines.pointer(lines);
        // SAFETY: the assert keeps every number inside its row's runs, and the caller keeps others away.
        unsafe {
            match unit {
                Unit::F32 | Unit::Rounded => {
                    let to = start.cast::<u32>().add(column);
                    let to =
                        std::slice::from_raw_parts_mut(to.cast::<MaybeUninit<u32>>(), values.len());
                    for (to, value) in to.iter_mut().zip(values) {
                        to.write(match unit.rounds() {
                            true => round(*value) << 16,
                            false => value.to_bits(),
                        });
                    }
                }
                Unit::Pair | Unit::Split => {
                    let mut rest = [0.0; STRIP];
                    for (values, column) in values.chunks(STRIP).zip((column..).step_by(STRIP)) {
                        let rest = &mut rest[..values.len()];
                        rest.copy_from_slice(values);
                        for number in 0..unit.runs() {
                            let to = start.add(number * run).cast::<u16>().add(column);
                            let to = std::slice::from_raw_parts_mut(
                                to.cast::<MaybeUninit<u16>>(),
                                values.len(),
                            );
                            for (to, rest) in to.iter_mut().zip(&*rest) {
                                to.write(round(*rest) as u16);
                            }
                            if number + 1 < unit.runs() {
                                for rest in &mut *rest {
                                    *rest -= f32::from_bits(round(*rest) << 16);
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Numbers that are taken apart at once.
const STRIP: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::cpu::output::uncleared;

    #[test]
    fn rows_of_odd_lengths_come_back_and_end_in_zeros() {
        for unit in [Unit::F32, Unit::Rounded, Unit::Pair, Unit::Split] {
            let values: Vec<f32> = (0..37).map(|i| i as f32 - 9.0).collect();
            let run = 48;
            let mut units = vec![7; run * unit.runs()];
            // SAFETY: `pack` writes numbers.
            pack(Level::best(), unit, &values, unsafe {
                uncleared(&mut units)
            });
            let used = values.len().div_ceil(unit.numbers());
            for units in units.chunks(run) {
                assert!(units[used..].iter().all(|&unit| unit == 0));
            }
            let mut back = vec![0.0; 37];
            unit.unpack(&units, run, &mut back);
            assert_eq!(back, values, "{unit:?}");
        }
    }

    #[test]
    fn three_parts_are_an_f32_to_its_last_bit() {
        let many = (0..200_000u32).map(|i| f32::from_bits(i.wrapping_mul(214_013)));
        // Below 2^-110 the last part has no bits left, and the largest numbers round to infinity.
        for value in many.filter(|value| (1e-33..3e38).contains(&value.abs())) {
            let parts = split(value).map(|bits| f32::from_bits(bits << 16));
            assert_eq!(parts[2] + parts[1] + parts[0], value, "{value:e}");
        }
    }
}
