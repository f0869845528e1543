//! RWKV-7's value residual: every layer but the first mixes its value with the first layer's.
//!
//! ```text
//! beta = sigmoid(v0 + gate)
//! v    = nu + (v_first - nu) * beta                           the first layer: v = v_first = nu
//!
//! dnu  = dv * (1 - beta)                                      the first layer: dnu = dv + dv_first
//! dgate    = dv * (v_first - nu) * beta * (1 - beta)
//! dv_first = that of the layers above + dv * beta
//! ```
//!
//! v reaches a layer's output in two ways ([`super::delta`], [`super::delta_output`]), so that dv
//! comes in two parts: the first, by the recurrence, is f32.

mod cpu;
mod cuda;
#[doc(hidden)]
pub mod reference;

use candle_core::{Result, Tensor, bail};

use super::cpu::activations::{Activations, ActivationsOutput};
use super::cpu::tensor::{Borrowed, borrow, tensor};
use super::linear::{ProductType, Rows};

/// The frozen parameter of a layer's value residual.
#[derive(Clone, Debug)]
pub struct ValueResidual {
    /// v0, which every row of the gate is added to: `[C]`.
    pub bias: Tensor,
}

/// What a layer's value is mixed of, `[N, C]` each; f32 or bf16, and the gate f32.
#[derive(Clone, Copy)]
pub struct ResidualInputs<'a> {
    /// The layer's own value.
    pub nu: &'a Tensor,
    /// Layer 0's value.
    pub v_first: &'a Tensor,
    /// The share of layer 0's before v0 and its sigmoid.
    pub gate: &'a Tensor,
}

/// Gradients of [`ResidualInputs`], `[N, C]` each. nu and the gate came from products.
pub struct ResidualGradients {
    /// Of nu.
    pub dnu: Rows,
    /// Of the gate.
    pub dgate: Rows,
    /// f32, that of the layers above included.
    pub dv_first: Tensor,
}

/// Plain views of the inputs, as the kernels take them.
pub(crate) struct ResidualViews<'a> {
    pub nu: Activations<'a>,
    pub v_first: Activations<'a>,
    pub gate: &'a [f32],
    pub bias: &'a [f32],
}

impl ValueResidual {
    /// v `[N, C]`, of nu's type.
    pub fn forward(&self, x: ResidualInputs) -> Result<Tensor> {
        self.check(x)?;
        if x.nu.device().is_cuda() {
            return cuda::forward(self, x);
        }
        let mut v = ActivationsOutput::new(x.nu.dtype(), x.nu.elem_count())?;
        self.with_views(x, |views| cpu::forward(views, &v.parts()))?;
        // SAFETY: the kernel writes every row.
        unsafe { v.finish(x.nu.shape()) }
    }

    /// From both parts of dv and what the layers above ask of v_first, if there are any.
    pub fn backward(
        &self,
        dv: [&Tensor; 2],
        dv_first: Option<&Tensor>,
        x: ResidualInputs,
        product: ProductType,
    ) -> Result<ResidualGradients> {
        self.check(x)?;
        check_gradients(dv, dv_first, x.nu)?;
        if x.nu.device().is_cuda() {
            return cuda::backward(self, dv, dv_first, x);
        }
        let parts = [borrow(dv[0])?, borrow(dv[1])?];
        let above = dv_first.map(borrow).transpose()?;
        let above = above.as_ref().map(Borrowed::f32).transpose()?;
        let ([dnu, dgate], dv_first) = self.with_views(x, |views| {
            let dv = parts.each_ref().map(Borrowed::get);
            cpu::backward(dv, above, views, product)
        })?;
        Ok(ResidualGradients {
            dnu: dnu.into(),
            dgate: dgate.into(),
            dv_first: tensor(dv_first, x.nu.shape())?,
        })
    }

    /// Runs a kernel on plain views of the tensors, whose shapes agree.
    fn with_views<R>(
        &self,
        x: ResidualInputs,
        kernel: impl FnOnce(&ResidualViews) -> R,
    ) -> Result<R> {
        Ok(kernel(&ResidualViews {
            nu: borrow(x.nu)?.get(),
            v_first: borrow(x.v_first)?.get(),
            gate: borrow(x.gate)?.f32()?,
            bias: borrow(&self.bias)?.f32()?,
        }))
    }

    fn check(&self, x: ResidualInputs) -> Result<()> {
        let (_, channels) = x.nu.dims2()?;
        if self.bias.dims() != [channels]
            || x.v_first.shape() != x.nu.shape()
            || x.gate.shape() != x.nu.shape()
        {
            bail!(
                "a value residual of {:?} with {:?}, gate {:?} and v0 {:?}",
                x.nu.shape(),
                x.v_first.shape(),
                x.gate.shape(),
                self.bias.shape()
            );
        }
        Ok(())
    }
}

