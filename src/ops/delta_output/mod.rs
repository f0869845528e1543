//! RWKV-7's output of its recurrence ([`super::delta`]), on the way to the product that follows: y
//! is brought to a norm by head, the token's own value is added, and all of it is gated.
//!
//! ```text
//! n = norm(y)                 z = (n + q v) * g           q one number a head
//!
//! e = dz * g                  dg = dz * (n + q v)         dy = norm'(e)
//! dq = sum over a head of e * v                           dv = q e
//! ```

mod cpu;
mod cuda;
#[doc(hidden)]
pub mod reference;

use candle_core::{Result, Tensor, bail};

use super::cpu::activations::{Activations, ActivationsOutput};
use super::cpu::tensor::{borrow, tensor};
use super::linear::{ProductType, Rows};
use super::norm::{Norm, Params};

/// f32 or bf16, and q f32.
#[derive(Clone, Copy)]
pub struct DeltaOutputInputs<'a> {
    /// `[N, C]`.
    pub y: &'a Tensor,
    /// `[N, H]`.
    pub q: &'a Tensor,
    /// `[N, C]`.
    pub v: &'a Tensor,
    /// g: `[N, C]`.
    pub gate: &'a Tensor,
}

/// Gradients of [`DeltaOutputInputs`].
pub struct DeltaOutputGradients {
    /// `[N, C]`, of dz's type.
    pub dy: Tensor,
    /// `[N, H]`, f32.
    pub dq: Tensor,
    /// One part of dv, `[N, C]`, of dz's type.
    pub dv: Tensor,
    /// `[N, C]`, as the product takes it that the gate came from.
    pub dgate: Rows,
}

/// Plain views of the inputs, as the kernels take them.
pub(crate) struct DeltaOutputViews<'a> {
    pub norm: Params<'a>,
    pub y: Activations<'a>,
    pub q: &'a [f32],
    pub v: Activations<'a>,
    pub gate: Activations<'a>,
}

/// z `[N, C]`; the norm has a group for each head.
pub fn forward(norm: &Norm, x: DeltaOutputInputs, product: ProductType) -> Result<Rows> {
    check(norm, x)?;
    if x.y.device().is_cuda() {
        return cuda::forward(norm, x);
    }
    Ok(with_views(norm, x, |views| cpu::forward(views, product))?.into())
}

/// From dz `[N, C]` and the forward's inputs.
pub fn backward(
    norm: &Norm,
    dz: &Tensor,
    x: DeltaOutputInputs,
    product: ProductType,
) -> Result<DeltaOutputGradients> {
    check(norm, x)?;
    if dz.shape() != x.y.shape() {
        bail!("a delta output of {:?} with {:?}", x.y.shape(), dz.shape());
    }
    if x.y.device().is_cuda() {
        return cuda::backward(norm, dz, x);
    }
    let d = borrow(dz)?;
    let [mut dy, mut dv] = [
        ActivationsOutput::new(dz.dtype(), dz.elem_count())?,
        ActivationsOutput::new(dz.dtype(), dz.elem_count())?,
    ];
    let (dq, dgate) = with_views(norm, x, |views| {
        cpu::backward(d.get(), views, [&dy.parts(), &dv.parts()], product)
    })?;
    Ok(DeltaOutputGradients {
        // SAFETY: the kernel writes every row.
        dy: unsafe { dy.finish(dz.shape()) }?,
        dq: tensor(dq, x.q.shape())?,
        // SAFETY: as above.
        dv: unsafe { dv.finish(dz.shape()) }?,
        dgate: dgate.into(),
    })
}

/// Runs a kernel on plain views of the tensors, whose shapes agree.
fn with_views<R>(
    norm: &Norm,
    x: DeltaOutputInputs,
    kernel: impl FnOnce(&DeltaOutputViews) -> R,
) -> Result<R> {
    Ok(kernel(&DeltaOutputViews {
        norm: norm.params()?.get()?,
        y: borrow(x.y)?.get(),
        q: borrow(x.q)?.f32()?,
        v: borrow(x.v)?.get(),
        gate: borrow(x.gate)?.get(),
    }))
}

