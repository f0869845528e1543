//! The keys on a GPU.

use candle_core::{DType, Result, Tensor};

use super::{DeltaKeys, KeyGradients, Keys};
use crate::ops::cuda::{
    Arg, Grid, check_head_size, constant, gpu, int, launch, output, pointer, pointer_of, suffix,
};
use crate::ops::linear::Rows;

/// Threads that share a head.
const LANES: usize = constant(include_str!("delta_keys.cu"), "LANES");

pub fn forward(keys: &DeltaKeys, kappa: &Tensor, a: &Tensor) -> Result<Keys> {
    let made = Keys {
        kk: output(kappa, kappa.shape(), DType::F32)?,
        alpha: output(kappa, kappa.shape(), DType::F32)?,
        k: output(kappa, kappa.shape(), kappa.dtype())?,
    };
    let mut args = inputs(keys, kappa, a)?.to_vec();
    args.extend([pointer(&made.kk)?, pointer(&made.alpha)?, pointer(&made.k)?]);
    run(keys, "delta_keys", kappa, args)?;
    Ok(made)
}

pub fn backward(
    keys: &DeltaKeys,
    d: KeyGradients,
    kappa: &Tensor,
    a: &Tensor,
) -> Result<[Rows; 2]> {
    let [dkappa, da] = [
        output(kappa, kappa.shape(), kappa.dtype())?,
        output(kappa, kappa.shape(), kappa.dtype())?,
    ];
    let mut args = vec![
        pointer_of(DType::F32, d.dkk)?,
        pointer_of(DType::F32, d.dalpha)?,
        pointer_of(DType::F32, d.dk)?,
    ];
    args.extend(inputs(keys, kappa, a)?);
    args.extend([pointer(&dkappa)?, pointer(&da)?]);
    run(keys, "delta_keys_backward", kappa, args)?;
    Ok([dkappa, da].map(Rows::Gpu))
}

fn inputs(keys: &DeltaKeys, kappa: &Tensor, a: &Tensor) -> Result<[Arg; 5]> {
    Ok([
        pointer(kappa)?,
        pointer_of(DType::F32, a)?,
        pointer(&keys.removal)?,
        pointer(&keys.share)?,
        pointer(&keys.rate)?,
    ])
}

fn run(keys: &DeltaKeys, kernel: &str, kappa: &Tensor, mut args: Vec<Arg>) -> Result<()> {
    let (rows, channels) = kappa.dims2()?;
    check_head_size(channels / keys.n_head)?;
    args.extend([int(rows)?, int(channels)?, int(keys.n_head)?]);
    let kernel = format!("{kernel}_{}", suffix(kappa)?);
    let grid = Grid::each(rows * keys.n_head * LANES);
    // SAFETY: the kernels' arguments; `mod.rs` checked that shapes agree.
    unsafe { launch(gpu(kappa)?, &kernel, grid, &args) }
}
