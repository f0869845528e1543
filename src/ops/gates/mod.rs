//! The element-wise gates of a block, each with its gradient.
//!
//! ```text
//! silu_mul     z = y * g * s(g)          dy = dz * g * s(g)      dg = dz * y * s(g) * (1 + g * (1 - s(g)))
//! sigmoid_mul  z = s(r) * v              dr = dz * v * s(r) * (1 - s(r))        dv = dz * s(r)
//! relu_squared z = max(k, 0)^2           dk = dz * 2 * max(k, 0)
//! ```
//!
//! with s the logistic function; 1 - s(x) is computed as s(-x), which keeps its digits where s is near 1.

mod cpu;
#[cfg(test)]
mod reference;

use candle_core::{Result, Tensor, bail};

use super::{floats, tensor};

/// y * silu(g), all `[N, C]`.
pub fn silu_mul(y: &Tensor, g: &Tensor) -> Result<Tensor> {
    check(y, g)?;
    tensor(
        cpu::map2(&floats(y)?, &floats(g)?, |y, g| y * g * cpu::sigmoid(g)),
        y.shape(),
    )
}

/// (dy, dg) of [`silu_mul`].
pub fn silu_mul_backward(dz: &Tensor, y: &Tensor, g: &Tensor) -> Result<(Tensor, Tensor)> {
    check(dz, y)?;
    check(y, g)?;
    let (dy, dg) = cpu::map3(&floats(dz)?, &floats(y)?, &floats(g)?, |dz, y, g| {
        let (s, rest) = (cpu::sigmoid(g), cpu::sigmoid(-g));
        (dz * g * s, dz * y * s * (1.0 + g * rest))
    });
    Ok((tensor(dy, y.shape())?, tensor(dg, y.shape())?))
}

/// sigmoid(r) * v, all `[N, C]`.
pub fn sigmoid_mul(r: &Tensor, v: &Tensor) -> Result<Tensor> {
    check(r, v)?;
    tensor(
        cpu::map2(&floats(r)?, &floats(v)?, |r, v| cpu::sigmoid(r) * v),
        r.shape(),
    )
}

/// (dr, dv) of [`sigmoid_mul`].
pub fn sigmoid_mul_backward(dz: &Tensor, r: &Tensor, v: &Tensor) -> Result<(Tensor, Tensor)> {
    check(dz, r)?;
    check(r, v)?;
    let (dr, dv) = cpu::map3(&floats(dz)?, &floats(r)?, &floats(v)?, |dz, r, v| {
        let (s, rest) = (cpu::sigmoid(r), cpu::sigmoid(-r));
        (dz * v * s * rest, dz * s)
    });
    Ok((tensor(dr, r.shape())?, tensor(dv, r.shape())?))
}

/// max(k, 0)^2, `[N, F]`.
pub fn relu_squared(k: &Tensor) -> Result<Tensor> {
    tensor(
        cpu::map(&floats(k)?, |k| k.max(0.0) * k.max(0.0)),
        k.shape(),
    )
}

/// dk of [`relu_squared`].
pub fn relu_squared_backward(dz: &Tensor, k: &Tensor) -> Result<Tensor> {
    check(dz, k)?;
    tensor(
        cpu::map2(&floats(dz)?, &floats(k)?, |dz, k| dz * 2.0 * k.max(0.0)),
        k.shape(),
    )
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

    use super::super::check::{F32, close, f32, uniform};
    use super::*;

    #[test]
    fn values_and_gradients_agree_with_the_reference() -> Result<()> {
        for shape in [[1, 32], [7, 33], [300, 64]] {
            // Wide enough that both ends of the logistic function are met.
            let a = Var::from_tensor(&uniform(1, &shape, -30.0, 30.0)?)?;
            let b = Var::from_tensor(&uniform(2, &shape, -8.0, 8.0)?)?;
            let dz = uniform(3, &shape, -1.0, 1.0)?;
            let (a32, b32, dz32) = (f32(&a)?, f32(&b)?, f32(&dz)?);

            let z = reference::silu_mul(&a, &b)?;
            let grads = (&z * &dz)?.sum_all()?.backward()?;
            let (da, db) = silu_mul_backward(&dz32, &a32, &b32)?;
            close("silu_mul", &silu_mul(&a32, &b32)?, &z, F32);
            close("silu_mul dy", &da, grads.get(&a).unwrap(), F32);
            close("silu_mul dg", &db, grads.get(&b).unwrap(), F32);

            let z = reference::sigmoid_mul(&a, &b)?;
            let grads = (&z * &dz)?.sum_all()?.backward()?;
            let (da, db) = sigmoid_mul_backward(&dz32, &a32, &b32)?;
            close("sigmoid_mul", &sigmoid_mul(&a32, &b32)?, &z, F32);
            close("sigmoid_mul dr", &da, grads.get(&a).unwrap(), F32);
            close("sigmoid_mul dv", &db, grads.get(&b).unwrap(), F32);

            let z = reference::relu_squared(&a)?;
            let grads = (&z * &dz)?.sum_all()?.backward()?;
            close("relu_squared", &relu_squared(&a32)?, &z, F32);
            close(
                "relu_squared dk",
                &relu_squared_backward(&dz32, &a32)?,
                grads.get(&a).unwrap(),
                F32,
            );
        }
        Ok(())
    }

    #[test]
    fn far_out_values_stay_finite() -> Result<()> {
        let far = Tensor::new(&[[-1e4f32, -100.0, 100.0, 1e4]], &candle_core::Device::Cpu)?;
        let one = far.ones_like()?;
        let (dy, dg) = silu_mul_backward(&one, &one, &far)?;
        for t in [silu_mul(&one, &far)?, sigmoid_mul(&far, &one)?, dy, dg] {
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
