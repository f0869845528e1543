//! The comparison of numbers that all tests use: those of the ops, and, by this file's path, those
//! of the whole program (`tests/common`).

use candle_core::{DType, Device, Tensor};

/// Panics unless `got` is within `tolerance * (|want| + rms(want))` of `want` everywhere; says
/// where it is worst.
#[track_caller]
pub fn close(what: &str, got: &Tensor, want: &Tensor, tolerance: f64) {
    let (got, want) = numbers(what, got, want);
    let rms = norm(want.iter().copied()) / (want.len().max(1) as f64).sqrt();
    let error = |i: usize| (got[i] - want[i]).abs() / (want[i].abs() + rms).max(f64::MIN_POSITIVE);
    let bad = (0..want.len()).find(|&i| error(i).is_nan() || error(i) > tolerance);
    let worst = (0..want.len()).max_by(|&a, &b| error(a).total_cmp(&error(b)));
    if let (Some(_), Some(i)) = (bad, worst) {
        panic!(
            "{what}: at {i} got {} want {}, relative {:.2e} > {tolerance:.0e}",
            got[i],
            want[i],
            error(i)
        );
    }
}

/// Panics unless the norm of `got - want` is within `tolerance` of the norm of `want`.
#[track_caller]
pub fn close_by_norm(what: &str, got: &Tensor, want: &Tensor, tolerance: f64) {
    let (got, want) = numbers(what, got, want);
    let differences = got.iter().zip(&want).map(|(got, want)| got - want);
    let off = norm(differences) / norm(want.iter().copied());
    assert!(
        off <= tolerance,
        "{what} is {off:.2e} off by norm, more than {tolerance:.0e}"
    );
}

/// Both tensors' numbers, once their shapes are known to be one.
#[track_caller]
fn numbers(what: &str, got: &Tensor, want: &Tensor) -> (Vec<f64>, Vec<f64>) {
    assert_eq!(got.dims(), want.dims(), "{what}: shapes differ");
    let numbers = |tensor: &Tensor| {
        let tensor = tensor.to_device(&Device::Cpu)?.to_dtype(DType::F64)?;
        tensor.flatten_all()?.to_vec1()
    };
    (numbers(got).unwrap(), numbers(want).unwrap())
}

fn norm(numbers: impl Iterator<Item = f64>) -> f64 {
    numbers.map(|x| x * x).sum::<f64>().sqrt()
}
