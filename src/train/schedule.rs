//! The learning rate of each step.

use std::f64::consts::PI;
use std::fmt;

use crate::setting;

/// How the learning rate goes from its highest value to its last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// It stays.
    Constant,
    /// Along half a cosine.
    Cosine,
    /// By the same difference each step.
    Linear,
    /// By the same factor each step.
    Exponential,
}

impl Shape {
    /// Each with its word.
    pub const NAMES: [(&'static str, Self); 4] = [
        ("constant", Self::Constant),
        ("cosine", Self::Cosine),
        ("linear", Self::Linear),
        ("exponential", Self::Exponential),
    ];
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(setting::word(&Self::NAMES, self))
    }
}

/// A warm-up to the learning rate that was asked for, and from there to `last` at the last step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Schedule {
    /// What lies between the warm-up and the last step.
    pub shape: Shape,
    /// Reached at the end of the warm-up.
    pub learning_rate: f64,
    /// Above 0; of no meaning for [`Shape::Constant`]. `None` is a hundredth of `learning_rate`.
    pub last: Option<f64>,
    /// Steps that it takes to rise to `learning_rate`, in equal parts.
    pub warmup: usize,
}

impl Schedule {
    /// The learning rate of step `step` of `steps`, from 1.
    pub fn at(&self, step: usize, steps: usize) -> f64 {
        let &Self {
            shape,
            learning_rate,
            last,
            warmup,
        } = self;
        let last = last.unwrap_or(learning_rate / 100.0);
        if step < warmup {
            return learning_rate * step as f64 / warmup as f64;
        }
        // At which step the highest is reached, and how many steps follow.
        let top = warmup.max(1);
        let way = steps.saturating_sub(top).max(1);
        let share = ((step - top) as f64 / way as f64).min(1.0);
        match shape {
            Shape::Constant => learning_rate,
            Shape::Cosine => last + (learning_rate - last) * (1.0 + (PI * share).cos()) / 2.0,
            Shape::Linear => learning_rate + (last - learning_rate) * share,
            Shape::Exponential => learning_rate * (last / learning_rate).powf(share),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates(shape: Shape, warmup: usize, steps: usize) -> Vec<f64> {
        let schedule = Schedule {
            shape,
            learning_rate: 1.0,
            last: Some(0.01),
            warmup,
        };
        (1..=steps).map(|step| schedule.at(step, steps)).collect()
    }

    #[track_caller]
    fn near(rates: &[f64], wanted: &[f64]) {
        assert_eq!(rates.len(), wanted.len());
        for (rate, wanted) in rates.iter().zip(wanted) {
            assert!((rate - wanted).abs() < 1e-12, "{rates:?}");
        }
    }

    #[test]
    fn shapes_go_from_height_to_end() {
        near(&rates(Shape::Constant, 0, 3), &[1.0, 1.0, 1.0]);
        near(&rates(Shape::Linear, 0, 3), &[1.0, 0.505, 0.01]);
        near(&rates(Shape::Exponential, 0, 3), &[1.0, 0.1, 0.01]);
        let quarter = 0.01 + 0.99 * (1.0 + 0.5f64.sqrt()) / 2.0;
        near(
            &rates(Shape::Cosine, 0, 5),
            &[1.0, quarter, 0.505, 1.01 - quarter, 0.01],
        );
    }

    #[test]
    fn a_warm_up_rises_in_equal_parts_and_the_rest_follows() {
        near(
            &rates(Shape::Linear, 4, 6),
            &[0.25, 0.5, 0.75, 1.0, 0.505, 0.01],
        );
        near(&rates(Shape::Constant, 1, 2), &[1.0, 1.0]);
    }

    #[test]
    fn short_runs_and_steps_beyond_the_last_have_rates_too() {
        near(&rates(Shape::Cosine, 0, 1), &[1.0]);
        near(&rates(Shape::Cosine, 10, 2), &[0.1, 0.2]);
        let schedule = Schedule {
            shape: Shape::Cosine,
            learning_rate: 1.0,
            last: Some(0.01),
            warmup: 0,
        };
        assert!((schedule.at(99, 10) - 0.01).abs() < 1e-12);
    }
}
