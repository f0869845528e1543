//! The axis of a chart's values: where a value lies on it, and which numbers stand beside it.

use super::number::number;

/// How values become places on an axis.
#[derive(Clone, Copy, PartialEq)]
pub enum Scale {
    /// Linear, with its foot at zero.
    FromZero,
    /// Linear, with its foot at zero unless that would squeeze all values into the upper half.
    Fit,
    /// Equal ratios are equal distances. Values that are not positive have no place on it.
    Log,
}

/// An axis from `low` to `high`, both of which are round.
#[derive(Debug)]
pub struct Axis {
    pub low: f64,
    pub high: f64,
    pub log: bool,
    ticks: Vec<f64>,
}

/// Beyond these, sums and powers would leave what a float can hold.
const SMALLEST: f64 = 1e-300;
const LARGEST: f64 = 1e300;
/// More numbers beside an axis than this stand too close.
const MOST_TICKS: usize = 9;

/// Whether a value has a place on such a scale.
fn fits(scale: Scale, value: f64) -> bool {
    value.abs() <= LARGEST && (scale != Scale::Log || value >= SMALLEST)
}

/// The lowest and the highest of the values that have a place on such a scale.
pub fn extent(scale: Scale, values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    values
        .filter(|&value| fits(scale, value))
        .map(|value| (value, value))
        .reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))
}

/// Where a linear scale starts: at zero, unless that would squeeze all values into its upper half.
pub fn foot(low: f64, high: f64) -> f64 {
    if low == high {
        low.min(0.0)
    } else if low >= 0.0 && low <= high / 2.0 {
        0.0
    } else {
        low
    }
}

impl Axis {
    /// An axis for these values; `None` when none of them has a place.
    pub fn new(scale: Scale, values: impl Iterator<Item = f64>) -> Option<Self> {
        let (low, high) = extent(scale, values)?;
        Some(match scale {
            Scale::Log => Self::logarithmic(low, high),
            Scale::FromZero => Self::linear(low.min(0.0), high),
            Scale::Fit => Self::linear(foot(low, high), high),
        })
    }

    fn linear(low: f64, high: f64) -> Self {
        let high = match high - low > SMALLEST {
            true => high,
            false if low < 0.0 => 0.0,
            false => low + 1.0,
        };
        let step = nice((high - low) / 4.0);
        let (first, last) = ((low / step).floor(), (high / step).ceil());
        let count = (last - first).clamp(1.0, 12.0) as usize;
        Self {
            low: first * step,
            high: last * step,
            log: false,
            ticks: (0..=count).map(|i| (first + i as f64) * step).collect(),
        }
    }

    fn logarithmic(low: f64, high: f64) -> Self {
        let decades = low.log10().floor() as i32..=high.log10().ceil() as i32;
        let round: Vec<f64> = decades
            .flat_map(|decade| [1.0, 2.0, 5.0].map(|digit| digit * 10f64.powi(decade)))
            .collect();
        let from = round.iter().rposition(|&tick| tick <= low).unwrap_or(0);
        let to = round.iter().position(|&tick| tick >= high);
        let to = to.unwrap_or(round.len() - 1).max(from + 1);
        // In a wide range only powers of ten, in a wider one not each of them.
        let mut ticks = round[from..=to].to_vec();
        if ticks.len() > MOST_TICKS {
            let tens = (from..=to).filter(|at| at % 3 == 0);
            let tens: Vec<f64> = tens.map(|at| round[at]).collect();
            ticks = tens
                .iter()
                .copied()
                .step_by(tens.len().div_ceil(MOST_TICKS))
                .collect();
        }
        Self {
            low: round[from],
            high: round[to],
            log: true,
            ticks,
        }
    }

    /// Where a value lies between the foot of the axis, 0, and its head, 1; `None` for one that has
    /// no place.
    pub fn place(&self, value: f64) -> Option<f64> {
        let scale = if self.log { Scale::Log } else { Scale::Fit };
        fits(scale, value).then(|| self.part(value))
    }

    /// Places and texts of the numbers beside the axis.
    pub fn ticks(&self) -> impl Iterator<Item = (f64, String)> {
        self.ticks
            .iter()
            .map(|&tick| (self.part(tick), number(tick)))
    }

    fn part(&self, value: f64) -> f64 {
        let along = |value: f64| if self.log { value.ln() } else { value };
        let (low, high) = (along(self.low), along(self.high));
        ((along(value) - low) / (high - low)).clamp(0.0, 1.0)
    }
}

