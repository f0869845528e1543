//! The keys of RWKV-7's recurrence ([`super::delta`]), from the product that makes them and the
//! in-context learning rate.
//!
//! ```text
//! u     = kappa * k_k,   n = max(|u|, 1e-12) over each head,   kk = u / n
//! alpha = sigmoid(a0 + a)
//! k     = kappa * (1 + (alpha - 1) * k_a)
//!
//! du     = (dkk - kk sum over a head of kk * dkk) / n          0 where |u| is 1e-12 or less
//! dkappa = dk * (1 + (alpha - 1) * k_a) + du * k_k
//! da     = (dalpha + dk * kappa * k_a) * alpha * (1 - alpha)
//! ```
//!
//! PyTorch's gradient of a head of zeros is dkk * 1e12; 0 trains on.

mod cpu;
mod cuda;
#[doc(hidden)]
pub mod reference;
#[cfg(test)]
mod tests;

use candle_core::{DType, Result, Tensor, bail};

use super::cpu::activations::{Activations, ActivationsOutput};
use super::cpu::tensor::borrow;
use super::linear::{ProductType, Rows};

/// The frozen parameters of a layer's keys, `[C]` each.
#[derive(Clone, Debug)]
pub struct DeltaKeys {
    /// k_k: scale of the key whose value is replaced.
    pub removal: Tensor,
    /// k_a: how much of the learning rate the key that is added takes.
    pub share: Tensor,
    /// a0, which every row of a is added to.
    pub rate: Tensor,
    /// Heads, over each of which kk has length 1.
    pub n_head: usize,
}

/// What [`DeltaKeys::forward`] makes, `[N, C]` each.
pub struct Keys {
    /// f32, of length 1 over each head.
    pub kk: Tensor,
    /// f32.
    pub alpha: Tensor,
    /// Of kappa's type.
    pub k: Tensor,
}

/// Gradients of [`Keys`], `[N, C]` each.
#[derive(Clone, Copy)]
pub struct KeyGradients<'a> {
    /// Of kk, f32.
    pub dkk: &'a Tensor,
    /// Of alpha, f32.
    pub dalpha: &'a Tensor,
    /// Of k, f32.
    pub dk: &'a Tensor,
}

/// Plain views of the inputs and parameters, as the kernels take them.
pub(crate) struct KeyViews<'a> {
    pub kappa: Activations<'a>,
    pub a: &'a [f32],
    pub removal: &'a [f32],
    pub share: &'a [f32],
    pub rate: &'a [f32],
    pub n_head: usize,
}

impl DeltaKeys {
    /// From kappa `[N, C]`, f32 or bf16, and a `[N, C]`, f32.
    pub fn forward(&self, kappa: &Tensor, a: &Tensor) -> Result<Keys> {
        self.check([kappa, a])?;
        if kappa.device().is_cuda() {
            return cuda::forward(self, kappa, a);
        }
        let count = kappa.elem_count();
        let mut outs = [
            ActivationsOutput::new(DType::F32, count)?,
            ActivationsOutput::new(DType::F32, count)?,
            ActivationsOutput::new(kappa.dtype(), count)?,
        ];
        self.with_views(kappa, a, |views| {
            cpu::forward(views, &outs.each_mut().map(ActivationsOutput::parts));
        })?;
        // SAFETY: the kernel writes every row of all three.
        let [kk, alpha, k] = outs.map(|out| unsafe { out.finish(kappa.shape()) });
        Ok(Keys {
            kk: kk?,
            alpha: alpha?,
            k: k?,
        })
    }

    /// \[dkappa, da\], `[N, C]`, from the forward's inputs; both came from such products.
    pub fn backward(
        &self,
        d: KeyGradients,
        kappa: &Tensor,
        a: &Tensor,
        product: ProductType,
    ) -> Result<[Rows; 2]> {
        self.check([kappa, a])?;
        self.check([d.dkk, d.dalpha])?;
        self.check([kappa, d.dk])?;
        if kappa.device().is_cuda() {
            return cuda::backward(self, d, kappa, a);
        }
        let (dkk, dalpha, dk) = (borrow(d.dkk)?, borrow(d.dalpha)?, borrow(d.dk)?);
        let d = [dkk.get(), dalpha.get(), dk.get()];
        let made = self.with_views(kappa, a, |views| cpu::backward(d, views, product))?;
        Ok(made.map(Rows::from))
    }

    /// Runs a kernel on plain views of the tensors, whose shapes agree.
    fn with_views<R>(
        &self,
        kappa: &Tensor,
        a: &Tensor,
        kernel: impl FnOnce(&KeyViews) -> R,
    ) -> Result<R> {
        Ok(kernel(&KeyViews {
            kappa: borrow(kappa)?.get(),
            a: borrow(a)?.f32()?,
            removal: borrow(&self.removal)?.f32()?,
            share: borrow(&self.share)?.f32()?,
            rate: borrow(&self.rate)?.f32()?,
            n_head: self.n_head,
        }))
    }

    fn check(&self, [x, y]: [&Tensor; 2]) -> Result<()> {
        let (_, channels) = x.dims2()?;
        let vectors = [&self.removal, &self.share, &self.rate];
        if x.shape() != y.shape()
            || !channels.is_multiple_of(self.n_head)
            || vectors.iter().any(|vector| vector.dims() != [channels])
        {
            bail!(
                "delta keys of {:?} and {:?} with vectors {:?} in {} heads",
                x.shape(),
                y.shape(),
                vectors.map(|vector| vector.shape()),
                self.n_head
            );
        }
        Ok(())
    }
}
