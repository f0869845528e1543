//! Products of every storage and product type, at every level, against float64.

use candle_core::DType;

use super::*;
use crate::ops::cpu::level::tests::at_each_level;
use crate::ops::cpu::tensor::tensor;
use crate::ops::testing::{BF16, F32, close, close_by_norm, f32, uniform};
use crate::tensors::Element;

fn stored(w: &Tensor, element: Element) -> Result<Vec<u8>> {
    let w: Vec<f32> = w.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
    Ok(element.encode(&w))
}

fn rounded(x: &Tensor, element: Element) -> Result<Tensor> {
    let dtype = match element {
        Element::Bf16 => DType::BF16,
        Element::F16 => DType::F16,
        Element::F32 => DType::F32,
    };
    x.to_dtype(dtype)?.to_dtype(DType::F64)
}

/// Sizes on both sides of the single-row path, of a tile, a panel and a sum's depth; odd ones;
/// every storage and product type; every level of this machine.
#[test]
fn forward_and_gradient_agree_with_the_reference() -> Result<()> {
    at_each_level(|level| {
        for element in [Element::Bf16, Element::F16, Element::F32] {
            for product in [ProductType::F32, ProductType::Bf16] {
                for sizes in [
                    [1, 5, 3],
                    [1, 130, 257],
                    // Tasks of several widths, and a rest.
                    [1, 40, 998],
                    [3, 64, 64],
                    [9, 1, 33],
                    [33, 31, 1100],
                    [37, 2100, 300],
                    [1000, 40, 70],
                    // Three blocks of rows one way; more panels than are packed at once the other.
                    [300, 1100, 33],
                    [3, 2100, 1100],
                    [0, 5, 3],
                ] {
                    let [_, rows, columns] = sizes;
                    let w = uniform(3, &[rows, columns], -1.0, 1.0)?;
                    let w = rounded(&w, element)?;
                    let bytes = stored(&w, element)?.into();
                    let matrix = Matrix::new(bytes, element, [rows, columns], product)?;
                    let what = format!("{level} {element} {product} {sizes:?}");
                    check(&what, sizes[0], &matrix, &w)?;
                }
            }
        }
        Ok(())
    })
}

/// Where f32 is multiplied as a sum of bf16, all parts count: with two of a number's three it is
/// 2.2e-6 off.
#[test]
fn f32_products_have_the_digits_of_f32() -> Result<()> {
    at_each_level(|level| {
        for element in [Element::Bf16, Element::F16, Element::F32] {
            let [n, rows, columns] = [33, 70, 500];
            let w = rounded(&uniform(3, &[rows, columns], -1.0, 1.0)?, element)?;
            let bytes = stored(&w, element)?.into();
            let matrix = Matrix::new(bytes, element, [rows, columns], ProductType::F32)?;
            let x = rounded(&uniform(1, &[n, columns], -1.0, 1.0)?, Element::F32)?;
            let got = matrix.forward(&Rows::of(ProductType::F32, &f32(&x)?)?)?;
            let want = reference::forward(&x, &w)?;
            close_by_norm(&format!("{level} {element}"), &got, &want, 5e-7);
        }
        Ok(())
    })
}

/// A matrix that is held in fewer bits, against the numbers that its codes stand for.
#[test]
fn held_in_fewer_bits_a_matrix_is_what_its_codes_stand_for() -> Result<()> {
    at_each_level(|level| {
        for weights in [Weights::Bf16, Weights::Int8, Weights::Nf4] {
            for product in [ProductType::F32, ProductType::Bf16] {
                for [n, rows, columns] in [
                    [1, 5, 3],
                    [1, 130, 257],
                    [1, 40, 998],
                    [1, 3, 2048],
                    [9, 1, 33],
                    [33, 31, 1100],
                    [37, 2100, 300],
                ] {
                    let w = uniform(3, &[rows, columns], -1.0, 1.0)?;
                    let bytes = stored(&w, Element::F32)?.into();
                    let matrix = Matrix::new(bytes, Element::F32, [rows, columns], product)?;
                    let matrix = matrix.held_as(weights)?;
                    assert_eq!(
                        matrix.element(),
                        match weights {
                            Weights::Bf16 => Element::Bf16,
                            _ => Element::F32,
                        }
                    );
                    let mut numbers = Vec::new();
                    for row in 0..rows {
                        matrix.push_row(row, &mut numbers)?;
                    }
                    let held = tensor(numbers, (rows, columns))?.to_dtype(DType::F64)?;
                    let what = format!("{level} {weights} {product} {n} x {rows} x {columns}");
                    let off = (&held - &w)?.abs()?.max_all()?.to_scalar::<f64>()?;
                    let most = match weights {
                        Weights::File | Weights::Bf16 => 0.002,
                        Weights::Int8 => 0.004,
                        Weights::Nf4 => 0.155,
                    };
                    assert!(off <= most, "{what}: {off}");
                    check(&what, n, &matrix, &held)?;
                }
            }
        }
        Ok(())
    })
}

