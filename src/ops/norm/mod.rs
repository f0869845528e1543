//! Layer and group normalisation of rows: each row's `groups` equal parts are brought to mean 0 and
//! variance 1, then scaled and moved by channel.
//!
//! ```text
//! n = (x - mean) / sqrt(var + eps)            over each group of C / groups channels
//! y = n * weight + bias
//! dx = (d - mean(d) - n * mean(d * n)) / sqrt(var + eps)      with d = dy * weight
//! ```
//!
//! One group is LayerNorm, one group a head is the GroupNorm `ln_x` after the WKV. Weight and bias
//! are frozen, so they get no gradient. (Ba, Kiros, Hinton 2016; Wu and He 2018.)

mod cpu;
pub(crate) mod cuda;
#[doc(hidden)]
pub mod reference;

use candle_core::{Result, Tensor, bail};

pub(crate) use self::cpu::{Params, row, row_backward};
use super::cpu::tensor::{Borrowed, borrow, tensor};

/// The frozen parameters of a normalisation.
#[derive(Clone, Debug)]
pub struct Norm {
    /// Scale of each channel, `[C]`.
    pub weight: Tensor,
    /// Offset of each channel, `[C]`.
    pub bias: Tensor,
    /// Equal parts of a row that are normalised by themselves.
    pub groups: usize,
    /// Added to the variance.
    pub eps: f32,
}

impl Norm {
    /// x `[N, C]` to y `[N, C]`.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.check(x)?;
        if x.device().is_cuda() {
            return cuda::forward(self, x, None, x.dtype());
        }
        let y = cpu::forward(borrow(x)?.f32()?, self.params()?.get()?);
        tensor(y, x.shape())
    }

    /// dL/dx `[N, C]` from dL/dy `[N, C]` and the forward's x.
    pub fn backward(&self, dy: &Tensor, x: &Tensor) -> Result<Tensor> {
        self.check(x)?;
        self.check(dy)?;
        if x.device().is_cuda() {
            return Ok(cuda::backward(self, dy, x, None)?.0);
        }
        let (dy, x_numbers) = (borrow(dy)?, borrow(x)?);
        let params = self.params()?;
        cpu::backward(dy.get(), x_numbers.get(), params.get()?, x.dtype())
    }

    /// Plain views of the parameters, for ops that normalise on their way.
    pub(crate) fn params(&self) -> Result<BorrowedNorm<'_>> {
        Ok(BorrowedNorm {
            weight: borrow(&self.weight)?,
            bias: borrow(&self.bias)?,
            groups: self.groups,
            eps: self.eps,
        })
    }

    /// An error unless x is `[N, C]`, as wide as the weight, and C a multiple of `groups`.
    pub(crate) fn check(&self, x: &Tensor) -> Result<()> {
        let (_, channels) = x.dims2()?;
        if self.weight.dims() != [channels] || !channels.is_multiple_of(self.groups) {
            bail!(
                "norm of {:?} with weight {:?} in {} groups",
                x.shape(),
                self.weight.shape(),
                self.groups
            );
        }
        Ok(())
    }
}

/// The parameters for as long as they are borrowed.
pub(crate) struct BorrowedNorm<'a> {
    weight: Borrowed<'a>,
    bias: Borrowed<'a>,
    groups: usize,
    eps: f32,
}

impl BorrowedNorm<'_> {
    /// The plain numbers. An error if they are not f32.
    pub fn get(&self) -> Result<Params<'_>> {
        Ok(Params {
            weight: self.weight.f32()?,
            bias: self.bias.f32()?,
            groups: self.groups,
            eps: self.eps,
        })
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Var;

    use super::super::cpu::level::tests::at_each_level;
    use super::super::testing::{F32, close, f32, uniform, var};
    use super::*;

    #[test]
    fn forward_and_gradient_agree_with_the_reference() -> Result<()> {
        at_each_level(|_| check())
    }

    fn check() -> Result<()> {
        for (rows, channels, groups) in [(1, 32, 1), (5, 48, 3), (17, 130, 1), (40, 128, 2)] {
            let (x, dy) = (
                var(1, &[rows, channels])?,
                uniform(2, &[rows, channels], -1.0, 1.0)?,
            );
            let (weight, bias) = (
                uniform(3, &[channels], 0.5, 1.5)?,
                uniform(4, &[channels], -0.5, 0.5)?,
            );
            let y = reference::forward(&x, groups, &weight, &bias, 64e-5)?;
            let grads = (&y * &dy)?.sum_all()?.backward()?;

            let norm = Norm {
                weight: f32(&weight)?,
                bias: f32(&bias)?,
                groups,
                eps: 64e-5,
            };
            close("y", &norm.forward(&f32(&x)?)?, &y, F32);
            let dx = norm.backward(&f32(&dy)?, &f32(&x)?)?;
            close("dx", &dx, grads.get(&x).unwrap(), F32);
        }
        Ok(())
    }

    #[test]
    fn a_row_of_zeros_has_the_large_finite_gradient_of_variance_zero() -> Result<()> {
        // The soft prompt starts here: dx = d / sqrt(eps), about 316 times what came in.
        let x = Var::zeros((1, 64), candle_core::DType::F64, &candle_core::Device::Cpu)?;
        let (one, zero) = (
            Tensor::ones(64, x.dtype(), x.device())?,
            Tensor::zeros(64, x.dtype(), x.device())?,
        );
        let dy = uniform(5, &[1, 64], -1.0, 1.0)?;
        let grads = (reference::forward(&x, 1, &one, &zero, 1e-5)? * &dy)?
            .sum_all()?
            .backward()?;
        let norm = Norm {
            weight: f32(&one)?,
            bias: f32(&zero)?,
            groups: 1,
            eps: 1e-5,
        };
        close(
            "dx",
            &norm.backward(&f32(&dy)?, &f32(&x)?)?,
            grads.get(&x).unwrap(),
            F32,
        );
        Ok(())
    }
}
