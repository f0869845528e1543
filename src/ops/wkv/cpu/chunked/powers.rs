//! A head's decay to the powers that chunks need.

use super::super::task::Task;
use super::{CHUNK, MIDDLE};
use crate::ops::cpu::level::{Level, vectorised};
use crate::ops::linear::blocks::Block;

/// w to the powers from -8 to 39, a row each.
pub struct Powers {
    rows: Block,
}

impl Powers {
    /// Those of a task's head, whose channels are filled up to `wide`.
    pub fn new(level: Level, task: &Task, wide: usize) -> Self {
        let mut decay = vec![1.0; wide];
        decay[..task.size].copy_from_slice(task.decay);
        let mut rows = Block::zero(2 * CHUNK, wide);
        fill(level, &decay, &mut rows);
        Self { rows }
    }

    /// w to a power.
    #[inline(always)]
    pub fn of(&self, exponent: isize) -> &[f32] {
        self.rows.row(MIDDLE.strict_add_signed(exponent))
    }
}

vectorised! {
    fn fill<V: Vector>(level: Level, decay: &[f32], rows: &mut Block) {
        rows.row_mut(MIDDLE).fill(1.0);
        for row in MIDDLE..MIDDLE + CHUNK + MIDDLE - 1 {
            let (power, next) = rows.row_and_next(row);
            for ((next, power), decay) in next.iter_mut().zip(power).zip(decay) {
                *next = power * decay;
            }
        }
        let mut power = vec![1.0; decay.len()];
        for row in (0..MIDDLE).rev() {
            for ((out, power), decay) in rows.row_mut(row).iter_mut().zip(&mut power).zip(decay) {
                *power /= decay;
                *out = *power;
            }
        }
    }
}