/// The products of n rows with a matrix whose numbers are those of w.
fn check(what: &str, n: usize, matrix: &Matrix, w: &Tensor) -> Result<()> {
    let ([rows, columns], product) = (matrix.dims(), matrix.product());
    let x = uniform(1, &[n, columns], -1.0, 1.0)?;
    let dy = uniform(2, &[n, rows], -1.0, 1.0)?;
    let to = uniform(4, &[n, rows], -1.0, 1.0)?;
    let (x32, dy32) = (f32(&x)?, f32(&dy)?);
    let [x, dy, w] = match product {
        ProductType::F32 => [x, dy, w.clone()],
        ProductType::Bf16 => [
            rounded(&x32, Element::Bf16)?,
            rounded(&dy32, Element::Bf16)?,
            rounded(&w.to_dtype(DType::F32)?, Element::Bf16)?,
        ],
    };
    let (x32, dy32) = (Rows::of(product, &x32)?, Rows::of(product, &dy32)?);
    let want = reference::forward(&x, &w)?;
    let wide = matrix.forward_wide(&x32)?;
    close(&format!("y, {what}"), &wide, &want, 10.0 * F32);
    // What a product gives is the same sums, rounded once.
    let given = matrix.forward(&x32)?;
    assert_eq!(given.dtype(), product.dtype(), "{what}");
    let rounded = wide.to_dtype(product.dtype())?.to_dtype(DType::F32)?;
    close(&format!("y as given, {what}"), &given, &rounded, 0.0);
    close(
        &format!("y onto another, {what}"),
        &matrix.forward_onto(&f32(&to)?, &x32)?,
        &(want + to)?,
        10.0 * F32,
    );
    close(
        &format!("dx, {what}"),
        &matrix.backward(&dy32)?,
        &reference::backward(&dy, &w)?,
        match product {
            ProductType::F32 => 10.0 * F32,
            ProductType::Bf16 => BF16,
        },
    );
    Ok(())
}

#[test]
fn what_is_held_in_fewer_bits_takes_less_and_is_not_quantised_twice() -> Result<()> {
    let bytes = vec![0; 2 * 10 * 100];
    let matrix = || {
        Matrix::new(
            bytes.clone().into(),
            Element::Bf16,
            [10, 100],
            ProductType::F32,
        )
    };
    for (weights, want) in [
        (Weights::File, 2000),
        (Weights::Bf16, 2000),
        (Weights::Int8, 10 * 2 * (64 + 2)),
        (Weights::Nf4, 10 * 2 * (32 + 2)),
    ] {
        assert_eq!(matrix()?.held_as(weights)?.bytes(), want, "{weights}");
    }
    assert!(
        matrix()?
            .held_as(Weights::Nf4)?
            .held_as(Weights::Int8)
            .is_err()
    );
    Ok(())
}

#[test]
fn a_matrix_must_fill_its_bytes() {
    for shape in [[2, 3], [2, 5], [usize::MAX, 2], [0, 4]] {
        assert!(
            Matrix::new(vec![0; 16].into(), Element::Bf16, shape, ProductType::F32).is_err(),
            "{shape:?}"
        );
    }
    assert!(Matrix::new(vec![0; 16].into(), Element::Bf16, [2, 4], ProductType::F32).is_ok());
}

#[test]
fn a_padded_matrix_has_zeros_beyond_its_own_numbers() -> Result<()> {
    let w = uniform(1, &[3, 5], -1.0, 1.0)?;
    for element in [Element::Bf16, Element::F16, Element::F32] {
        let bytes = stored(&w, element)?;
        let plain = Matrix::new(bytes.into(), element, [3, 5], ProductType::F32)?;
        let padded = plain.clone().padded([4, 8])?;
        assert_eq!(padded.dims(), [4, 8]);
        let (mut want, mut got) = (Vec::new(), Vec::new());
        for row in 0..3 {
            plain.push_row(row, &mut want)?;
            want.extend([0.0; 3]);
        }
        want.extend([0.0; 8]);
        (0..4).try_for_each(|row| padded.push_row(row, &mut got))?;
        assert_eq!(got, want);
        assert!(plain.padded([3, 4]).is_err(), "columns would be lost");
    }
    Ok(())
}
