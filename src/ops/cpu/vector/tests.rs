//! Sixteen floats at a time, and the functions built on them, at every level against f64.

use super::*;
use crate::ops::cpu::level::{Level, vectorised};

vectorised! {
    fn exps<V: Vector>(level: Level, x: &[f32]) -> Vec<f32> {
        let mut out = Vec::from(x);
        for x in &mut out {
            *x = exp::<V>(*x);
        }
        out
    }
}

vectorised! {
    fn exps_of_small<V: Vector>(level: Level, x: &[f32]) -> Vec<f32> {
        let mut out = Vec::from(x);
        for x in &mut out {
            *x = exp_of_small::<V>(*x);
        }
        out
    }
}

vectorised! {
    fn tanhs<V: Vector>(level: Level, x: &[f32]) -> Vec<f32> {
        let mut out = Vec::from(x);
        for x in &mut out {
            *x = tanh::<V>(*x);
        }
        out
    }
}

vectorised! {
    fn sigmoids_and_rests<V: Vector>(level: Level, x: &[f32]) -> Vec<[f32; 2]> {
        let mut out = vec![[0.0; 2]; x.len()];
        for (out, x) in out.iter_mut().zip(x) {
            *out = sigmoid_and_rest::<V>(*x);
        }
        out
    }
}

/// Holds a function of f32 to one of f64 at every level, within some units in the last place.
fn within(units: f64, x: &[f32], got: impl Fn(Level) -> Vec<f32>, want: impl Fn(f64) -> f64) {
    for level in levels() {
        for (x, got) in x.iter().zip(got(level)) {
            let (got, want) = (f64::from(got), want(f64::from(*x)));
            assert!(
                (got - want).abs() <= units * f64::from(f32::EPSILON) * want.abs(),
                "{x} at {level}: {got} {want}"
            );
        }
    }
}

#[test]
fn exp_is_within_two_units_in_the_last_place() {
    let x: Vec<f32> = (-87_300..88_300).map(|i| i as f32 * 1e-3).collect();
    within(2.0, &x, |level| exps(level, &x), f64::exp);
}

#[test]
fn exp_of_what_is_small_is_within_one_unit_in_the_last_place() {
    let mut x: Vec<f32> = (-606_600..=0).map(|i| i as f32 * 1e-6).collect();
    x.extend([-1e-9, -f32::MIN_POSITIVE]);
    within(1.0, &x, |level| exps_of_small(level, &x), f64::exp);
}

#[test]
fn tanh_is_within_two_units_in_the_last_place() {
    let mut x: Vec<f32> = (-100_000..100_000).map(|i| i as f32 * 1e-4).collect();
    x.extend([1e-30, f32::MIN_POSITIVE, 1e9]);
    within(2.0, &x, |level| tanhs(level, &x), f64::tanh);
    for level in levels() {
        let got = tanhs(level, &[f32::INFINITY, f32::NEG_INFINITY, f32::NAN]);
        assert_eq!(got[..2], [1.0, -1.0]);
        assert!(got[2].is_nan());
    }
}

#[test]
fn the_logistic_function_and_its_rest_keep_their_digits() {
    let x: Vec<f32> = (-87_000..87_000).map(|i| i as f32 * 1e-3).collect();
    let logistic = |x: f64| 1.0 / (1.0 + (-x).exp());
    let part = |level, i: usize| sigmoids_and_rests(level, &x).iter().map(|s| s[i]).collect();
    within(4.0, &x, |level| part(level, 0), logistic);
    within(4.0, &x, |level| part(level, 1), |x| logistic(-x));
    for level in levels() {
        let got = sigmoids_and_rests(level, &[1e9, -1e9, f32::NAN]);
        assert_eq!(got[0], [1.0, 0.0]);
        let [s, rest] = got[1];
        assert!(s < 1e-37 && (rest - 1.0).abs() < 1e-6, "{s} {rest}");
        assert!(got[2][0].is_nan() && got[2][1].is_nan());
    }
}

#[test]
fn exp_of_extremes() {
    for level in levels() {
        let got = exps(
            level,
            &[0.0, f32::NEG_INFINITY, -1e9, f32::INFINITY, f32::NAN],
        );
        assert_eq!(got[..3], [1.0, 0.0, 0.0]);
        assert!(got[3] > 1e38 && got[3].is_finite());
        assert!(got[4].is_nan());
    }
}

vectorised! {
    fn loaded<V: Vector>(
        level: Level,
        bytes: &[u8; LANES],
        table: &[f32; LANES],
    ) -> [[f32; LANES]; 3] {
        let [low, high] = V::load_whole(table).look_up(bytes);
        let mut out = [[0.0; LANES]; 3];
        for (out, lanes) in out.iter_mut().zip([V::load_i8(bytes), low, high]) {
            lanes.store_whole(out);
        }
        out
    }
}

#[test]
fn every_byte_is_loaded_with_its_sign_and_looked_up_by_its_halves() {
    let table = std::array::from_fn(|i| 100.0 - i as f32);
    for first in (0..256usize).step_by(LANES) {
        let bytes: [u8; LANES] = std::array::from_fn(|i| (first + i) as u8);
        let want = [
            bytes.map(|byte| f32::from(byte as i8)),
            bytes.map(|byte| table[usize::from(byte % 16)]),
            bytes.map(|byte| table[usize::from(byte / 16)]),
        ];
        for level in levels() {
            assert_eq!(loaded(level, &bytes, &table), want, "{level}");
        }
    }
}

fn levels() -> impl Iterator<Item = Level> {
    Level::NAMES
        .map(|(_, level)| level)
        .into_iter()
        .filter(|&level| level <= Level::best())
}

vectorised! {
    fn sums_of_sixteen<V: Vector>(
        level: Level,
        rows: &[[f32; LANES]; LANES],
    ) -> [f32; LANES] {
        let mut out = [0.0; LANES];
        V::sums(&rows.map(|row| V::load_whole(&row))).store_whole(&mut out);
        out
    }
}

#[test]
fn sixteen_sums_are_in_the_order_of_their_vectors() {
    let rows = std::array::from_fn(|i| std::array::from_fn(|j| (100 * i + j * j) as f32));
    let want = std::array::from_fn(|i| (1600 * i + 1240) as f32);
    for level in levels() {
        assert_eq!(sums_of_sixteen(level, &rows), want, "{level}");
    }
}

vectorised! {
    fn sums<V: Vector>(level: Level, x: &[f32], ones: &[f32]) -> [f32; 2] {
        [sum::<V>(x), dot::<V>(x, ones)]
    }
}

#[test]
fn sums_of_all_lengths() {
    for count in 0..100usize {
        let want = (count * count.saturating_sub(1) / 2) as f32;
        let numbers: Vec<f32> = (0..count).map(|i| i as f32).collect();
        let ones = vec![1.0; count];
        for level in levels() {
            assert_eq!(sums(level, &numbers, &ones), [want; 2], "{level}");
        }
    }
}
