//! The element-wise gates of a block, each with its gradient, on the way to the product that
//! follows.
//!
//! ```text
//! norm_silu     z = n * g * s(g), n = norm(y)    dn = dz * g * s(g)      dg = dz * n * s(g) * (1 + g * (1 - s(g)))
//! sigmoid_mul   z = x + s(r) * v                 dr = dz * v * s(r) * (1 - s(r))        dv = dz * s(r)
//! relu_squared  z = max(k, 0)^2                  dk = dz * 2 * max(k, 0)
//! ```
//!
//! with s the logistic function; 1 - s(x) is computed as s(-x), which keeps its digits where s is
//! near 1.

mod cpu;
mod cuda;
#[doc(hidden)]
pub mod reference;

use candle_core::{Result, Tensor, bail};

use super::cpu::tensor::{Borrowed, borrow, tensor};
use super::linear::{ProductType, Rows};
use super::norm::Norm;

/// norm(y) * silu(g), or norm(y) alone without a gate; y, g `[N, C]`.
pub fn norm_silu(
    norm: &Norm,
    y: &Tensor,
    gate: Option<&Tensor>,
    product: ProductType,
) -> Result<Rows> {
    norm.check(y)?;
    if y.device().is_cuda() {
        return Ok(Rows::Gpu(super::norm::cuda::forward(
            norm,
            y,
            gate,
            product.dtype(),
        )?));
    }
    let gate = match gate {
        Some(gate) => {
            check(y, gate)?;
            Some(borrow(gate)?)
        }
        None => None,
    };
    let (params, y) = (norm.params()?, borrow(y)?);
    let gate = gate.as_ref().map(Borrowed::get);
    Ok(cpu::norm_silu(params.get()?, y.get(), gate, product).into())
}

/// (dy, dg) of [`norm_silu`] with a gate; without one it is the norm's own.
pub fn norm_silu_backward(
    norm: &Norm,
    dz: &Tensor,
    y: &Tensor,
    gate: &Tensor,
    product: ProductType,
) -> Result<(Tensor, Rows)> {
    norm.check(y)?;
    check(dz, y)?;
    check(y, gate)?;
    if y.device().is_cuda() {
        let (dy, dg) = super::norm::cuda::backward(norm, dz, y, Some(gate))?;
        return Ok((dy, Rows::Gpu(dg)));
    }
    let (params, dtype) = (norm.params()?, dz.dtype());
    let (dz, y, gate) = (borrow(dz)?, borrow(y)?, borrow(gate)?);
    let inputs = [dz.get(), y.get(), gate.get()];
    let (dy, dg) = cpu::norm_silu_backward(params.get()?, inputs, dtype, product)?;
    Ok((dy, dg.into()))
}

/// x + sigmoid(r) * v, all `[N, C]`.
pub fn sigmoid_mul_onto(x: &Tensor, r: &Tensor, v: &Tensor) -> Result<Tensor> {
    check(x, r)?;
    check(r, v)?;
    if x.device().is_cuda() {
        return cuda::sigmoid_mul_onto(x, r, v);
    }
    tensor(
        cpu::sigmoid_mul_onto(borrow(x)?.f32()?, borrow(r)?.get(), borrow(v)?.get()),
        r.shape(),
    )
}

/// \[dr, dv\] of [`sigmoid_mul_onto`].
pub fn sigmoid_mul_backward(
    dz: &Tensor,
    r: &Tensor,
    v: &Tensor,
    product: ProductType,
) -> Result<[Rows; 2]> {
    check(dz, r)?;
    check(r, v)?;
    if r.device().is_cuda() {
        return cuda::sigmoid_mul_backward(dz, r, v);
    }
    let (_, channels) = r.dims2()?;
    let (dz, r, v) = (borrow(dz)?, borrow(r)?, borrow(v)?);
    let both = cpu::sigmoid_mul_backward(dz.f32()?, r.get(), v.get(), channels, product);
    Ok(both.map(Rows::from))
}

/// max(k, 0)^2, `[N, F]`.
pub fn relu_squared(k: &Tensor, product: ProductType) -> Result<Rows> {
    if k.device().is_cuda() {
        return cuda::relu_squared(k);
    }
    let (_, channels) = k.dims2()?;
    Ok(cpu::relu_squared(borrow(k)?.get(), channels, product).into())
}

/// dk of [`relu_squared`].
pub fn relu_squared_backward(dz: &Tensor, k: &Tensor, product: ProductType) -> Result<Rows> {
    check(dz, k)?;
    if k.device().is_cuda() {
        return cuda::relu_squared_backward(dz, k);
    }
    let (_, channels) = k.dims2()?;
    let (dz, k) = (borrow(dz)?, borrow(k)?);
    Ok(cpu::relu_squared_backward(dz.get(), k.get(), channels, product).into())
}

