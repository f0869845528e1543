//! The ops of RWKV-7 that go row by row.

use candle_core::{DType, Device, Result};
use state_tune::ops::delta_output::{self, DeltaOutputInputs};
use state_tune::ops::linear::{Matrix, ProductType, Rows};
use state_tune::ops::low_rank::{Activation, LowRank};
use state_tune::ops::value_residual::{self, ResidualInputs, ValueResidual};
use state_tune::tensors::Element;

use crate::sides::{STORES, Sides, Store, gpu, stored};

/// (rows, heads, head size).
const SHAPES: [(usize, usize, usize); 4] = [(1, 1, 32), (7, 3, 32), (33, 2, 64), (5, 1, 128)];

#[test]
#[ignore = "needs --features cuda and a GPU, which tools/cuda-emulator emulates"]
fn output_of_the_delta_rule() -> Result<()> {
    let gpu = gpu();
    for store in STORES {
        for (rows, n_head, size) in SHAPES {
            let mut sides = Sides::new(&gpu, store);
            let shape = [rows, n_head * size];
            let [norm, norm_gpu] = sides.norm(shape[1], n_head)?;
            let y = sides.activations(&shape)?;
            let q = sides.parameters(&[rows, n_head], -1.0, 1.0)?;
            let v = sides.activations(&shape)?;
            let gate = sides.parameters(&shape, -1.0, 1.0)?;
            let [dz, dz_gpu] = sides.activations(&shape)?;
            let [x, x_gpu] = [0, 1].map(|i| DeltaOutputInputs {
                y: &y[i],
                q: &q[i],
                v: &v[i],
                gate: &gate[i],
            });
            let what = format!("{store:?} {rows} x {n_head} x {size}");
            let want = delta_output::forward(&norm, x, ProductType::F32)?;
            let got = delta_output::forward(&norm_gpu, x_gpu, store.product)?;
            sides.close_rows(&format!("z {what}"), &want, &got)?;
            let want = delta_output::backward(&norm, &dz, x, ProductType::F32)?;
            let got = delta_output::backward(&norm_gpu, &dz_gpu, x_gpu, store.product)?;
            sides.close(&format!("dy {what}"), &want.dy, &got.dy);
            sides.close(&format!("dq {what}"), &want.dq, &got.dq);
            sides.close(&format!("dv {what}"), &want.dv, &got.dv);
            sides.close_rows(&format!("dgate {what}"), &want.dgate, &got.dgate)?;
        }
    }
    Ok(())
}

#[test]
#[ignore = "needs --features cuda and a GPU, which tools/cuda-emulator emulates"]
fn value_residuals() -> Result<()> {
    let gpu = gpu();
    for store in STORES {
        for shape in [[1, 32], [7, 200], [300, 64]] {
            let mut sides = Sides::new(&gpu, store);
            let [residual, on_gpu] = sides
                .parameters(&shape[1..], -1.0, 1.0)?
                .map(|bias| ValueResidual { bias });
            let nu = sides.activations(&shape)?;
            let v_first = sides.activations(&shape)?;
            let gate = sides.parameters(&shape, -15.0, 15.0)?;
            let [x, x_gpu] = [0, 1].map(|i| ResidualInputs {
                nu: &nu[i],
                v_first: &v_first[i],
                gate: &gate[i],
            });
            let what = format!("{store:?} {shape:?}");
            sides.close(&what, &residual.forward(x)?, &on_gpu.forward(x_gpu)?);
            let recurrence = sides.parameters(&shape, -1.0, 1.0)?;
            let output = sides.activations(&shape)?;
            let [dv, dv_gpu] = [0, 1].map(|i| [&recurrence[i], &output[i]]);
            let [above, above_gpu] = sides.parameters(&shape, -1.0, 1.0)?;
            let exact = ProductType::F32;
            for (above, above_gpu) in [(None, None), (Some(&above), Some(&above_gpu))] {
                let want = residual.backward(dv, above, x, exact)?;
                let got = on_gpu.backward(dv_gpu, above_gpu, x_gpu, store.product)?;
                sides.close_rows(&format!("dnu {what}"), &want.dnu, &got.dnu)?;
                sides.close_rows(&format!("dgate {what}"), &want.dgate, &got.dgate)?;
                sides.close(&format!("dv_first {what}"), &want.dv_first, &got.dv_first);
                let want = value_residual::first_backward(dv, above, exact)?;
                let got = value_residual::first_backward(dv_gpu, above_gpu, store.product)?;
                sides.close_rows(&format!("the first dnu {what}"), &want, &got)?;
            }
        }
    }
    Ok(())
}

