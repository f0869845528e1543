//! Sixteen floats at a time, whatever the processor: one type for each vector width, and what is
//! built on them.
//!
//! Loops that treat every element alike are left to the compiler. It does badly with sums, whose
//! order it must not change; those are written with [`Vector`]. Everything here is inlined, to be
//! compiled along with what `vectorised!` compiles for each level.

/// Floats in a [`Vector`].
pub const LANES: usize = 16;

/// Added to what decays step by step with nothing new to it, as the gradient of a state does along
/// a prompt that is not scored: it would come to subnormal numbers and stay there, on each of
/// which some processors take more than a hundred cycles. Beside a number above 1e-22 it is lost in
/// rounding.
pub const NORMAL: f32 = 1e-30;

/// Sixteen floats.
pub trait Vector: Copy + Send + Sync {
    /// Whether the processor has registers for some thirty of them.
    const HAS_MANY: bool = false;
    /// Whether it multiplies and adds in one instruction.
    const FUSES: bool = false;

    fn splat(value: f32) -> Self;
    /// The first sixteen numbers of a slice that has them.
    fn load_whole(values: &[f32; LANES]) -> Self;
    /// Sixteen little-endian bf16.
    fn load_bf16(bytes: &[u8; 2 * LANES]) -> Self;
    /// Sixteen whole numbers of eight bits, with signs.
    fn load_i8(bytes: &[u8; LANES]) -> Self;
    /// The lanes of `self` whose numbers stand in the lower halves of sixteen bytes, and those in
    /// the upper halves.
    fn look_up(self, bytes: &[u8; LANES]) -> [Self; 2];
    fn store_whole(self, out: &mut [f32; LANES]);
    fn add(self, other: Self) -> Self;
    fn mul(self, other: Self) -> Self;
    /// self + a * b, rounded once where the processor can.
    fn add_product(self, a: Self, b: Self) -> Self;
    /// The sum of all lanes, as a tree.
    fn sum(self) -> f32;
    /// The sums of all lanes of sixteen vectors, in their order.
    fn sums(vectors: &[Self; LANES]) -> Self;

    #[inline(always)]
    fn zero() -> Self {
        Self::splat(0.0)
    }

    /// The first numbers of a slice, and zeros where it is shorter.
    #[inline(always)]
    fn load(values: &[f32]) -> Self {
        match values.first_chunk() {
            Some(whole) => Self::load_whole(whole),
            None => {
                let mut lanes = [0.0; LANES];
                lanes[..values.len()].copy_from_slice(values);
                Self::load_whole(&lanes)
            }
        }
    }

    /// Writes as many numbers as the slice takes.
    #[inline(always)]
    fn store(self, out: &mut [f32]) {
        match out.first_chunk_mut() {
            Some(whole) => self.store_whole(whole),
            None => {
                let mut lanes = [0.0; LANES];
                self.store_whole(&mut lanes);
                out.copy_from_slice(&lanes[..out.len()]);
            }
        }
    }
}

/// Without instructions of its own.
#[derive(Clone, Copy)]
pub struct Plain([f32; LANES]);

impl Plain {
    #[inline(always)]
    fn zip(self, other: Self, f: impl Fn(f32, f32) -> f32) -> Self {
        Self(std::array::from_fn(|i| f(self.0[i], other.0[i])))
    }
}

impl Vector for Plain {
    #[inline(always)]
    fn splat(value: f32) -> Self {
        Self([value; LANES])
    }

    #[inline(always)]
    fn load_whole(values: &[f32; LANES]) -> Self {
        Self(*values)
    }

    #[inline(always)]
    fn load_bf16(bytes: &[u8; 2 * LANES]) -> Self {
        Self(std::array::from_fn(|i| {
            f32::from_bits(u32::from(u16::from_le_bytes([bytes[2 * i], bytes[2 * i + 1]])) << 16)
        }))
    }

    #[inline(always)]
    fn load_i8(bytes: &[u8; LANES]) -> Self {
        Self(bytes.map(|byte| f32::from(byte as i8)))
    }

    #[inline(always)]
    fn look_up(self, bytes: &[u8; LANES]) -> [Self; 2] {
        let lane = |number: u8| self.0[usize::from(number)];
        [
            Self(bytes.map(|byte| lane(byte & 15))),
            Self(bytes.map(|byte| lane(byte >> 4))),
        ]
    }

    #[inline(always)]
    fn store_whole(self, out: &mut [f32; LANES]) {
        *out = self.0;
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        self.zip(other, |a, b| a + b)
    }

    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        self.zip(other, |a, b| a * b)
    }

    #[inline(always)]
    fn add_product(self, a: Self, b: Self) -> Self {
        self.add(a.mul(b))
    }

    #[inline(always)]
    fn sum(self) -> f32 {
        let x = self.0;
        let quarters: [f32; 4] =
            std::array::from_fn(|i| (x[i] + x[i + 8]) + (x[i + 4] + x[i + 12]));
        (quarters[0] + quarters[2]) + (quarters[1] + quarters[3])
    }

    #[inline(always)]
    fn sums(vectors: &[Self; LANES]) -> Self {
        Self(vectors.map(Self::sum))
    }
}

#[cfg(test)]
mod tests;
#[cfg(target_arch = "x86_64")]
mod x86;

#[cfg(target_arch = "x86_64")]
pub use self::x86::{Avx2, Avx512};

/// The sum of x.
#[inline(always)]
pub fn sum<V: Vector>(x: &[f32]) -> f32 {
    sum_of::<V, 1>([x], |[x]| x)
}

