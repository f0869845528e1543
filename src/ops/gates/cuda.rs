//! The element-wise gates on a GPU. Those that follow a norm are in `norm/cuda.rs`.

use candle_core::{DType, Result, Tensor, bail};

use crate::ops::cuda::{Grid, gpu, int, launch, output, pointer, suffix};
use crate::ops::linear::Rows;

pub fn sigmoid_mul_onto(x: &Tensor, r: &Tensor, v: &Tensor) -> Result<Tensor> {
    let [z] = each("sigmoid_mul_onto", [x, r, v], r, DType::F32)?;
    Ok(z)
}

pub fn sigmoid_mul_backward(dz: &Tensor, r: &Tensor, v: &Tensor) -> Result<[Rows; 2]> {
    Ok(each("sigmoid_mul_backward", [dz, r, v], r, r.dtype())?.map(Rows::Gpu))
}

pub fn relu_squared(k: &Tensor) -> Result<Rows> {
    let [z] = each("relu_squared", [k], k, k.dtype())?;
    Ok(Rows::Gpu(z))
}

pub fn relu_squared_backward(dz: &Tensor, k: &Tensor) -> Result<Rows> {
    let [dk] = each("relu_squared_backward", [dz, k], k, k.dtype())?;
    Ok(Rows::Gpu(dk))
}

/// Runs an element-wise kernel: `OUT` outputs of type `dtype` from inputs of one shape. `given` is
/// the input whose type the kernel's name ends in.
fn each<const IN: usize, const OUT: usize>(
    kernel: &str,
    inputs: [&Tensor; IN],
    given: &Tensor,
    dtype: DType,
) -> Result<[Tensor; OUT]> {
    let count = given.elem_count();
    if !count.is_multiple_of(8) {
        bail!(
            "the GPU's kernels take eight numbers at a time, and {:?} ends within",
            given.shape()
        );
    }
    let mut outputs = Vec::with_capacity(OUT);
    for _ in 0..OUT {
        outputs.push(output(given, given.shape(), dtype)?);
    }
    let mut args = Vec::with_capacity(IN + OUT + 1);
    for tensor in inputs.into_iter().chain(&outputs) {
        args.push(pointer(tensor)?);
    }
    args.push(int(count / 8)?);
    let kernel = format!("{kernel}_{}", suffix(given)?);
    // SAFETY: the gates take their inputs, their outputs and the number of eights; `mod.rs` checked
    // that shapes agree.
    unsafe { launch(gpu(given)?, &kernel, Grid::each(count / 8), &args)? };
    Ok(std::array::from_fn(|i| outputs[i].clone()))
}
