//! What a step of training has beside the model: the loss, its gradient, Adam, and reductions.

use candle_core::{Device, Result, Tensor, Var};
use state_tune::ops::adam::{Adam, Moments};
use state_tune::ops::cross_entropy;
use state_tune::ops::linear::{Matrix, ProductType, Rows};
use state_tune::ops::reduce::{max_abs, sum_of_squares};
use state_tune::tensors::Element;

use crate::common::close::close;
use crate::sides::{STORES, Sides, gpu, stored};

/// Of a head's rows.
const CHANNELS: usize = 8;

#[test]
#[ignore = "needs --features cuda and a GPU, which tools/cuda-emulator emulates"]
fn losses_and_their_gradient() -> Result<()> {
    let gpu = gpu();
    for store in STORES {
        for (count, vocab) in [(1, 2), (3, 77), (20, 1000), (2, 65536)] {
            let mut sides = Sides::new(&gpu, store);
            let [w, _] = sides.parameters(&[vocab, CHANNELS], -9.0, 9.0)?;
            let w = stored(&w, Element::Bf16)?.into();
            let head = Matrix::new(w, Element::Bf16, [vocab, CHANNELS], store.product)?;
            let head_on_gpu = head.clone().on(&gpu)?;
            let x = sides.activations(&[count, CHANNELS])?;
            let [x, x_on_gpu] = x.map(|x| Rows::of(store.product, &x).unwrap());
            let targets: Vec<u32> = (0..count).map(|row| (row * 31 % vocab) as u32).collect();
            let (losses, dx) = cross_entropy::loss_and_gradient(&head, &x, &targets, 0.25)?;
            let (losses_got, dx_got) =
                cross_entropy::loss_and_gradient(&head_on_gpu, &x_on_gpu, &targets, 0.25)?;
            close("losses", &losses_got, &losses, 1e-6);
            sides.close("gradient", &dx, &dx_got);
            let (want, got) = (
                cross_entropy::score(&head, &x, &targets)?,
                cross_entropy::score(&head_on_gpu, &x_on_gpu, &targets)?,
            );
            assert!((want.0 - got.0).abs() <= 1e-6 * want.0, "{want:?} {got:?}");
            assert_eq!(want.1, got.1);
        }
    }
    let w = stored(
        &Tensor::new(&[1f32, 3.0, 3.0], &Device::Cpu)?,
        Element::Bf16,
    )?
    .into();
    let head = Matrix::new(w, Element::Bf16, [3, 1], ProductType::F32)?;
    let head = head.padded([3, CHANNELS])?.on(&gpu)?;
    // Logits of 40 and twice 120, whose exponential is above what f32 holds.
    let x = Tensor::full(40f32, (2, CHANNELS), &gpu)?;
    let x = Rows::of(ProductType::F32, &x)?;
    let (loss, hits) = cross_entropy::score(&head, &x, &[1, 2])?;
    assert!((loss - 2.0 * std::f64::consts::LN_2).abs() < 1e-6, "{loss}");
    assert_eq!(hits, 1, "the first is the choice");
    let (losses, _) = cross_entropy::loss_and_gradient(&head, &x, &[1, 2], 1.0)?;
    let loss = losses.to_vec1::<f64>()?.iter().sum::<f64>();
    assert!((loss - 2.0 * std::f64::consts::LN_2).abs() < 1e-6, "{loss}");
    Ok(())
}

#[test]
#[ignore = "needs --features cuda and a GPU, which tools/cuda-emulator emulates"]
fn adam() -> Result<()> {
    let gpu = gpu();
    let mut sides = Sides::new(&gpu, STORES[0]);
    let adam = Adam {
        beta1: 0.9,
        beta2: 0.99,
        weight_decay: 0.1,
    };
    let [value, value_gpu] = sides.parameters(&[1000], -1.0, 1.0)?;
    let [value, value_gpu] = [value, value_gpu].map(|t| Var::from_tensor(&t).unwrap());
    let mut moments = Moments::zeros(&value)?;
    let mut on_gpu = Moments::zeros(&value_gpu)?;
    for step in 1..=20 {
        let [gradient, gradient_gpu] = sides.parameters(&[1000], -1.0, 1.0)?;
        adam.step(&value, &mut moments, &gradient, 0.05, step)?;
        adam.step(&value_gpu, &mut on_gpu, &gradient_gpu, 0.05, step)?;
    }
    close("value", &value_gpu, &value, 1e-5);
    close("second moment", &on_gpu.second, &moments.second, 1e-5);
    Ok(())
}

#[test]
#[ignore = "needs --features cuda and a GPU, which tools/cuda-emulator emulates"]
fn reductions() -> Result<()> {
    let gpu = gpu();
    let mut sides = Sides::new(&gpu, STORES[0]);
    for count in [1, 7, 1000, 70_000] {
        let [x, x_gpu] = sides.parameters(&[count], -3.0, 2.0)?;
        let (want, got) = (sum_of_squares(&x)?, sum_of_squares(&x_gpu)?);
        assert!((want - got).abs() <= 1e-12 * want, "{count}: {got} {want}");
        assert_eq!(max_abs(&x)?, max_abs(&x_gpu)?);
    }
    for value in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        for at in [0, 500, 999] {
            let mut numbers = vec![f32::MAX; 1000];
            numbers[at] = value;
            let most = max_abs(&Tensor::new(numbers, &gpu)?)?;
            assert!(!most.is_finite(), "{value} at {at}: {most}");
            assert_eq!(most.is_nan(), value.is_nan());
        }
    }
    Ok(())
}