/// The sum of the products of two slices of one length.
#[inline(always)]
pub fn dot<V: Vector>(a: &[f32], b: &[f32]) -> f32 {
    let (mut sums, mut rest) = ([V::zero(); 2], 0.0);
    let (a_pairs, b_pairs) = (a.chunks(2 * LANES), b.chunks(2 * LANES));
    for (a, b) in a_pairs.zip(b_pairs) {
        if a.len() == 2 * LANES {
            for (i, sum) in sums.iter_mut().enumerate() {
                let part = i * LANES..(i + 1) * LANES;
                *sum = sum.add_product(V::load(&a[part.clone()]), V::load(&b[part]));
            }
        } else {
            rest += sum_of::<V, 2>([a, b], |[a, b]| a.mul(b));
        }
    }
    sums[0].add(sums[1]).sum() + rest
}

/// The sum of f over some slices of one length, in sixteen interleaved partial sums. f must be 0
/// where all are 0.
#[inline(always)]
pub fn sum_of<V: Vector, const M: usize>(slices: [&[f32]; M], f: impl Fn([V; M]) -> V) -> f32 {
    let mut sums = V::zero();
    for start in (0..slices[0].len()).step_by(LANES) {
        let end = (start + LANES).min(slices[0].len());
        sums = sums.add(f(slices.map(|slice| V::load(&slice[start..end]))));
    }
    sums.sum()
}

/// e^x within 2 units in the last place from -87.3 to 88.3; 0 below, and about 2e38, the value at
/// 88.376, above. x = n ln 2 + r gives 2^n e^r, and a polynomial e^r on |r| <= ln 2 / 2 (its
/// coefficients those of Moshier's Cephes library, expf.c).
#[inline(always)]
pub fn exp<V: Vector>(x: f32) -> f32 {
    const LOW: f32 = -87.336_54;
    const HIGH: f32 = 88.376_26;
    // Adding this leaves a number's nearest integer in the lowest bits of the sum.
    const SHIFT: f32 = 12_582_912.0;
    let below = x < LOW;
    // Comparisons rather than min and max, which would turn NaN into a number.
    let x = if below { LOW } else { x };
    let x = if x > HIGH { HIGH } else { x };
    let shifted = multiply_add::<V>(x, std::f32::consts::LOG2_E, SHIFT);
    let n = shifted - SHIFT;
    // ln 2 in two parts: the first is exact in few bits, so that n times it is exact too.
    let r = multiply_add::<V>(n, -0.693_359_4, x);
    let r = multiply_add::<V>(n, 2.121_944_4e-4, r);
    let p = polynomial::<V, 6>(
        r,
        [
            1.987_569_1e-4,
            1.398_199_9e-3,
            8.333_452e-3,
            4.166_579_6e-2,
            1.666_666_5e-1,
            0.5,
        ],
    );
    let e = multiply_add::<V>(p * r, r, r) + 1.0;
    let power = f32::from_bits(
        shifted
            .to_bits()
            .wrapping_sub(SHIFT.to_bits())
            .wrapping_add(127)
            << 23,
    );
    if below { 0.0 } else { e * power }
}

/// e^x within 1 unit in the last place for x from -0.6066 to 0 (the coefficients are a fit of
/// (e^x - 1 - x) / x^2 there, off by 1.3e-9 of e^x).
#[inline(always)]
pub fn exp_of_small<V: Vector>(x: f32) -> f32 {
    let p = polynomial::<V, 5>(
        x,
        [
            1.045_964_3e-3,
            8.082_787e-3,
            4.157_760_7e-2,
            1.666_517_3e-1,
            4.999_990_8e-1,
        ],
    );
    multiply_add::<V>(p * x, x, x) + 1.0
}

/// The logistic function.
#[inline(always)]
pub fn sigmoid<V: Vector>(x: f32) -> f32 {
    1.0 / (1.0 + exp::<V>(-x))
}

/// The logistic function, and what it lacks to 1, which keeps its digits.
#[inline(always)]
pub fn sigmoid_and_rest<V: Vector>(x: f32) -> [f32; 2] {
    let ratio = exp::<V>(-x);
    let s = 1.0 / (1.0 + ratio);
    [s, ratio * s]
}

/// The hyperbolic tangent within 2 units in the last place, near zero too (the polynomial is that of
/// Moshier's Cephes library, tanhf.c).
#[inline(always)]
pub fn tanh<V: Vector>(x: f32) -> f32 {
    let square = x * x;
    let p = polynomial::<V, 5>(
        square,
        [
            -5.704_988_7e-3,
            2.063_909e-2,
            -5.373_971_6e-2,
            1.333_144_2e-1,
            -3.333_328e-1,
        ],
    );
    let small = multiply_add::<V>(p * square, x, x);
    let large = 1.0 - 2.0 * sigmoid::<V>(-2.0 * x.abs());
    if x.abs() < 0.625 {
        small
    } else {
        large.copysign(x)
    }
}

/// The polynomial with these coefficients, of the highest power first.
#[inline(always)]
fn polynomial<V: Vector, const N: usize>(x: f32, coefficients: [f32; N]) -> f32 {
    let mut p = coefficients[0];
    for c in &coefficients[1..] {
        p = multiply_add::<V>(p, x, *c);
    }
    p
}

/// a * b + c, rounded once where the processor can.
#[inline(always)]
fn multiply_add<V: Vector>(a: f32, b: f32, c: f32) -> f32 {
    match V::FUSES {
        true => a.mul_add(b, c),
        false => a * b + c,
    }
}
