//! The output on a GPU.

use candle_core::{DType, Result, Tensor};

use super::{DeltaOutputGradients, DeltaOutputInputs};
use crate::ops::cuda::{
    Arg, Grid, check_head_size, constant, gpu, int, launch, output, pointer, pointer_of, suffix,
};
use crate::ops::linear::Rows;
use crate::ops::norm::Norm;

/// Threads that share a head.
const LANES: usize = constant(include_str!("delta_output.cu"), "LANES");

pub fn forward(norm: &Norm, x: DeltaOutputInputs) -> Result<Rows> {
    let z = output(x.y, x.y.shape(), x.y.dtype())?;
    let mut args = inputs(norm, x)?.to_vec();
    args.push(pointer(&z)?);
    run(norm, "delta_output", x.y, args)?;
    Ok(Rows::Gpu(z))
}

pub fn backward(norm: &Norm, dz: &Tensor, x: DeltaOutputInputs) -> Result<DeltaOutputGradients> {
    let like_y = || output(x.y, x.y.shape(), x.y.dtype());
    let (dy, dv, dgate) = (like_y()?, like_y()?, like_y()?);
    let dq = output(x.q, x.q.shape(), DType::F32)?;
    let mut args = vec![pointer_of(x.y.dtype(), dz)?];
    args.extend(inputs(norm, x)?);
    args.extend([
        pointer(&dy)?,
        pointer(&dq)?,
        pointer(&dv)?,
        pointer(&dgate)?,
    ]);
    run(norm, "delta_output_backward", x.y, args)?;
    Ok(DeltaOutputGradients {
        dy,
        dq,
        dv,
        dgate: Rows::Gpu(dgate),
    })
}

fn inputs(norm: &Norm, x: DeltaOutputInputs) -> Result<[Arg; 6]> {
    Ok([
        pointer(x.y)?,
        pointer_of(DType::F32, x.q)?,
        pointer_of(x.y.dtype(), x.v)?,
        pointer_of(DType::F32, x.gate)?,
        pointer(&norm.weight)?,
        pointer(&norm.bias)?,
    ])
}

fn run(norm: &Norm, kernel: &str, y: &Tensor, mut args: Vec<Arg>) -> Result<()> {
    let (rows, channels) = y.dims2()?;
    check_head_size(channels / norm.groups)?;
    args.extend([
        int(rows)?,
        int(channels)?,
        int(norm.groups)?,
        Arg::Float(norm.eps),
    ]);
    let kernel = format!("{kernel}_{}", suffix(y)?);
    let grid = Grid::each(rows * norm.groups * LANES);
    // SAFETY: the kernels' arguments; `mod.rs` checked that shapes agree.
    unsafe { launch(gpu(y)?, &kernel, grid, &args) }
}
