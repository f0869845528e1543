//! Packed matrices written row by row, each task its own rows.

use std::mem::MaybeUninit;

use super::layout::PackedLayout;
use crate::ops::cpu::output::cleared;
use crate::ops::linear::cpu::unit::{Line, pack};

/// Where one task puts its rows.
pub struct Writer<'a> {
    first: usize,
    layout: PackedLayout,
    /// This task's rows of each matrix.
    parts: Vec<&'a mut [MaybeUninit<Line>]>,
    /// How many of them are written.
    done: Vec<usize>,
}

impl<'a> Writer<'a> {
    /// For the rows from `first` on, of which each matrix has memory in `parts`.
    pub fn new(
        first: usize,
        layout: PackedLayout,
        parts: Vec<&'a mut [MaybeUninit<Line>]>,
    ) -> Self {
        Self {
            first,
            layout,
            done: vec![0; parts.len()],
            parts,
        }
    }

    /// Sets row `row` of matrix `matrix`, which is the one after the last.
    pub fn put(&mut self, matrix: usize, row: usize, values: &[f32]) {
        let PackedLayout {
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
        pack(level, unit, values, Line::units_mut(units));
    }

    /// The next row of a matrix, to be written.
    fn next(&mut self, matrix: usize) -> &mut [MaybeUninit<Line>] {
        let start = self.done[matrix] * self.layout.stride;
        self.done[matrix] += 1;
        &mut self.parts[matrix][start..][..self.layout.stride]
    }

    /// Clears the rows beyond the last, once every other is there.
    pub fn finish(mut self) {
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