/// The first layer's dnu `[N, C]`: both parts of its own dv, and the gradient
/// from later layers.
pub fn first_backward(
    dv: [&Tensor; 2],
    dv_first: Option<&Tensor>,
    product: ProductType,
) -> Result<Rows> {
    check_gradients(dv, dv_first, dv[0])?;
    if dv[0].device().is_cuda() {
        return cuda::first_backward(dv, dv_first, product);
    }
    let (_, channels) = dv[0].dims2()?;
    let parts = [borrow(dv[0])?, borrow(dv[1])?];
    let above = dv_first.map(borrow).transpose()?;
    let above = above.as_ref().map(Borrowed::f32).transpose()?;
    let dv = parts.each_ref().map(Borrowed::get);
    Ok(cpu::first_backward(dv, above, channels, product).into())
}

fn check_gradients(dv: [&Tensor; 2], dv_first: Option<&Tensor>, nu: &Tensor) -> Result<()> {
    if let Some(d) = dv
        .into_iter()
        .chain(dv_first)
        .find(|d| d.shape() != nu.shape())
    {
        bail!(
            "a value residual of {:?} with a gradient of {:?}",
            nu.shape(),
            d.shape()
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use candle_core::Var;

    use super::super::cpu::level::tests::at_each_level;
    use super::super::testing::{F32, close, f32, rounded, stored, uniform, var};
    use super::*;

    #[test]
    fn forward_and_gradients_agree_with_the_reference() -> Result<()> {
        at_each_level(|_| {
            for shape in [[1, 32], [7, 34], [300, 64]] {
                let (nu, v_first) = (var(1, &shape)?, var(2, &shape)?);
                // Wide enough that both ends of the logistic function are met.
                let gate = Var::from_tensor(&uniform(3, &shape, -15.0, 15.0)?)?;
                let bias = uniform(4, &shape[1..], -1.0, 1.0)?;
                let dv = [
                    uniform(5, &shape, -1.0, 1.0)?,
                    uniform(6, &shape, -1.0, 1.0)?,
                ];
                let above = uniform(7, &shape, -1.0, 1.0)?;
                let want = reference::forward(&nu, &v_first, &gate, &bias)?;
                let loss = (&want * (&dv[0] + &dv[1])?)?.sum_all()?;
                let gradients = loss.backward()?;

                let residual = ValueResidual { bias: f32(&bias)? };
                let x = [f32(&nu)?, f32(&v_first)?, f32(&gate)?];
                let x = inputs(&x);
                close("v", &residual.forward(x)?, &want, F32);
                let dv = [f32(&dv[0])?, f32(&dv[1])?];
                let above32 = f32(&above)?;
                for above in [None, Some(&above32)] {
                    let d = residual.backward(dv.each_ref(), above, x, ProductType::F32)?;
                    close(
                        "dnu",
                        &d.dnu.tensor()?,
                        gradients.get(&nu).unwrap(),
                        2.0 * F32,
                    );
                    close(
                        "dgate",
                        &d.dgate.tensor()?,
                        gradients.get(&gate).unwrap(),
                        2.0 * F32,
                    );
                    let mut want = gradients.get(&v_first).unwrap().clone();
                    let mut first = (&dv[0] + &dv[1])?;
                    if let Some(above) = above {
                        want = (want + above.to_dtype(candle_core::DType::F64)?)?;
                        first = (first + above)?;
                    }
                    close("dv_first", &d.dv_first, &want, 2.0 * F32);
                    let got = first_backward(dv.each_ref(), above, ProductType::F32)?;
                    close("the first layer's dnu", &got.tensor()?, &first, F32);
                }
            }
            Ok(())
        })
    }

    /// What is stored as bf16 is computed as the f32 that it stands for, and rounded once.
    #[test]
    fn what_is_stored_as_bf16_is_computed_in_f32() -> Result<()> {
        at_each_level(|_| {
            let shape = [35, 66];
            let residual = ValueResidual {
                bias: f32(&uniform(4, &shape[1..], -1.0, 1.0)?)?,
            };
            let gate = f32(&uniform(3, &shape, -4.0, 4.0)?)?;
            let [nu, v_first, one, other] = [1, 2, 5, 6]
                .map(|seed| stored(&uniform(seed, &shape, -1.0, 1.0).unwrap()).unwrap());
            let x = [0, 1].map(|i| [nu[i].clone(), v_first[i].clone(), gate.clone()]);
            let [v, v32] = [0, 1].map(|i| residual.forward(inputs(&x[i])).unwrap());
            rounded("v", &v, &v32);
            let [got, want] = [0, 1].map(|i| {
                let dv = [&one[i], &other[i]];
                residual
                    .backward(dv, None, inputs(&x[i]), ProductType::F32)
                    .unwrap()
            });
            close("dnu", &got.dnu.tensor()?, &want.dnu.tensor()?, 0.0);
            close("dgate", &got.dgate.tensor()?, &want.dgate.tensor()?, 0.0);
            close("dv_first", &got.dv_first, &want.dv_first, 0.0);
            Ok(())
        })
    }

    fn inputs([nu, v_first, gate]: &[Tensor; 3]) -> ResidualInputs<'_> {
        ResidualInputs { nu, v_first, gate }
    }
}