fn check(a: &Tensor, b: &Tensor) -> Result<()> {
    if a.shape() != b.shape() {
        bail!("a gate got {:?} and {:?}", a.shape(), b.shape());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use candle_core::Var;

    use super::super::cpu::level::tests::at_each_level;
    use super::super::norm;
    use super::super::testing::{F32, close, f32, rounded, stored, uniform, var};
    use super::*;

    fn numbers(rows: &Rows) -> Result<Tensor> {
        rows.tensor()
    }

    #[test]
    fn values_and_gradients_agree_with_the_reference() -> Result<()> {
        at_each_level(|_| {
            [[1, 32], [7, 34], [300, 64]]
                .into_iter()
                .try_for_each(check_one)
        })
    }

    fn check_one(shape: [usize; 2]) -> Result<()> {
        // Wide enough that both ends of the logistic function are met.
        let a = Var::from_tensor(&uniform(1, &shape, -30.0, 30.0)?)?;
        let b = Var::from_tensor(&uniform(2, &shape, -8.0, 8.0)?)?;
        let x = var(4, &shape)?;
        let dz = uniform(3, &shape, -1.0, 1.0)?;
        let (a32, b32, x32, dz32) = (f32(&a)?, f32(&b)?, f32(&x)?, f32(&dz)?);
        let product = ProductType::F32;

        let (weight, bias) = (
            uniform(5, &shape[1..], 0.5, 1.5)?,
            uniform(6, &shape[1..], -0.5, 0.5)?,
        );
        let norm = Norm {
            weight: f32(&weight)?,
            bias: f32(&bias)?,
            groups: 2,
            eps: 64e-5,
        };
        let normal = norm::reference::forward(&a, 2, &weight, &bias, 64e-5)?;
        let z = reference::silu_mul(&normal, &b)?;
        let grads = (&z * &dz)?.sum_all()?.backward()?;
        close(
            "norm",
            &numbers(&norm_silu(&norm, &a32, None, product)?)?,
            &normal,
            F32,
        );
        let got = numbers(&norm_silu(&norm, &a32, Some(&b32), product)?)?;
        close("norm_silu", &got, &z, F32);
        let (dy, dg) = norm_silu_backward(&norm, &dz32, &a32, &b32, product)?;
        close("norm_silu dy", &dy, grads.get(&a).unwrap(), 2.0 * F32);
        close("norm_silu dg", &numbers(&dg)?, grads.get(&b).unwrap(), F32);

        let z = (x.as_tensor() + reference::sigmoid_mul(&a, &b)?)?;
        let grads = (&z * &dz)?.sum_all()?.backward()?;
        let [dr, dv] = sigmoid_mul_backward(&dz32, &a32, &b32, product)?;
        close("sigmoid_mul", &sigmoid_mul_onto(&x32, &a32, &b32)?, &z, F32);
        close(
            "sigmoid_mul dr",
            &numbers(&dr)?,
            grads.get(&a).unwrap(),
            F32,
        );
        close(
            "sigmoid_mul dv",
            &numbers(&dv)?,
            grads.get(&b).unwrap(),
            F32,
        );

        let z = reference::relu_squared(&a)?;
        let grads = (&z * &dz)?.sum_all()?.backward()?;
        close(
            "relu_squared",
            &numbers(&relu_squared(&a32, product)?)?,
            &z,
            F32,
        );
        let dk = numbers(&relu_squared_backward(&dz32, &a32, product)?)?;
        close("relu_squared dk", &dk, grads.get(&a).unwrap(), F32);
        Ok(())
    }

    /// What is stored as bf16 is computed as the f32 that it stands for, and rounded once.
    #[test]
    fn what_is_stored_as_bf16_is_computed_in_f32() -> Result<()> {
        at_each_level(|_| {
            let shape = [35, 66];
            let [a, b, dz] =
                [1, 2, 3].map(|seed| stored(&uniform(seed, &shape, -4.0, 4.0).unwrap()).unwrap());
            let x = f32(&uniform(4, &shape, -1.0, 1.0)?)?;
            let norm = Norm {
                weight: f32(&uniform(5, &shape[1..], 0.5, 1.5)?)?,
                bias: f32(&uniform(6, &shape[1..], -0.5, 0.5)?)?,
                groups: 2,
                eps: 64e-5,
            };
            let same = |what: &str, [got, want]: [Rows; 2]| -> Result<()> {
                close(what, &got.tensor()?, &want.tensor()?, 0.0);
                Ok(())
            };
            let p = ProductType::F32;
            same(
                "norm_silu",
                [0, 1].map(|i| norm_silu(&norm, &a[i], Some(&b[i]), p).unwrap()),
            )?;
            let [(dy, dg), (dy32, dg32)] =
                [0, 1].map(|i| norm_silu_backward(&norm, &dz[i], &a[i], &b[i], p).unwrap());
            rounded("norm_silu dy", &dy, &dy32);
            same("norm_silu dg", [dg, dg32])?;
            let [z, z32] = [0, 1].map(|i| sigmoid_mul_onto(&x, &a[i], &b[i]).unwrap());
            close("sigmoid_mul", &z, &z32, 0.0);
            let [[dr, dv], [dr32, dv32]] =
                [0, 1].map(|i| sigmoid_mul_backward(&x, &a[i], &b[i], p).unwrap());
            same("sigmoid_mul dr", [dr, dr32])?;
            same("sigmoid_mul dv", [dv, dv32])?;
            same(
                "relu_squared",
                [0, 1].map(|i| relu_squared(&a[i], p).unwrap()),
            )?;
            same(
                "relu_squared dk",
                [0, 1].map(|i| relu_squared_backward(&dz[i], &a[i], p).unwrap()),
            )?;
            let [dn, dn32] = [0, 1].map(|i| norm.backward(&dz[i], &a[i]).unwrap());
            rounded("norm dx", &dn, &dn32);
            Ok(())
        })
    }

    #[test]
    fn far_out_values_stay_finite() -> Result<()> {
        let far = Tensor::new(&[[-1e4f32, -100.0, 100.0, 1e4]], &candle_core::Device::Cpu)?;
        let one = far.ones_like()?;
        let [dr, dv] = sigmoid_mul_backward(&one, &far, &one, ProductType::F32)?;
        for t in [
            sigmoid_mul_onto(&one, &far, &one)?,
            numbers(&dr)?,
            numbers(&dv)?,
        ] {
            assert!(
                t.flatten_all()?
                    .to_vec1::<f32>()?
                    .iter()
                    .all(|x| x.is_finite())
            );
        }
        Ok(())
    }
}
