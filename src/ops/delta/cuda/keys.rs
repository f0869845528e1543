//! The keys on a GPU: kernels before and after the recurrence's.

use candle_core::{DType, Result, Tensor};

use super::super::{Delta, DeltaInputs, DeltaKeys};
use crate::ops::cuda::{
    Arg, Grid, constant, gpu, int, launch, output, pointer, pointer_of, suffix,
};
use crate::ops::linear::Rows;

/// Threads that share a head.
const LANES: usize = constant(include_str!("../keys.cu"), "LANES");

/// What the recurrence takes of kappa and a, `[N, C]` each.
pub struct Keys {
    /// f32, of length 1 over each head.
    pub kk: Tensor,
    /// f32.
    pub alpha: Tensor,
    /// Of kappa's type.
    pub k: Tensor,
}

pub fn forward(delta: &Delta, x: DeltaInputs) -> Result<Keys> {
    let kappa = x.kappa;
    let made = Keys {
        kk: output(kappa, kappa.shape(), DType::F32)?,
        alpha: output(kappa, kappa.shape(), DType::F32)?,
        k: output(kappa, kappa.shape(), kappa.dtype())?,
    };
    let mut args = inputs(&delta.keys, x)?.to_vec();
    args.extend([pointer(&made.kk)?, pointer(&made.alpha)?, pointer(&made.k)?]);
    run(delta, "delta_keys", kappa, args)?;
    Ok(made)
}

/// \[dkappa, da\] from the gradients of kk, alpha and k, `[N, C]` and f32 each.
pub fn backward(delta: &Delta, d: [&Tensor; 3], x: DeltaInputs) -> Result<[Rows; 2]> {
    let kappa = x.kappa;
    let [dkappa, da] = [
        output(kappa, kappa.shape(), kappa.dtype())?,
        output(kappa, kappa.shape(), kappa.dtype())?,
    ];
    let mut args = d.map(pointer).into_iter().collect::<Result<Vec<_>>>()?;
    args.extend(inputs(&delta.keys, x)?);
    args.extend([pointer(&dkappa)?, pointer(&da)?]);
    run(delta, "delta_keys_backward", kappa, args)?;
    Ok([dkappa, da].map(Rows::Gpu))
}

fn inputs(keys: &DeltaKeys, x: DeltaInputs) -> Result<[Arg; 5]> {
    Ok([
        pointer_of(x.r.dtype(), x.kappa)?,
        pointer_of(DType::F32, x.a)?,
        pointer(&keys.removal)?,
        pointer(&keys.share)?,
        pointer(&keys.rate)?,
    ])
}

fn run(delta: &Delta, kernel: &str, kappa: &Tensor, mut args: Vec<Arg>) -> Result<()> {
    let (rows, channels) = kappa.dims2()?;
    let (n_head, _) = delta.bonus.dims2()?;
    args.extend([int(rows)?, int(channels)?, int(n_head)?]);
    let kernel = format!("{kernel}_{}", suffix(kappa)?);
    let grid = Grid::each(rows * n_head * LANES);
    // SAFETY: the kernels' arguments; `delta/mod.rs` checked that shapes agree.
    unsafe { launch(gpu(kappa)?, &kernel, grid, &args) }
}
