//! The reductions on a GPU: each block reduces its own part, and the parts' results are reduced
//! here.

use candle_core::{DType, Result, Tensor};

use crate::ops::cuda::{Arg, Grid, constant, gpu, launch, output, pointer};

const BLOCKS: usize = 256;
const THREADS: usize = constant(include_str!("reduce.cu"), "REDUCE_THREADS");

pub fn sum_of_squares(tensor: &Tensor) -> Result<f64> {
    let parts = parts("sum_of_squares", tensor, DType::F64)?;
    Ok(parts.to_vec1::<f64>()?.iter().sum())
}

pub fn max_abs(tensor: &Tensor) -> Result<f32> {
    let parts: Vec<f32> = parts("max_abs", tensor, DType::F32)?.to_vec1()?;
    Ok(super::cpu::max_abs(&parts))
}

/// What each block makes of its part, `[BLOCKS]`.
fn parts(kernel: &str, tensor: &Tensor, dtype: DType) -> Result<Tensor> {
    let parts = output(tensor, BLOCKS, dtype)?;
    let args = [
        pointer(tensor)?,
        pointer(&parts)?,
        Arg::Long(tensor.elem_count() as i64),
    ];
    let grid = Grid {
        threads: THREADS,
        ..Grid::blocks(BLOCKS)
    };
    // SAFETY: the kernels' arguments; every block writes one part.
    unsafe { launch(gpu(tensor)?, kernel, grid, &args)? };
    Ok(parts)
}
