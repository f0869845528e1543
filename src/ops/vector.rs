//! Arithmetic that compilers turn into vector instructions: sums in interleaved lanes, and functions without branches.
//!
//! Everything here is meant to be inlined into a [`super::level::Level::run`].

/// Floats in the widest vector.
pub const LANES: usize = 16;

/// One vector of floats.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub struct Lanes(pub [f32; LANES]);

impl Lanes {
    pub const ZERO: Self = Self([0.0; LANES]);

    /// The first numbers of a slice, and zeros where it is shorter.
    #[inline(always)]
    pub fn load(values: &[f32]) -> Self {
        let mut lanes = Self::ZERO;
        match values.get(..LANES) {
            Some(whole) => lanes.0.copy_from_slice(whole),
            None => lanes.0[..values.len()].copy_from_slice(values),
        }
        lanes
    }

    /// Writes as many numbers as the slice takes.
    #[inline(always)]
    pub fn store(self, out: &mut [f32]) {
        match out.get_mut(..LANES) {
            Some(whole) => whole.copy_from_slice(&self.0),
            None => out.copy_from_slice(&self.0[..out.len()]),
        }
    }

    /// self + a * b
    #[inline(always)]
    pub fn add_scaled(mut self, a: f32, b: Self) -> Self {
        for (x, b) in self.0.iter_mut().zip(b.0) {
            *x += a * b;
        }
        self
    }

    /// self + a * b, lane by lane
    #[inline(always)]
    pub fn add_product(mut self, a: Self, b: Self) -> Self {
        for ((x, a), b) in self.0.iter_mut().zip(a.0).zip(b.0) {
            *x += a * b;
        }
        self
    }

    #[inline(always)]
    pub fn scale(mut self, a: f32) -> Self {
        self.0.iter_mut().for_each(|x| *x *= a);
        self
    }

    /// The sum of all lanes, as a tree.
    #[inline(always)]
    pub fn sum(self) -> f32 {
        let mut x = self.0;
        for half in [8, 4, 2, 1] {
            for i in 0..half {
                x[i] += x[i + half];
            }
        }
        x[0]
    }
}

/// The sum of f(i) below `count`, in interleaved partial sums: a single running sum may not be reordered by the
/// compiler, and would neither vectorise nor be as exact.
#[inline(always)]
pub fn sum_of(count: usize, f: impl Fn(usize) -> f32) -> f32 {
    let mut sums = [Lanes::ZERO; 2];
    let whole = count / (2 * LANES) * (2 * LANES);
    for start in (0..whole).step_by(2 * LANES) {
        for (part, sums) in sums.iter_mut().enumerate() {
            for lane in 0..LANES {
                sums.0[lane] += f(start + part * LANES + lane);
            }
        }
    }
    let rest: f32 = (whole..count).map(f).sum();
    let [mut all, other] = sums;
    for (x, y) in all.0.iter_mut().zip(other.0) {
        *x += y;
    }
    all.sum() + rest
}

/// The sum of the products of two slices of one length.
#[inline(always)]
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    let count = a.len().min(b.len());
    let (a, b) = (&a[..count], &b[..count]);
    sum_of(count, |i| a[i] * b[i])
}

/// e^x within 2 units in the last place, for any x: 0 where it would be below the normal numbers, and about 2e38 where
/// it would be above. x = n ln 2 + r gives 2^n e^r, and a polynomial e^r on |r| <= ln 2 / 2 (its coefficients those of
/// Moshier's Cephes library, expf.c).
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    const LOW: f32 = -87.336_54;
    const HIGH: f32 = 88.376_26;
    // Adding this leaves a number's nearest integer in the lowest bits of the sum.
    const SHIFT: f32 = 12_582_912.0;
    let below = x < LOW;
    // Comparisons rather than min and max, which would turn NaN into a number.
    let x = if below { LOW } else { x };
    let x = if x > HIGH { HIGH } else { x };
    let shifted = x * std::f32::consts::LOG2_E + SHIFT;
    let n = shifted - SHIFT;
    // ln 2 in two parts: the first is exact in few bits, so that n times it is exact too.
    let r = x - n * 0.693_359_4 - n * -2.121_944_4e-4;
    let mut p = 1.987_569_1e-4;
    for c in [
        1.398_199_9e-3,
        8.333_452e-3,
        4.166_579_6e-2,
        1.666_666_5e-1,
        0.5,
    ] {
        p = p * r + c;
    }
    let e = p * r * r + r + 1.0;
    let power = f32::from_bits(
        shifted
            .to_bits()
            .wrapping_sub(SHIFT.to_bits())
            .wrapping_add(127)
            << 23,
    );
    if below { 0.0 } else { e * power }
}

/// The logistic function.
#[inline(always)]
pub fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_within_two_units_in_the_last_place() {
        for i in -87_300..88_300 {
            let x = i as f32 * 1e-3;
            let (got, want) = (f64::from(exp(x)), f64::from(x).exp());
            assert!(
                (got - want).abs() <= 2.0 * f64::from(f32::EPSILON) * want,
                "{x}: {got} {want}"
            );
        }
    }

    #[test]
    fn exp_of_extremes() {
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp(-1e9), 0.0);
        assert!(exp(f32::INFINITY) > 1e38 && exp(f32::INFINITY).is_finite());
        assert!(exp(f32::NAN).is_nan());
    }

    #[test]
    fn sums_of_all_lengths() {
        for count in 0..100usize {
            let want = (count * count.saturating_sub(1) / 2) as f32;
            assert_eq!(sum_of(count, |i| i as f32), want);
        }
        let lanes = Lanes::load(&[1.0, 2.0, 3.0]);
        assert_eq!(lanes.sum(), 6.0);
        assert_eq!(lanes.scale(2.0).add_scaled(1.0, lanes).sum(), 18.0);
    }
}
