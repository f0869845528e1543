//! The keys and their gradients against the reference in float64.

use candle_core::{Device, Var};

use super::super::cpu::level::tests::at_each_level;
use super::super::testing::{F32, close, f32, rounded, stored, uniform};
use super::*;

/// Random parameters in float64: k_k, k_a and a0.
fn parameters(channels: usize) -> Result<[Tensor; 3]> {
    Ok([
        uniform(1, &[channels], 0.4, 1.1)?,
        uniform(2, &[channels], 0.6, 1.2)?,
        uniform(3, &[channels], -1.0, 1.0)?,
    ])
}

fn keys([removal, share, rate]: &[Tensor; 3], n_head: usize) -> Result<DeltaKeys> {
    Ok(DeltaKeys {
        removal: f32(removal)?,
        share: f32(share)?,
        rate: f32(rate)?,
        n_head,
    })
}

#[test]
fn forward_and_gradients_agree_with_the_reference() -> Result<()> {
    at_each_level(|_| {
        for (rows, n_head, size) in [(1, 1, 8), (7, 3, 5), (33, 2, 64), (40, 1, 72)] {
            let shape = [rows, n_head * size];
            let vectors = parameters(shape[1])?;
            let kappa = Var::from_tensor(&uniform(4, &shape, -2.0, 2.0)?)?;
            // Wide enough that both ends of the logistic function are met.
            let a = Var::from_tensor(&uniform(5, &shape, -15.0, 15.0)?)?;
            let want = reference::forward(&kappa, &a, vectors.each_ref(), n_head)?;
            let d: Vec<Tensor> = (6..9)
                .map(|seed| uniform(seed, &shape, -1.0, 1.0))
                .collect::<Result<_>>()?;
            let mut loss = Tensor::zeros((), want[0].dtype(), &Device::Cpu)?;
            for (want, d) in want.iter().zip(&d) {
                loss = (loss + (want * d)?.sum_all()?)?;
            }
            let gradients = loss.backward()?;

            let op = keys(&vectors, n_head)?;
            let (kappa32, a32) = (f32(&kappa)?, f32(&a)?);
            let got = op.forward(&kappa32, &a32)?;
            for (name, got, want) in [
                ("kk", &got.kk, &want[0]),
                ("alpha", &got.alpha, &want[1]),
                ("k", &got.k, &want[2]),
            ] {
                close(name, got, want, F32);
            }
            let d32 = [f32(&d[0])?, f32(&d[1])?, f32(&d[2])?];
            let [d_kappa, da] = op.backward(given(&d32), &kappa32, &a32, ProductType::F32)?;
            close(
                "dkappa",
                &d_kappa.tensor()?,
                gradients.get(&kappa).unwrap(),
                2.0 * F32,
            );
            close("da", &da.tensor()?, gradients.get(&a).unwrap(), 2.0 * F32);
        }
        Ok(())
    })
}

fn given([dkk, dalpha, dk]: &[Tensor; 3]) -> KeyGradients<'_> {
    KeyGradients { dkk, dalpha, dk }
}

/// A head of zeros has no direction: its kk and that kk's gradient are 0, and its neighbour's are
/// as ever.
#[test]
fn a_head_of_zeros_gets_no_gradient_through_its_length() -> Result<()> {
    at_each_level(|_| {
        let vectors = parameters(16)?;
        let op = keys(&vectors, 2)?;
        let head = uniform(4, &[3, 8], -1.0, 1.0)?;
        let kappa = f32(&Tensor::cat(&[&head.zeros_like()?, &head], 1)?)?;
        let (a, one) = (kappa.zeros_like()?, kappa.ones_like()?);
        let got = op.forward(&kappa, &a)?;
        let zeros = Tensor::zeros((3, 8), DType::F32, &Device::Cpu)?;
        close("kk", &got.kk.narrow(1, 0, 8)?, &zeros, 0.0);
        let d = [one, a.clone(), a.clone()];
        let [d_kappa, _] = op.backward(given(&d), &kappa, &a, ProductType::F32)?;
        let d_kappa = d_kappa.tensor()?;
        close("dkappa", &d_kappa.narrow(1, 0, 8)?, &zeros, 0.0);
        let other = d_kappa
            .narrow(1, 8, 8)?
            .abs()?
            .sum_all()?
            .to_scalar::<f32>()?;
        assert!(other > 0.1 && other.is_finite());
        Ok(())
    })
}

/// What is stored as bf16 is computed as the f32 that it stands for, and rounded once.
#[test]
fn what_is_stored_as_bf16_is_computed_in_f32() -> Result<()> {
    at_each_level(|_| {
        let shape = [35, 66];
        let op = keys(&parameters(66)?, 2)?;
        let a = f32(&uniform(5, &shape, -2.0, 2.0)?)?;
        let [kappa, dkk, dalpha, dk] =
            [4, 6, 7, 8].map(|seed| stored(&uniform(seed, &shape, -1.0, 1.0).unwrap()).unwrap());
        let [got, want] = [0, 1].map(|i| op.forward(&kappa[i], &a).unwrap());
        close("kk", &got.kk, &want.kk, 0.0);
        close("alpha", &got.alpha, &want.alpha, 0.0);
        rounded("k", &got.k, &want.k);
        let [got, want] = [0, 1].map(|i| {
            let d = [dkk[i].clone(), dalpha[i].clone(), dk[i].clone()];
            op.backward(given(&d), &kappa[i], &a, ProductType::F32)
                .unwrap()
        });
        for (got, want) in got.iter().zip(&want) {
            close("gradient", &got.tensor()?, &want.tensor()?, 0.0);
        }
        Ok(())
    })
}
