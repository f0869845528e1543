//! The products on the CPU.
//!
//! W stays where it lies; a chunk of it at a time is packed into panels (`panels`), which all
//! threads then multiply with blocks of rows that stay in a core's cache (Goto and van de Geijn
//! 2008, "Anatomy of High-Performance Matrix Multiplication").

pub mod blocks;
pub mod kernel;
mod multiplication;
pub mod packed;
mod panels;
mod single_row;
pub mod unit;

use candle_core::{DType, Device, Result, Tensor};
use rayon::prelude::*;

use self::kernel::{Kernel, WIDTH};
use self::multiplication::Multiplication;
use self::packed::Packed;
use self::panels::{Panels, RightSide};
use self::single_row::single;
use super::{Matrix, Side};
use crate::ops::cpu::output::Output;
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
    let (unit, level) = (left.unit(), left.level());
    let right = RightSide { w, side, unit };
    let (_, columns) = side.dims(w);
    if rows == 0 {
        return Tensor::zeros((0, columns), sums.dtype, &Device::Cpu);
    }
    if rows == 1 {
        return tensor(single(left, w, side, sums.onto), (1, columns))?.to_dtype(sums.dtype);
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
    if is_wide {
        // SAFETY: the tasks' rows and panels are the whole.
        Tensor::from_vec(unsafe { wide.finish() }, (rows, columns), &Device::Cpu)
    } else {
        // SAFETY: as above.
        Tensor::from_vec(unsafe { narrow.finish() }, (rows, columns), &Device::Cpu)
    }
}
