//! Next-token loss of a chunk of logits, and its gradient, row by row while a row is in cache.
//!
//! ```text
//! loss    = sum over rows of log(sum over i of exp(z_i)) - z_target
//! dz_i    = scale * (softmax(z)_i - [i = target])
//! ```
//!
//! The gradient goes straight into the form that the product with the head's matrix takes: at a
//! vocabulary of 65,536 logits are the largest thing a step computes, and are fetched just once.

mod cpu;
mod cuda;
#[doc(hidden)]
pub mod reference;

use candle_core::{Device, Result, Tensor, bail};

use super::cpu::tensor::borrow;
use super::linear::{ProductType, Rows};

/// (the loss of each row of logits `[R, V]` against R target tokens, `[R]` in f64; the logits'
/// gradient times `scale`, `[R, V]`). On a GPU, nothing waits for the losses before they are read.
pub fn loss_and_gradient(
    logits: &Tensor,
    targets: &[u32],
    scale: f32,
    product: ProductType,
) -> Result<(Tensor, Rows)> {
    check(logits, targets)?;
    if logits.device().is_cuda() {
        return cuda::loss_and_gradient(logits, targets, scale, product);
    }
    let (losses, gradient) =
        cpu::loss_and_gradient(borrow(logits)?.f32()?, targets, scale, product);
    Ok((
        Tensor::from_vec(losses, targets.len(), &Device::Cpu)?,
        gradient.into(),
    ))
}

/// (the summed loss, how many of the targets a greedy choice would hit: the first of the largest
/// logits).
pub fn score(logits: &Tensor, targets: &[u32]) -> Result<(f64, usize)> {
    check(logits, targets)?;
    if logits.device().is_cuda() {
        return cuda::score(logits, targets);
    }
    Ok(cpu::score(borrow(logits)?.f32()?, targets))
}

fn check(logits: &Tensor, targets: &[u32]) -> Result<()> {
    let (rows, vocab) = logits.dims2()?;
    if rows != targets.len() || rows == 0 {
        bail!("logits {:?} for {} targets", logits.shape(), targets.len());
    }
    if let Some(target) = targets.iter().find(|&&target| target as usize >= vocab) {
        bail!("target {target} in a vocabulary of {vocab}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::cpu::level::tests::at_each_level;
    use super::super::cpu::tensor::tensor;
    use super::super::testing::{F32, close, f32, uniform, var};
    use super::*;

    #[test]
    fn loss_and_gradient_agree_with_the_reference() -> Result<()> {
        at_each_level(|_| {
            [(1, 2), (3, 77), (20, 1000)]
                .into_iter()
                .try_for_each(check_one)
        })
    }

    fn check_one((rows, vocab): (usize, usize)) -> Result<()> {
        // A common offset of 90 overflows exp in f32 unless the row's maximum is taken off first.
        let free = var(1, &[rows, vocab])?;
        let logits = ((free.as_tensor() * 5.0)? + 90.0)?;
        let targets: Vec<u32> = (0..rows).map(|row| (row * 31 % vocab) as u32).collect();
        let loss = reference::loss(&logits, &targets)?;
        let grads = loss.backward()?;
        let want = (grads.get(&free).unwrap() * (0.25 / 5.0))?;

        let (losses, gradient) =
            loss_and_gradient(&f32(&logits)?, &targets, 0.25, ProductType::F32)?;
        let got: f64 = losses.to_vec1::<f64>()?.iter().sum();
        let want_loss = loss.to_scalar::<f64>()?;
        // The logits themselves are rounded to f32 at about 100: 4e-6 each, in the exponent.
        assert!(
            (got - want_loss).abs() <= 8e-6 * rows as f64,
            "{got} {want_loss}"
        );
        close("gradient", &gradient.tensor()?, &want, 10.0 * F32);

        let (loss, hits) = score(&f32(&logits)?, &targets)?;
        assert!((loss - want_loss).abs() <= 8e-6 * rows as f64, "{loss}");
        assert_eq!(hits, reference::hits(&f32(&logits)?, &targets)?);
        Ok(())
    }

    #[test]
    fn of_equal_logits_the_first_is_the_choice() -> Result<()> {
        let logits = tensor(vec![1.0, 3.0, 3.0, 1.0, 3.0, 3.0], (2, 3))?;
        assert_eq!(score(&logits, &[1, 2])?.1, 1);
        Ok(())
    }

    #[test]
    fn a_target_outside_the_vocabulary_is_refused() -> Result<()> {
        let logits = f32(&uniform(1, &[2, 4], -1.0, 1.0)?)?;
        assert!(loss_and_gradient(&logits, &[1, 4], 1.0, ProductType::F32).is_err());
        Ok(())
    }
}
