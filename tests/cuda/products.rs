//! Products with matrices of every kind.

use candle_core::{DType, Device, Result};
use state_tune::ops::linear::{Matrix, ProductType, Rows, WIDENED, Weights};
use state_tune::tensors::Element;

use crate::sides::{STORES, Sides, Store, gpu, stored};

#[test]
#[ignore = "needs --features cuda and a GPU, which tools/cuda-emulator emulates"]
fn products() -> Result<()> {
    let gpu = gpu();
    for store in STORES {
        for (element, weights) in [
            (Element::Bf16, Weights::File),
            (Element::F16, Weights::File),
            (Element::F32, Weights::File),
            (Element::Bf16, Weights::Int8),
            (Element::Bf16, Weights::Nf4),
        ] {
            for sizes in [
                [1, 200, 64],
                [1, 1000, 2080],
                [1, 33, 200],
                [7, 33, 200],
                [130, 96, 448],
            ] {
                products_of(&gpu, store, element, weights, sizes)?;
            }
        }
    }
    Ok(())
}

/// More than one kernel takes, of unequal rows, and some of other columns between them.
#[test]
#[ignore = "needs --features cuda and a GPU, which tools/cuda-emulator emulates"]
fn products_of_single_rows_at_once() -> Result<()> {
    let gpu = gpu();
    for store in STORES {
        for weights in [Weights::File, Weights::Int8, Weights::Nf4] {
            let mut sides = Sides::new(&gpu, store);
            let sizes = [
                [33, 200],
                [200, 200],
                [7, 200],
                [64, 200],
                [1, 200],
                [40, 64],
                [9, 200],
            ];
            let (mut exact, mut on_gpu) = (Vec::new(), Vec::new());
            for dims @ [_, columns] in sizes {
                let bytes = stored(&sides.numbers(&dims, -1.0, 1.0)?, Element::Bf16)?;
                let matrix = |product| {
                    Matrix::new(bytes.clone().into(), Element::Bf16, dims, product)?
                        .held_as(weights)
                };
                let [x, x_gpu] = sides.activations(&[1, columns])?;
                exact.push((matrix(ProductType::F32)?, Rows::of(ProductType::F32, &x)?));
                on_gpu.push((
                    matrix(store.product)?.on(&gpu)?,
                    Rows::of(store.product, &x_gpu)?,
                ));
            }
            let each = on_gpu.iter().map(|(matrix, x)| (matrix, x)).collect();
            let got = Matrix::forward_sensitive_each(each)?;
            for (((matrix, x), got), dims) in exact.iter().zip(&got).zip(sizes) {
                let what = format!("{store:?} {weights} {dims:?}");
                sides.close(&what, &matrix.forward(x)?, got);
            }
        }
    }
    Ok(())
}

/// A matrix that is widened in parts: some of its rows are a product's first columns, and a part of
/// its sums.
#[test]
#[ignore = "needs --features cuda and a GPU, which tools/cuda-emulator emulates"]
fn products_of_a_large_matrix() -> Result<()> {
    let gpu = gpu();
    let [out, inner] = [8200, 4096];
    for (store, weights) in [
        (STORES[0], Weights::File),
        (STORES[0], Weights::Int8),
        (STORES[1], Weights::Nf4),
    ] {
        assert!(out * inner * store.product.dtype().size_in_bytes() > WIDENED);
        products_of(&gpu, store, Element::Bf16, weights, [2, out, inner])?;
    }
    Ok(())
}

fn products_of(
    gpu: &Device,
    store: Store,
    element: Element,
    weights: Weights,
    [n, out, inner]: [usize; 3],
) -> Result<()> {
    let mut sides = Sides::new(gpu, store);
    let [x, x_gpu] = sides.activations(&[n, inner])?;
    let [dy, dy_gpu] = sides.activations(&[n, out])?;
    let [to, to_gpu] = sides.parameters(&[n, out], -1.0, 1.0)?;
    let w = sides.numbers(&[out, inner], -1.0, 1.0)?;
    let matrix = |product| {
        Matrix::new(stored(&w, element)?.into(), element, [out, inner], product)?.held_as(weights)
    };
    // Exact in main memory; on the GPU both sides of a product are rounded, which for bf16 is no
    // rounding.
    let exact = matrix(ProductType::F32)?;
    let on_gpu = matrix(store.product)?.on(gpu)?;
    assert_eq!(
        on_gpu.bytes() < exact.bytes(),
        element == Element::F32 && store.product == ProductType::Bf16
    );
    let what = format!("{store:?} {element:?} {weights} {n} x {out} x {inner}");
    let left = Rows::of(ProductType::F32, &x)?;
    let left_gpu = Rows::of(store.product, &x_gpu)?;
    sides.close(&what, &exact.forward(&left)?, &on_gpu.forward(&left_gpu)?);
    sides.close(
        &what,
        &exact.forward_onto(&to, &left)?,
        &on_gpu.forward_onto(&to_gpu, &left_gpu)?,
    );
    let wide = on_gpu.forward_wide(&left_gpu)?;
    assert_eq!(wide.dtype(), DType::F32);
    sides.close(&what, &exact.forward(&left)?, &wide);
    let left = Rows::of(ProductType::F32, &dy)?;
    let left_gpu = Rows::of(store.product, &dy_gpu)?;
    sides.close(&what, &exact.backward(&left)?, &on_gpu.backward(&left_gpu)?);
    let wide = on_gpu.backward_wide(&left_gpu)?;
    assert_eq!(wide.dtype(), DType::F32);
    sides.close(&what, &exact.backward(&left)?, &wide);
    Ok(())
}
