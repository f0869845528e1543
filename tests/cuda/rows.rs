//! The ops that go row by row: norms, token shift, gates, and rows taken and put back.

use candle_core::{DType, Device, Result};
use state_tune::ops::linear::{Matrix, ProductType};
use state_tune::ops::token_shift::TokenShift;
use state_tune::ops::{gates, rows};
use state_tune::tensors::Element;

use crate::common::close::close;
use crate::sides::{STORES, Sides, batches, gpu, stored};

#[test]
#[ignore = "needs --features cuda and a GPU, which tools/cuda-emulator emulates"]
fn norms() -> Result<()> {
    let gpu = gpu();
    for store in STORES {
        for (rows, channels, groups) in [
            (1, 64, 1),
            (5, 64, 2),
            (67, 2080, 1),
            (33, 256, 4),
            (3, 64, 1),
        ] {
            let mut sides = Sides::new(&gpu, store);
            let [norm, on_gpu] = sides.norm(channels, groups)?;
            // Rows are what goes from layer to layer, in f32; groups are what WKV gives.
            let [x, x_gpu] = match groups {
                1 => sides.parameters(&[rows, channels], -1.0, 1.0)?,
                _ => sides.activations(&[rows, channels])?,
            };
            let [dy, dy_gpu] = sides.activations(&[rows, channels])?;
            let [gate, gate_gpu] = sides.activations(&[rows, channels])?;
            let what = format!("{store:?} {rows} x {channels} in {groups}");
            sides.close(&what, &norm.forward(&x)?, &on_gpu.forward(&x_gpu)?);
            sides.close(
                &what,
                &norm.backward(&dy, &x)?,
                &on_gpu.backward(&dy_gpu, &x_gpu)?,
            );
            let exact = ProductType::F32;
            sides.close_rows(
                &what,
                &gates::norm_silu(&norm, &x, None, exact)?,
                &gates::norm_silu(&on_gpu, &x_gpu, None, store.product)?,
            )?;
            sides.close_rows(
                &what,
                &gates::norm_silu(&norm, &x, Some(&gate), exact)?,
                &gates::norm_silu(&on_gpu, &x_gpu, Some(&gate_gpu), store.product)?,
            )?;
            let (dy_want, dg_want) = gates::norm_silu_backward(&norm, &dy, &x, &gate, exact)?;
            let (dy_got, dg_got) =
                gates::norm_silu_backward(&on_gpu, &dy_gpu, &x_gpu, &gate_gpu, store.product)?;
            sides.close(&what, &dy_want, &dy_got);
            sides.close_rows(&what, &dg_want, &dg_got)?;
        }
    }
    Ok(())
}

#[test]
#[ignore = "needs --features cuda and a GPU, which tools/cuda-emulator emulates"]
fn token_shifts() -> Result<()> {
    let gpu = gpu();
    for store in STORES {
        for offsets in batches() {
            for (channels, mixes) in [(64, 1), (2080, 3), (96, 4), (64, 7)] {
                let mut sides = Sides::new(&gpu, store);
                let shape = [offsets.rows(), channels];
                let [norm, on_gpu] = sides.norm(channels, 1)?;
                let [x, x_gpu] = sides.parameters(&shape, -1.0, 1.0)?;
                let [d_out, d_out_gpu] = sides.parameters(&shape, -1.0, 1.0)?;
                let [first, first_gpu] = sides.parameters(&[channels], -1.0, 1.0)?;
                let (mut all, mut all_gpu) = (Vec::new(), Vec::new());
                let (mut d, mut d_gpu) = (Vec::new(), Vec::new());
                for _ in 0..mixes {
                    let [mix, mix_gpu] = sides.parameters(&[channels], 0.0, 1.0)?;
                    all.push(mix);
                    all_gpu.push(mix_gpu);
                    let [dx, dx_gpu] = sides.activations(&shape)?;
                    d.push(dx);
                    d_gpu.push(dx_gpu);
                }
                let what = format!("{store:?} {offsets:?} {channels}");
                let offsets = &offsets;
                let shift = TokenShift {
                    norm: &norm,
                    mixes: all.iter().collect(),
                    offsets,
                };
                let shift_gpu = TokenShift {
                    norm: &on_gpu,
                    mixes: all_gpu.iter().collect(),
                    offsets,
                };
                let want = shift.forward(&x, &first, ProductType::F32)?;
                let got = shift_gpu.forward(&x_gpu, &first_gpu, store.product)?;
                for (want, got) in want.mixed.iter().zip(&got.mixed) {
                    sides.close_rows(&what, want, got)?;
                }
                let (dx, dfirst) = shift.backward(&x, &d_out, &d)?;
                let (dx_got, dfirst_got) = shift_gpu.backward(&x_gpu, &d_out_gpu, &d_gpu)?;
                sides.close(&what, &dx, &dx_got);
                sides.close(&what, &dfirst, &dfirst_got);
                sides.close(&what, &want.ends, &got.ends);
            }
        }
    }
    Ok(())
}

