//! The products on the CPU.
//!
//! W stays where it lies; a chunk of it at a time is packed into panels (`panel.rs`), which all threads then multiply
//! with blocks of rows that stay in a core's cache (Goto and van de Geijn 2008, "Anatomy of High-Performance Matrix
//! Multiplication"). One row alone, which is decoding, is bound by how fast W can be read: its products go straight
//! down W's bytes.

use std::ops::Range;

use rayon::prelude::*;

use super::panel::{self, Side};
use super::part::{Part, widen};
use super::rows::{LINE, Line, Packed, Unit, round};
use super::tile::{Block, HEIGHT, Kernel, Tile, WIDTH};
use super::{Element, Matrix};
use crate::ops::level::vectorised;
use crate::ops::output::{Output, chunks};
use crate::ops::vector::{LANES, Vector, dot};

/// Units summed before a sum goes to memory: a panel of them is 128 KB.
const DEPTH: usize = 1024;
/// Units of panels that are packed at once: 8 MB, which the cores' common cache holds.
const PACKED: usize = 1 << 21;
/// Units of rows that a task goes through again for every panel: half a megabyte, for a core's own cache.
const BLOCK: usize = 1 << 17;
/// Panels that one task multiplies with its block of rows, at most.
const PANELS: usize = 8;
/// Tasks for each thread, where there is enough to share: threads are not equally fast.
const TASKS: usize = 8;
/// Rows of W that one task of a single row's product takes.
const STRIPE: usize = 64;
/// Numbers of W widened at once for a single row; they stay in registers and L1.
const STRIP: usize = 256;

/// left times W, or W transposed, plus `to` if there is one: `[rows, n]`.
pub fn multiply(left: &Packed, w: &Matrix, side: Side, to: Option<&[f32]>) -> Vec<f32> {
    let [rows, _] = left.dims();
    if rows == 0 {
        return Vec::new();
    }
    if rows == 1 && side == Side::Forward {
        return single(left, w, to);
    }
    let (unit, level) = (left.unit(), left.level());
    let kernel = Kernel::of(level, unit);
    let (numbers, columns) = side.dims(w);
    // Up to a whole line: rows and panels are zero there.
    let units = numbers.div_ceil(unit.numbers()).next_multiple_of(LINE);
    let height = (BLOCK / units.min(DEPTH))
        .min(rows)
        .next_multiple_of(kernel.height);
    let mut out = Output::new(rows * columns);
    let parts = out.parts();

    for first in (0..units).step_by(DEPTH) {
        let depth = DEPTH.min(units - first);
        let panel_lines = depth * WIDTH / LINE;
        let most = (PACKED / (depth * WIDTH)).max(1);
        let all = columns.div_ceil(WIDTH);
        for start in (0..all).step_by(most) {
            let panels = start..(start + most).min(all);
            let len = panels.len() * panel_lines;
            let packed = chunks(len, panel_lines, Line::ZERO, |i, lines| {
                let (column, out) = ((start + i) * WIDTH, Line::units_mut(lines));
                panel::pack(level, side, w, unit, first, column, out);
            });

            let task = |(rows, panels): (Range<usize>, Range<usize>)| {
                let mut tile = Tile([[0.0; WIDTH]; HEIGHT]);
                for panel in panels {
                    let lines = &packed[(panel - start) * panel_lines..][..panel_lines];
                    let column = panel * WIDTH;
                    let width = WIDTH.min(columns - column);
                    for row in rows.clone().step_by(kernel.height) {
                        let block = Block {
                            left: &left.units()[row * left.stride() + first..],
                            stride: left.stride(),
                            rows: kernel.height.min(rows.end - row),
                            k: depth,
                            panel: Line::units(lines),
                        };
                        kernel.run(&block, &mut tile);
                        for (i, sums) in tile.0[..block.rows].iter().enumerate() {
                            let start = (row + i) * columns + column;
                            // SAFETY: no other task has these rows and columns.
                            let out = unsafe { parts.part(start..start + width) };
                            if first > 0 {
                                // SAFETY: the sums of the units before were written here.
                                let out = unsafe { out.assume_init_mut() };
                                out.iter_mut().zip(sums).for_each(|(out, sum)| *out += sum);
                            } else if let Some(to) = to {
                                let sums = sums.iter().zip(&to[start..]);
                                out.iter_mut().zip(sums).for_each(|(out, (sum, to))| {
                                    out.write(to + sum);
                                });
                            } else {
                                out.write_copy_of_slice(&sums[..width]);
                            }
                        }
                    }
                }
            };
            let shares = TASKS * rayon::current_num_threads();
            let group = (panels.len() * rows.div_ceil(height) / shares).clamp(1, PANELS);
            let mut tasks = Vec::new();
            for row in (0..rows).step_by(height) {
                for panel in panels.clone().step_by(group) {
                    let panels = panel..(panel + group).min(panels.end);
                    tasks.push((row..(row + height).min(rows), panels));
                }
            }
            tasks.into_par_iter().for_each(task);
        }
    }
    // SAFETY: the tasks' rows and panels are the whole.
    unsafe { out.finish() }
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
        Part::Quantised(numbers) if unit == Unit::F32 => return numbers.dot::<V>(x),
        _ => {}
    }
    let mut strip = [0.0; STRIP];
    let mut sum = 0.0;
    for (first, x) in (0..).step_by(STRIP).zip(x.chunks(STRIP)) {
        let strip = &mut strip[..x.len()];
        w.part(row, first..first + x.len()).widen::<V>(strip);
        if unit != Unit::F32 {
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
        widen(Element::Bf16, bytes, &mut numbers);
        sums[0] = sums[0].add_product(V::load_whole(&numbers), V::load(x));
    }
    let [a, b, c, d] = sums;
    a.add(b).add(c.add(d)).sum()
}