fn check(norm: &Norm, x: DeltaOutputInputs) -> Result<()> {
    norm.check(x.y)?;
    let (rows, _) = x.y.dims2()?;
    if x.q.dims() != [rows, norm.groups]
        || x.v.shape() != x.y.shape()
        || x.gate.shape() != x.y.shape()
    {
        bail!(
            "a delta output of {:?} with q {:?}, v {:?} and gate {:?} in {} heads",
            x.y.shape(),
            x.q.shape(),
            x.v.shape(),
            x.gate.shape(),
            norm.groups
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::cpu::level::tests::at_each_level;
    use super::super::testing::{F32, close, f32, rounded, stored, uniform, var};
    use super::*;

    #[test]
    fn forward_and_gradients_agree_with_the_reference() -> Result<()> {
        at_each_level(|_| {
            for (rows, n_head, size) in [(1, 1, 8), (7, 3, 5), (33, 2, 64), (40, 1, 72)] {
                let shape = [rows, n_head * size];
                let (y, v, gate) = (var(1, &shape)?, var(2, &shape)?, var(3, &shape)?);
                let q = var(4, &[rows, n_head])?;
                let (weight, bias) = (
                    uniform(5, &shape[1..], 0.5, 1.5)?,
                    uniform(6, &shape[1..], -0.5, 0.5)?,
                );
                let dz = uniform(7, &shape, -1.0, 1.0)?;
                let x = DeltaOutputInputs {
                    y: &y,
                    q: &q,
                    v: &v,
                    gate: &gate,
                };
                let want = reference::forward(x, &weight, &bias, 64e-5)?;
                let gradients = (&want * &dz)?.sum_all()?.backward()?;

                let norm = Norm {
                    weight: f32(&weight)?,
                    bias: f32(&bias)?,
                    groups: n_head,
                    eps: 64e-5,
                };
                let x = [f32(&y)?, f32(&q)?, f32(&v)?, f32(&gate)?];
                let x = inputs(&x);
                close(
                    "z",
                    &forward(&norm, x, ProductType::F32)?.tensor()?,
                    &want,
                    2.0 * F32,
                );
                let d = backward(&norm, &f32(&dz)?, x, ProductType::F32)?;
                close("dy", &d.dy, gradients.get(&y).unwrap(), 4.0 * F32);
                close("dq", &d.dq, gradients.get(&q).unwrap(), 2.0 * F32);
                close("dv", &d.dv, gradients.get(&v).unwrap(), 2.0 * F32);
                close(
                    "dgate",
                    &d.dgate.tensor()?,
                    gradients.get(&gate).unwrap(),
                    2.0 * F32,
                );
            }
            Ok(())
        })
    }

    /// What is stored as bf16 is computed as the f32 that it stands for, and rounded once.
    #[test]
    fn what_is_stored_as_bf16_is_computed_in_f32() -> Result<()> {
        at_each_level(|_| {
            let shape = [35, 66];
            let norm = Norm {
                weight: f32(&uniform(5, &shape[1..], 0.5, 1.5)?)?,
                bias: f32(&uniform(6, &shape[1..], -0.5, 0.5)?)?,
                groups: 2,
                eps: 64e-5,
            };
            let q = f32(&uniform(4, &[35, 2], -1.0, 1.0)?)?;
            let [y, v, gate, dz] = [1, 2, 3, 7]
                .map(|seed| stored(&uniform(seed, &shape, -1.0, 1.0).unwrap()).unwrap());
            let x = [0, 1].map(|i| [y[i].clone(), q.clone(), v[i].clone(), gate[i].clone()]);
            let [z, z32] = [0, 1].map(|i| forward(&norm, inputs(&x[i]), ProductType::F32).unwrap());
            close("z", &z.tensor()?, &z32.tensor()?, 0.0);
            let [got, want] =
                [0, 1].map(|i| backward(&norm, &dz[i], inputs(&x[i]), ProductType::F32).unwrap());
            rounded("dy", &got.dy, &want.dy);
            rounded("dv", &got.dv, &want.dv);
            close("dq", &got.dq, &want.dq, 0.0);
            close("dgate", &got.dgate.tensor()?, &want.dgate.tensor()?, 0.0);
            Ok(())
        })
    }

    fn inputs([y, q, v, gate]: &[Tensor; 4]) -> DeltaOutputInputs<'_> {
        DeltaOutputInputs { y, q, v, gate }
    }
}
