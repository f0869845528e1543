//! The products on the CPU.
//!
//! W stays where it lies; a chunk of it at a time is packed into panels (`panels`), which all
//! threads then multiply with blocks of rows that stay in a core's cache (Goto and van de Geijn
//! 2008, "Anatomy of High-Performance Matrix Multiplication").

pub mod kernel;
mod multiplication;
pub mod packed;
mod panels;
mod single_row;
pub mod unit;

use candle_core::{DType, Device, Result, Tensor};
use half::bf16;
use rayon::prelude::*;

use self::kernel::{Kernel, WIDTH};
use self::multiplication::Multiplication;
use self::packed::Packed;
use self::panels::{Panels, RightSide};
pub use self::single_row::{SingleRow, multiply_single_rows};
use super::{Matrix, Side};
use crate::ops::cpu::output::{Output, OutputParts};
use crate::ops::cpu::tensor::tensor;

/// Units of which panels are packed at once, before the next are: a part of a panel of them is 128
/// KB.
const DEPTH: usize = 1024;
/// Units of panels that are packed at once: 8 MB, which the cores' common cache holds.
const PACKED: usize = 1 << 21;
/// Units of a run of rows that a task multiplies with its panels: half a megabyte.
const BLOCK: usize = 1 << 17;
/// Panels that one task multiplies with its block of rows, at most.
const PANELS: usize = 8;
/// Tasks for each thread, where there is enough to share: threads are not equally fast.
const TASKS: usize = 8;

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
    let (_, columns) = side.dims(w);
    if sums.dtype == DType::F32 || rows < 2 {
        let made = tensor(multiply_wide(left, w, side, sums.onto), (rows, columns))?;
        return made.to_dtype(sums.dtype);
    }
    // Sums that wait for further units, if they do.
    let mut wide = Output::new(if left.run() > DEPTH {
        rows * columns
    } else {
        0
    });
    let mut narrow = Output::new(rows * columns);
    let parts = (wide.parts(), Some(narrow.parts()));
    multiply_into(left, w, side, sums.onto, parts);
    // SAFETY: `multiply_into` writes all.
    Tensor::from_vec(unsafe { narrow.finish() }, (rows, columns), &Device::Cpu)
}

/// The same in f32.
pub fn multiply_wide(left: &Packed, w: &Matrix, side: Side, onto: Option<&[f32]>) -> Vec<f32> {
    let [rows, _] = left.dims();
    let (_, columns) = side.dims(w);
    match rows {
        0 => Vec::new(),
        1 => {
            let product = SingleRow {
                left,
                w,
                side,
                onto,
            };
            multiply_single_rows(&[product]).swap_remove(0)
        }
        _ => {
            let mut wide = Output::new(rows * columns);
            multiply_into(left, w, side, onto, (wide.parts(), None));
            // SAFETY: as above.
            unsafe { wide.finish() }
        }
    }
}

/// Writes every number of the product: into the second output, if there is one, else into the
/// first.
fn multiply_into<'a>(
    left: &'a Packed,
    w: &Matrix,
    side: Side,
    onto: Option<&'a [f32]>,
    (wide, narrow): (OutputParts<'a, f32>, Option<OutputParts<'a, bf16>>),
) {
    let [rows, _] = left.dims();
    let (unit, level) = (left.unit(), left.level());
    let right = RightSide { w, side, unit };
    let (_, columns) = side.dims(w);
    let kernel = Kernel::of(level, unit);
    // Up to a whole line: rows and panels are zero there.
    let units = left.run();
    let product = Multiplication {
        left,
        kernel,
        columns,
        onto,
        wide,
        narrow,
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
}
