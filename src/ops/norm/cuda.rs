//! The norm on a GPU, alone and with the gate that may follow it.

use candle_core::{DType, Result, Tensor};

use super::Norm;
use crate::ops::cuda::{Arg, Grid, gpu, int, launch, output, pointer, pointer_if, suffix};

/// norm(x) * silu(gate), or norm(x) without a gate, stored as `dtype`, which is the gate's.
pub fn forward(norm: &Norm, x: &Tensor, gate: Option<&Tensor>, dtype: DType) -> Result<Tensor> {
    let (count, channels) = x.dims2()?;
    let z = output(x, (count, channels), dtype)?;
    let (kernel, grid) = of(norm, "norm_gate", [x, &z], count)?;
    let args = [
        pointer(x)?,
        pointer_if(gate)?,
        pointer(&norm.weight)?,
        pointer(&norm.bias)?,
        pointer(&z)?,
        int(count)?,
        int(channels)?,
        int(norm.groups)?,
        Arg::Float(norm.eps),
    ];
    // SAFETY: the arguments of norm_gate; `mod.rs` checked that shapes agree.
    unsafe { launch(gpu(x)?, &kernel, grid, &args)? };
    Ok(z)
}

/// (dx, dgate); dgate is dx again where there is no gate.
pub fn backward(
    norm: &Norm,
    dz: &Tensor,
    x: &Tensor,
    gate: Option<&Tensor>,
) -> Result<(Tensor, Tensor)> {
    let (count, channels) = x.dims2()?;
    let dx = output(x, x.shape(), x.dtype())?;
    let dgate = match gate {
        Some(gate) => output(x, x.shape(), gate.dtype())?,
        None => dx.clone(),
    };
    let (kernel, grid) = of(norm, "norm_gate_backward", [x, dz], count)?;
    let args = [
        pointer(dz)?,
        pointer(x)?,
        pointer_if(gate)?,
        pointer(&norm.weight)?,
        pointer(&norm.bias)?,
        pointer(&dx)?,
        pointer(&dgate)?,
        int(count)?,
        int(channels)?,
        int(norm.groups)?,
        Arg::Float(norm.eps),
    ];
    // SAFETY: as above, of norm_gate_backward, which leaves dgate alone without a gate.
    unsafe { launch(gpu(x)?, &kernel, grid, &args)? };
    Ok((dx, dgate))
}

/// A block for each row, or eight threads for each head's group.
fn of(norm: &Norm, kernel: &str, [x, z]: [&Tensor; 2], count: usize) -> Result<(String, Grid)> {
    let lanes = if norm.groups == 1 { 256 } else { 8 };
    let kernel = format!("{kernel}_{lanes}_{}_{}", suffix(x)?, suffix(z)?);
    Ok((kernel, Grid::each(count * norm.groups * lanes)))
}
