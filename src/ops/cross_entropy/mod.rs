//! Next-token loss of a chunk of logits, and its gradient, in one pass over them.
//!
//! ```text
//! loss    = sum over rows of log(sum over i of exp(z_i)) - z_target
//! dz_i    = scale * (softmax(z)_i - [i = target])
//! ```
//!
//! The gradient takes the place of the logits: at a vocabulary of 65,536 they are the largest thing a step computes.

mod cpu;
#[cfg(test)]
mod reference;

use candle_core::{Result, Tensor, bail};

use super::tensor;

/// (summed loss, dL/dlogits times `scale` `[R, V]`) of logits `[R, V]`, given as a flat vector that is reused for the
/// result, and R target tokens.
pub fn loss_and_gradient(mut logits: Vec<f32>, targets: &[u32], scale: f32) -> Result<(f64, Tensor)> {
    let rows = targets.len();
    if rows == 0 || !logits.len().is_multiple_of(rows) {
        bail!("{} logits for {rows} targets", logits.len());
    }
    let vocab = logits.len() / rows;
    if let Some(target) = targets.iter().find(|&&target| target as usize >= vocab) {
        bail!("target {target} in a vocabulary of {vocab}");
    }
    let loss = cpu::loss_and_gradient(&mut logits, targets, scale);
    Ok((loss, tensor(logits, (rows, vocab))?))
}

#[cfg(test)]
mod tests {
    use super::super::check::{F32, close, f32, var};
    use super::*;

    #[test]
    fn loss_and_gradient_agree_with_the_reference() -> Result<()> {
        for (rows, vocab) in [(1, 2), (3, 77), (20, 1000)] {
            // A common offset of 90 overflows exp in f32 unless the row's maximum is taken off first.
            let free = var(1, &[rows, vocab])?;
            let logits = (free.as_tensor() * 5.0)? + 90.0;
            let logits = logits?;
            let targets: Vec<u32> = (0..rows).map(|row| (row * 31 % vocab) as u32).collect();
            let loss = reference::loss(&logits, &targets)?;
            let grads = loss.backward()?;
            let want = (grads.get(&free).unwrap() * (0.25 / 5.0))?;

            let flat = f32(&logits)?.flatten_all()?.to_vec1()?;
            let (got, gradient) = loss_and_gradient(flat, &targets, 0.25)?;
            let want_loss = loss.to_scalar::<f64>()?;
            // The logits themselves are rounded to f32 at about 100: 4e-6 each, in the exponent.
            assert!((got - want_loss).abs() <= 8e-6 * rows as f64, "{got} {want_loss}");
            close("gradient", &gradient, &want, 10.0 * F32);
        }
        Ok(())
    }

    #[test]
    fn a_target_outside_the_vocabulary_is_refused() {
        assert!(loss_and_gradient(vec![0.0; 8], &[1, 4], 1.0).is_err());
    }
}