#[test]
#[ignore = "needs --features cuda and a GPU, which tools/cuda-emulator emulates"]
fn gates_of_single_numbers() -> Result<()> {
    let gpu = gpu();
    for store in STORES {
        for shape in [[1, 32], [7, 200], [300, 64]] {
            let mut sides = Sides::new(&gpu, store);
            let [x, x_gpu] = sides.parameters(&shape, -1.0, 1.0)?;
            let [dz, dz_gpu] = sides.activations(&shape)?;
            let [r, r_gpu] = sides.activations(&shape)?;
            let [v, v_gpu] = sides.activations(&shape)?;
            let what = format!("{store:?} {shape:?}");
            let exact = ProductType::F32;
            sides.close(
                &what,
                &gates::sigmoid_mul_onto(&x, &r, &v)?,
                &gates::sigmoid_mul_onto(&x_gpu, &r_gpu, &v_gpu)?,
            );
            let want = gates::sigmoid_mul_backward(&x, &r, &v, exact)?;
            let got = gates::sigmoid_mul_backward(&x_gpu, &r_gpu, &v_gpu, store.product)?;
            for (want, got) in want.iter().zip(&got) {
                sides.close_rows(&what, want, got)?;
            }
            sides.close_rows(
                &what,
                &gates::relu_squared(&r, exact)?,
                &gates::relu_squared(&r_gpu, store.product)?,
            )?;
            sides.close_rows(
                &what,
                &gates::relu_squared_backward(&dz, &r, exact)?,
                &gates::relu_squared_backward(&dz_gpu, &r_gpu, store.product)?,
            )?;
        }
    }
    Ok(())
}

#[test]
#[ignore = "needs --features cuda and a GPU, which tools/cuda-emulator emulates"]
fn rows_made_taken_and_put_back() -> Result<()> {
    let gpu = gpu();
    for store in STORES {
        let mut sides = Sides::new(&gpu, store);
        let w = sides.numbers(&[40, 96], -1.0, 1.0)?;
        let table = |product, device: &Device| {
            let bytes = stored(&w, Element::Bf16)?;
            Matrix::new(bytes.into(), Element::Bf16, [40, 96], product)?.on(device)
        };
        let [soft, soft_gpu] = sides.parameters(&[96], -1.0, 1.0)?;
        let tokens = [None, Some(39), Some(0), None, Some(7)];
        let exact = table(ProductType::F32, &Device::Cpu)?;
        let want = rows::embed(&exact, &tokens, Some(&soft))?;
        let got = rows::embed(&table(store.product, &gpu)?, &tokens, Some(&soft_gpu))?;
        sides.close("embed", &want, &got);

        let [x, x_gpu] = sides.parameters(&[9, 96], -1.0, 1.0)?;
        let picked = [8, 0, 3];
        let (want, got) = (rows::take(&x, &picked)?, rows::take(&x_gpu, &picked)?);
        sides.close("take", &want, &got);
        sides.close(
            "put",
            &rows::put(&want, &picked, &x)?,
            &rows::put(&got, &picked, &x_gpu)?,
        );
        let sum = rows::sum(&x_gpu, &picked)?;
        assert_eq!(sum.dtype(), DType::F32);
        close("sum", &sum, &rows::sum(&x, &picked)?, 1e-6);
    }
    Ok(())
}
