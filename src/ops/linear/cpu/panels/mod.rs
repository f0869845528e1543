//! Panels: a frozen matrix's numbers in the order that the kernels read them.
//!
//! The right side of a product is summed over k and has n columns. A panel holds [`WIDTH`] of the
//! columns as `[k, WIDTH]` units, zero where k or n end inside it. Forward, x W', its columns are
//! rows of W and k runs along them; backward, dy W, its columns are columns of W and k runs down
//! the rows.

#[cfg(target_arch = "x86_64")]
mod avx512;
mod fill;

use std::ops::Range;

use rayon::prelude::*;

pub use self::fill::RightSide;
use super::kernel::{Pass, WIDTH};
use super::unit::{LINE, Line, PARTS, Unit};
use crate::ops::cpu::level::Level;
use crate::ops::cpu::output::Output;

/// Panels that a task packs at once: backward, it then reads four cache lines of a row of W one
/// after another.
const GROUP: usize = 4;

/// Some panels of a right side, over some of its units: block of units by block, in each of them
/// panel by panel, and of each panel part by part. A task reads them in that order, but a panel's last
/// part first.
pub struct Panels {
    lines: Vec<Line>,
    panels: Range<usize>,
    units: Range<usize>,
    /// Units of a block; the last may be shorter.
    depth: usize,
    parts: usize,
}

impl Panels {
    /// Packs some panels over some units of the right side, in blocks of `depth` units.
    pub fn pack(
        level: Level,
        right: RightSide,
        panels: Range<usize>,
        units: Range<usize>,
        depth: usize,
    ) -> Self {
        let parts = right.parts();
        let blocks = units.clone().step_by(depth);
        let groups = panels.clone().step_by(GROUP);
        let tasks = blocks.flat_map(|unit| groups.clone().map(move |panel| (unit, panel)));
        let tasks: Vec<(usize, usize)> = tasks.collect();
        let mut lines = Output::new(panels.len() * units.len() * parts * WIDTH / LINE);
        let out = lines.parts();
        tasks.into_par_iter().for_each(|(unit, panel)| {
            let block = unit..unit.saturating_add(depth).min(units.end);
            let group = panel..(panel + GROUP).min(panels.end);
            let line = |panel: usize| {
                let before = (block.start - units.start) * panels.len();
                (before + (panel - panels.start) * block.len()) * parts * WIDTH / LINE
            };
            // SAFETY: no other task has this group of this block.
            let out = unsafe { out.part(line(group.start)..line(group.end)) };
            right.fill(level, group, block, Line::units_mut(out));
        });
        Self {
            // SAFETY: the groups of the blocks are the whole, and `fill` wrote each.
            lines: unsafe { lines.finish() },
            panels,
            units,
            depth,
            parts,
        }
    }

    /// The units of each block.
    pub fn blocks(&self) -> impl Iterator<Item = Range<usize>> {
        let end = self.units.end;
        let depth = self.depth;
        let starts = self.units.clone().step_by(depth);
        starts.map(move |start| start..start.saturating_add(depth).min(end))
    }

    /// All units.
    pub fn units(&self) -> &Range<usize> {
        &self.units
    }

    /// For each block, which runs of a row, each of `run` units, meet which parts of its panels:
    /// all whose product is not below f32's last bit. Passes with the same part of the panel follow one
    /// another, since tiles load it once for all. The smallest part comes first, and so does the
    /// smallest run.
    pub fn passes(&self, unit: Unit, run: usize) -> Vec<Vec<Pass>> {
        let mut pairs: Vec<(usize, usize)> = (0..unit.runs())
            .flat_map(|left| (0..self.parts).map(move |right| (left, right)))
            .filter(|(left, right)| left + right < PARTS)
            .collect();
        pairs.sort_by_key(|&(left, right)| std::cmp::Reverse((right, left)));
        let of_block = |block: Range<usize>| {
            let pass = |&(left, right): &(usize, usize)| Pass {
                left: left * run,
                panel: right * block.len() * WIDTH,
            };
            pairs.iter().map(pass).collect()
        };
        self.blocks().map(of_block).collect()
    }

    /// The `[parts, units, WIDTH]` units of one panel in one block.
    pub fn panel(&self, panel: usize, block: &Range<usize>) -> &[u32] {
        let before = (block.start - self.units.start) * self.panels.len();
        let start = (before + (panel - self.panels.start) * block.len()) * self.parts * WIDTH;
        &Line::units(&self.lines)[start..][..block.len() * self.parts * WIDTH]
    }
}
