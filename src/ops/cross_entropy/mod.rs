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

use std::sync::Mutex;

use candle_core::{CpuStorage, InplaceOp1, Layout, Result, Tensor, bail};

/// Summed loss of logits `[R, V]` against R target tokens. **The logits are overwritten** by their gradient times
/// `scale`.
pub fn loss_and_gradient(logits: &Tensor, targets: &[u32], scale: f32) -> Result<f64> {
    let (rows, vocab) = logits.dims2()?;
    if rows != targets.len() {
        bail!("logits {:?} for {} targets", logits.shape(), targets.len());
    }
    if let Some(target) = targets.iter().find(|&&target| target as usize >= vocab) {
        bail!("target {target} in a vocabulary of {vocab}");
    }
    let op = InPlace {
        targets,
        scale,
        loss: Mutex::new(0.0),
    };
    logits.inplace_op1(&op)?;
    Ok(op
        .loss
        .into_inner()
        .unwrap_or_else(|poisoned| poisoned.into_inner()))
}

/// candle's way to the storage of an existing tensor; the loss comes back through the op itself.
struct InPlace<'a> {
    targets: &'a [u32],
    scale: f32,
    loss: Mutex<f64>,
}

impl InplaceOp1 for InPlace<'_> {
    fn name(&self) -> &'static str {
        "cross_entropy"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
        let (CpuStorage::F32(data), Some((start, end))) = (storage, layout.contiguous_offsets())
        else {
            bail!("cross_entropy got logits that are not contiguous f32");
        };
        let loss = cpu::loss_and_gradient(&mut data[start..end], self.targets, self.scale);
        *self
            .loss
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner()) = loss;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::check::{F32, close, f32, uniform, var};
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

            let gradient = f32(&logits)?;
            let got = loss_and_gradient(&gradient, &targets, 0.25)?;
            let want_loss = loss.to_scalar::<f64>()?;
            // The logits themselves are rounded to f32 at about 100: 4e-6 each, in the exponent.
            assert!(
                (got - want_loss).abs() <= 8e-6 * rows as f64,
                "{got} {want_loss}"
            );
            close("gradient", &gradient, &want, 10.0 * F32);
        }
        Ok(())
    }

    #[test]
    fn a_target_outside_the_vocabulary_is_refused() -> Result<()> {
        let logits = f32(&uniform(1, &[2, 4], -1.0, 1.0)?)?;
        assert!(loss_and_gradient(&logits, &[1, 4], 1.0).is_err());
        Ok(())
    }
}