/// The steps written under a chart whose last step is `last`: round, and few enough for a phone.
pub fn step_ticks(last: usize) -> impl Iterator<Item = usize> {
    let step = nice(last as f64 / 4.0).max(1.0) as usize;
    (0..=last).step_by(step)
}

/// The smallest of 1, 2, 5, 10, 20, ... (and 0.5, 0.2, ...) that is not below `step`.
fn nice(step: f64) -> f64 {
    let decade = 10f64.powi(step.log10().floor() as i32);
    let digit = [1.0, 2.0, 5.0]
        .into_iter()
        .find(|digit| digit * decade >= step);
    digit.unwrap_or(10.0) * decade
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(scale: Scale, values: &[f64]) -> Vec<String> {
        let axis = Axis::new(scale, values.iter().copied()).unwrap();
        axis.ticks().map(|(_, text)| text).collect()
    }

    #[test]
    fn ticks_are_round_numbers_around_the_values() {
        for (scale, values, expected) in [
            (Scale::Fit, vec![0.1, 2.9], vec!["0", "1", "2", "3"]),
            (
                Scale::Fit,
                vec![2.31, 2.52],
                vec!["2.3", "2.4", "2.5", "2.6"],
            ),
            (Scale::FromZero, vec![2.31, 2.52], vec!["0", "1", "2", "3"]),
            (Scale::Fit, vec![0.0], vec!["0", "0.5", "1"]),
            (Scale::Fit, vec![98.0], vec!["0", "50", "100"]),
            (
                Scale::FromZero,
                vec![5400.0],
                vec!["0", "2,000", "4,000", "6,000"],
            ),
            (
                Scale::Log,
                vec![0.3, 4.0],
                vec!["0.2", "0.5", "1", "2", "5"],
            ),
            (
                Scale::Log,
                vec![0.3, f64::NAN, 0.0, -1.0, f64::INFINITY],
                vec!["0.2", "0.5"],
            ),
            (
                Scale::Log,
                vec![2e-4, 114.0],
                vec!["0.001", "0.01", "0.1", "1", "10", "100"],
            ),
        ] {
            assert_eq!(labels(scale, &values), expected, "{values:?}");
        }
    }

    #[test]
    fn values_lie_where_they_should() {
        let linear = Axis::new(Scale::Fit, [0.0, 4.0].into_iter()).unwrap();
        assert_eq!(linear.place(1.0), Some(0.25));
        assert_eq!(linear.place(f64::NAN), None);
        let log = Axis::new(Scale::Log, [0.01, 100.0].into_iter()).unwrap();
        assert!((log.place(1.0).unwrap() - 0.5).abs() < 1e-12);
        assert_eq!(log.place(0.0), None);
        assert!(Axis::new(Scale::Log, [0.0, f64::NAN].into_iter()).is_none());
    }

    #[test]
    fn no_values_are_too_strange_for_an_axis() {
        let strange = [
            0.0,
            -0.0,
            f64::MIN_POSITIVE,
            5e-324,
            1e-300,
            1e-30,
            1.0,
            1.0 + f64::EPSILON,
            1e16,
            1e16 + 2.0,
            1e300,
            f64::MAX,
            -1.0,
            -1e300,
            f64::INFINITY,
            f64::NEG_INFINITY,
            f64::NAN,
        ];
        for scale in [Scale::FromZero, Scale::Fit, Scale::Log] {
            for a in strange {
                for b in strange {
                    let Some(axis) = Axis::new(scale, [a, b].into_iter()) else {
                        continue;
                    };
                    let ticks: Vec<(f64, String)> = axis.ticks().collect();
                    assert!((1..=13).contains(&ticks.len()), "{a} {b}: {ticks:?}");
                    for value in [a, b] {
                        let place = axis.place(value).unwrap_or(0.0);
                        assert!((0.0..=1.0).contains(&place), "{a} {b}: {place}");
                    }
                }
            }
        }
    }

    #[test]
    fn steps_under_a_chart() {
        let ticks = |last| step_ticks(last).collect::<Vec<_>>();
        assert_eq!(ticks(1), [0, 1]);
        assert_eq!(ticks(3), [0, 1, 2, 3]);
        assert_eq!(ticks(150), [0, 50, 100, 150]);
        assert_eq!(ticks(100_000), [0, 50_000, 100_000]);
    }
}
