//! The value residual on a GPU.

use candle_core::{DType, Result, Tensor, bail};

use super::{ResidualGradients, ResidualInputs, ValueResidual};
use crate::ops::cuda::{
    Arg, Grid, gpu, int, launch, output, pointer, pointer_if, pointer_of, suffix,
};
use crate::ops::linear::{ProductType, Rows};

pub fn forward(residual: &ValueResidual, x: ResidualInputs) -> Result<Tensor> {
    let v = output(x.nu, x.nu.shape(), x.nu.dtype())?;
    let mut args = inputs(residual, x)?.to_vec();
    args.push(pointer(&v)?);
    run("value_residual", &v, args)?;
    Ok(v)
}

pub fn backward(
    residual: &ValueResidual,
    dv: [&Tensor; 2],
    above: Option<&Tensor>,
    x: ResidualInputs,
) -> Result<ResidualGradients> {
    let [dnu, dgate] = [
        output(x.nu, x.nu.shape(), x.nu.dtype())?,
        output(x.nu, x.nu.shape(), x.nu.dtype())?,
    ];
    let dv_first = output(x.nu, x.nu.shape(), DType::F32)?;
    let mut args = gradients(dv, above, x.nu.dtype())?.to_vec();
    args.extend(inputs(residual, x)?);
    args.extend([pointer(&dnu)?, pointer(&dgate)?, pointer(&dv_first)?]);
    run("value_residual_backward", &dnu, args)?;
    Ok(ResidualGradients {
        dnu: Rows::Gpu(dnu),
        dgate: Rows::Gpu(dgate),
        dv_first,
    })
}

pub fn first_backward(
    dv: [&Tensor; 2],
    above: Option<&Tensor>,
    product: ProductType,
) -> Result<Rows> {
    let dnu = output(dv[0], dv[0].shape(), product.dtype())?;
    let mut args = gradients(dv, above, product.dtype())?.to_vec();
    args.push(pointer(&dnu)?);
    run("value_residual_first_backward", &dnu, args)?;
    Ok(Rows::Gpu(dnu))
}

fn inputs(residual: &ValueResidual, x: ResidualInputs) -> Result<[Arg; 4]> {
    Ok([
        pointer(x.nu)?,
        pointer_of(x.nu.dtype(), x.v_first)?,
        pointer_of(DType::F32, x.gate)?,
        pointer(&residual.bias)?,
    ])
}

fn gradients(dv: [&Tensor; 2], above: Option<&Tensor>, dtype: DType) -> Result<[Arg; 3]> {
    Ok([
        pointer_of(DType::F32, dv[0])?,
        pointer_of(dtype, dv[1])?,
        pointer_if(above)?,
    ])
}

fn run(kernel: &str, like: &Tensor, mut args: Vec<Arg>) -> Result<()> {
    let (rows, channels) = like.dims2()?;
    if !channels.is_multiple_of(8) {
        bail!("the GPU's kernels take eight numbers at a time, and a row has {channels}");
    }
    let eights = channels / 8;
    args.extend([int(rows)?, int(eights)?]);
    let kernel = format!("{kernel}_{}", suffix(like)?);
    let grid = Grid::each(rows * eights);
    // SAFETY: the kernels' arguments; `mod.rs` checked that shapes agree.
    unsafe { launch(gpu(like)?, &kernel, grid, &args) }
}
