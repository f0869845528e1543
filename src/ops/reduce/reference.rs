//! The reductions as their definitions read, in float64.

use candle_core::{DType, Result, Tensor};

pub fn sum_of_squares(x: &Tensor) -> Result<f64> {
    x.to_dtype(DType::F64)?.sqr()?.sum_all()?.to_scalar()
}

/// Of finite numbers.
pub fn max_abs(x: &Tensor) -> Result<f64> {
    x.to_dtype(DType::F64)?.abs()?.max_all()?.to_scalar()
}
