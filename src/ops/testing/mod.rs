//! What the tests of every op share: seeded tensors, and one comparison of numbers.

mod close;

use candle_core::{DType, Device, Result, Tensor, Var};
use rand::{RngExt, SeedableRng, rngs::StdRng};

pub use self::close::{close, close_by_norm};
use super::Offsets;

/// f32 kernels against a float64 reference: a few rounding errors over sums of some hundred terms.
pub const F32: f64 = 2e-6;
/// The same where a long recurrence or a gradient through it is summed.
pub const F32_LONG: f64 = 2e-5;

/// What is stored as bf16: half a unit in its last place.
pub const BF16: f64 = 4e-3;

/// Sequence lengths that find mistakes at borders: one row, odd lengths, many sequences of one.
pub fn offset_grid() -> Vec<Offsets> {
    let grid: [&[usize]; 5] = [&[1], &[7], &[3, 1, 5], &[1, 1, 1, 1], &[33, 2, 18]];
    grid.iter()
        .map(|lengths| Offsets::from_lengths(lengths.iter().copied()))
        .collect()
}

/// The same, and a thousand sequences of one row.
pub fn many_offsets() -> Vec<Offsets> {
    let mut grid = offset_grid();
    grid.push(Offsets::from_lengths([1; 1000]));
    grid
}

/// Seeded numbers, uniform in `low..high`, as float64.
pub fn uniform(seed: u64, shape: &[usize], low: f64, high: f64) -> Result<Tensor> {
    let mut rng = StdRng::seed_from_u64(seed);
    let data: Vec<f64> = (0..shape.iter().product())
        .map(|_| rng.random_range(low..high))
        .collect();
    Tensor::from_vec(data, shape, &Device::Cpu)
}

/// Seeded numbers between -1 and 1, as float64, that a gradient can be asked of.
pub fn var(seed: u64, shape: &[usize]) -> Result<Var> {
    Var::from_tensor(&uniform(seed, shape, -1.0, 1.0)?)
}

/// A float64 tensor as the kernels take it.
pub fn f32(tensor: &Tensor) -> Result<Tensor> {
    tensor.detach().to_dtype(DType::F32)
}

/// The same stored as bf16, and as f32 again: what a kernel computes with.
pub fn stored(tensor: &Tensor) -> Result<[Tensor; 2]> {
    let stored = tensor.detach().to_dtype(DType::BF16)?;
    let again = stored.to_dtype(DType::F32)?;
    Ok([stored, again])
}

/// Panics unless `got` is bf16, and `want` rounded to it.
#[track_caller]
pub fn rounded(what: &str, got: &Tensor, want: &Tensor) {
    assert_eq!(got.dtype(), DType::BF16, "{what}");
    let want = want.to_dtype(DType::BF16).unwrap();
    close(what, got, &want, 0.0);
}
