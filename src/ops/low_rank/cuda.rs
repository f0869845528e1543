//! The activations of a low-rank product on a GPU.

use candle_core::{DType, Result, Tensor};

use super::Activation;
use crate::ops::cuda::{Grid, gpu, int, launch, output, pointer, pointer_of};
use crate::ops::linear::{NEIGHBOURS, ProductType, Rows};

/// act(h).
pub fn activate(activation: Activation, h: &Tensor, product: ProductType) -> Result<Rows> {
    match activation {
        Activation::None => Rows::of(product, h),
        Activation::Tanh => run("low_rank_tanh", [h], product),
        Activation::Sigmoid => run("low_rank_sigmoid", [h], product),
    }
}

/// d * act'(h).
pub fn activate_backward(
    activation: Activation,
    [d, h]: [&Tensor; 2],
    product: ProductType,
) -> Result<Rows> {
    match activation {
        Activation::None => Rows::of(product, d),
        Activation::Tanh => run("low_rank_tanh_backward", [d, h], product),
        Activation::Sigmoid => run("low_rank_sigmoid_backward", [d, h], product),
    }
}

/// Runs a kernel on inputs `[N, rank]`, whose rank is a multiple of [`NEIGHBOURS`].
fn run<const IN: usize>(kernel: &str, inputs: [&Tensor; IN], product: ProductType) -> Result<Rows> {
    let like = inputs[0];
    let out = output(like, like.shape(), product.dtype())?;
    let mut args = Vec::with_capacity(IN + 2);
    for input in inputs {
        args.push(pointer_of(DType::F32, input)?);
    }
    let pieces = like.elem_count() / NEIGHBOURS;
    args.extend([pointer(&out)?, int(pieces)?]);
    let kernel = format!("{kernel}_{product}");
    // SAFETY: the kernels' arguments; `mod.rs` checked that shapes agree, and `LowRank::on` sees to
    // the rank.
    unsafe { launch(gpu(like)?, &kernel, Grid::each(pieces), &args)? };
    Ok(Rows::Gpu(out))
}
