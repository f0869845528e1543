//! Next-token loss of rows x under a head W, and its gradient.
//!
//! ```text
//! z_i     = x . W_i
//! loss    = log(sum over i of exp(z_i)) - z_target
//! dz_i    = scale * (softmax(z)_i - [i = target])          dx = sum over i of dz_i W_i
//! ```
//!
//! At a vocabulary of 65,536 logits would be the largest thing that a step computes. On the CPU there
//! is only a slice of them at a time, which stays in cache; a GPU has all of its rows.

mod cpu;
mod cuda;
#[doc(hidden)]
pub mod reference;
#[cfg(test)]
mod tests;

use candle_core::{Device, Result, Tensor, bail};

pub use self::cpu::SLICE;
use super::cpu::tensor::tensor;
use super::linear::{Matrix, Rows};

/// (the loss of each of R rows x `[R, C]` under the head `[V, C]` against R target tokens, `[R]` in
/// f64; the gradient of x times `scale`, `[R, C]`). On a GPU, nothing waits for the losses before
/// they are read.
pub fn loss_and_gradient(
    head: &Matrix,
    x: &Rows,
    targets: &[u32],
    scale: f32,
) -> Result<(Tensor, Tensor)> {
    check(head, x, targets)?;
    match x {
        Rows::Packed(x) => {
            let (losses, dx) = cpu::loss_and_gradient(head, x, targets, scale)?;
            let losses = Tensor::from_vec(losses, targets.len(), &Device::Cpu)?;
            Ok((losses, tensor(dx, x.dims().to_vec())?))
        }
        Rows::Gpu(_) => {
            let logits = head.forward_wide(x)?;
            let product = head.product();
            let (losses, dz) = cuda::loss_and_gradient(&logits, targets, scale, product)?;
            drop(logits);
            Ok((losses, head.backward(&dz)?))
        }
    }
}

/// (the summed loss, how many of the targets a greedy choice would hit: the first of the largest
/// logits).
pub fn score(head: &Matrix, x: &Rows, targets: &[u32]) -> Result<(f64, usize)> {
    check(head, x, targets)?;
    match x {
        Rows::Packed(x) => cpu::score(head, x, targets),
        Rows::Gpu(_) => cuda::score(&head.forward_wide(x)?, targets),
    }
}

fn check(head: &Matrix, x: &Rows, targets: &[u32]) -> Result<()> {
    let ([rows, width], [vocab, channels]) = (x.dims()?, head.dims());
    if rows != targets.len() || rows == 0 || width != channels {
        bail!(
            "the loss of {rows} x {width} under a head of {vocab} x {channels} against {} targets",
            targets.len()
        );
    }
    if let Some(target) = targets.iter().find(|&&target| target as usize >= vocab) {
        bail!("target {target} in a vocabulary of {vocab}");
    }
    Ok(())
}