/// Ranks that kernels take as they are, and ranks that are filled up; one row is decoding.
#[test]
#[ignore = "needs --features cuda and a GPU, which tools/cuda-emulator emulates"]
fn products_of_low_rank() -> Result<()> {
    let gpu = gpu();
    for store in STORES {
        for element in [Element::Bf16, Element::F16, Element::F32] {
            for activation in [Activation::None, Activation::Tanh, Activation::Sigmoid] {
                for sizes in [[1, 64, 33], [7, 32, 12], [1, 512, 96], [20, 96, 64]] {
                    low_rank(&gpu, store, element, activation, sizes)?;
                }
            }
        }
    }
    Ok(())
}

/// More than one kernel takes, of unequal ranks.
#[test]
#[ignore = "needs --features cuda and a GPU, which tools/cuda-emulator emulates"]
fn products_of_low_rank_at_once() -> Result<()> {
    let gpu = gpu();
    for store in STORES {
        let mut sides = Sides::new(&gpu, store);
        let (channels, mut exact, mut on_gpu) = (96, Vec::new(), Vec::new());
        for rank in [8, 12, 33, 96, 16] {
            let a = stored(&sides.numbers(&[channels, rank], -0.1, 0.1)?, Element::Bf16)?;
            let b = stored(&sides.numbers(&[rank, channels], -0.1, 0.1)?, Element::Bf16)?;
            let of = |product| -> Result<LowRank> {
                let matrix = |bytes: &Vec<u8>, dims| {
                    Matrix::new(bytes.clone().into(), Element::Bf16, dims, product)
                };
                Ok(LowRank {
                    down: matrix(&a, [channels, rank])?,
                    up: matrix(&b, [rank, channels])?,
                    activation: Activation::Tanh,
                })
            };
            let [x, x_gpu] = sides.activations(&[1, channels])?;
            exact.push((of(ProductType::F32)?, Rows::of(ProductType::F32, &x)?));
            on_gpu.push((
                of(store.product)?.on(&gpu)?,
                Rows::of(store.product, &x_gpu)?,
            ));
        }
        let each = on_gpu.iter().map(|(low_rank, x)| (low_rank, x)).collect();
        for ((low_rank, x), (got, _)) in exact.iter().zip(LowRank::forward_each(each)?) {
            let what = format!("{store:?} rank {:?}", low_rank.down.dims());
            sides.close(&what, &low_rank.forward(x)?.0, &got);
        }
    }
    Ok(())
}

fn low_rank(
    gpu: &Device,
    store: Store,
    element: Element,
    activation: Activation,
    [rows, channels, rank]: [usize; 3],
) -> Result<()> {
    let mut sides = Sides::new(gpu, store);
    let a = sides.numbers(&[channels, rank], -0.1, 0.1)?;
    let b = sides.numbers(&[rank, channels], -0.1, 0.1)?;
    let of = |product| -> Result<LowRank> {
        let matrix =
            |numbers, dims| Matrix::new(stored(numbers, element)?.into(), element, dims, product);
        Ok(LowRank {
            down: matrix(&a, [channels, rank])?,
            up: matrix(&b, [rank, channels])?,
            activation,
        })
    };
    let (exact, on_gpu) = (of(ProductType::F32)?, of(store.product)?.on(gpu)?);
    let [x, x_gpu] = sides.activations(&[rows, channels])?;
    let [dy, dy_gpu] = sides.activations(&[rows, channels])?;
    let what = format!("{store:?} {element:?} {activation:?} {rows} x {channels} x {rank}");
    let (y, inner) = exact.forward(&Rows::of(ProductType::F32, &x)?)?;
    let (y_got, inner_got) = on_gpu.forward(&Rows::of(store.product, &x_gpu)?)?;
    assert_eq!((y_got.dtype(), inner_got.dtype()), (DType::F32, DType::F32));
    sides.close(
        &format!("inner {what}"),
        &inner,
        &inner_got.narrow(1, 0, rank)?,
    );
    sides.close(&format!("y {what}"), &y, &y_got);
    let dx = exact.backward(&Rows::of(ProductType::F32, &dy)?, &inner)?;
    let got = on_gpu.backward(&Rows::of(store.product, &dy_gpu)?, &inner_got)?;
    sides.close(&format!("dx {what}"), &dx, &got);
    Ok(())
}
