//! Cross-entropy on a GPU.

use candle_core::{DType, Result, Tensor};

use crate::ops::cuda::{
    Arg, Grid, constant, gpu, indices, int, launch, output, pointer, pointer_if,
};
use crate::ops::linear::{ProductType, Rows};

/// Threads for each row.
const ROW_THREADS: usize = constant(include_str!("cross_entropy.cu"), "ROW_THREADS");

pub fn loss_and_gradient(
    logits: &Tensor,
    targets: &[u32],
    scale: f32,
    product: ProductType,
) -> Result<(Tensor, Rows)> {
    let gradient = output(logits, logits.shape(), product.dtype())?;
    let (losses, _) = run(logits, targets, scale, Some(&gradient))?;
    Ok((losses, Rows::Gpu(gradient)))
}

pub fn score(logits: &Tensor, targets: &[u32]) -> Result<(f64, usize)> {
    let (losses, hits) = run(logits, targets, 1.0, None)?;
    let hits = hits.to_vec1::<i32>()?.iter().sum::<i32>();
    Ok((losses.to_vec1::<f64>()?.iter().sum(), hits as usize))
}

/// (each row's loss, whether its target is the first of the largest logits); writes the gradient
/// where one is wanted.
fn run(
    logits: &Tensor,
    targets: &[u32],
    scale: f32,
    gradient: Option<&Tensor>,
) -> Result<(Tensor, Tensor)> {
    let (rows, vocab) = logits.dims2()?;
    let losses = output(logits, rows, DType::F64)?;
    let hits = output(logits, rows, DType::I32)?;
    let targets = indices(targets, logits)?;
    let kernel = match gradient.map(Tensor::dtype) {
        Some(DType::BF16) => "cross_entropy_bf16",
        _ => "cross_entropy_f32",
    };
    let args = [
        pointer(logits)?,
        pointer(&targets)?,
        Arg::Float(scale),
        pointer_if(gradient)?,
        pointer(&losses)?,
        pointer(&hits)?,
        int(vocab)?,
    ];
    let grid = Grid {
        threads: ROW_THREADS,
        ..Grid::blocks(rows)
    };
    // SAFETY: the kernel's arguments; logits are f32, and `mod.rs` checked the targets.
    unsafe { launch(gpu(logits)?, kernel, grid, &args)? };
    Ok((losses, hits))
}
