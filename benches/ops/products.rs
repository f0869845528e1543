//! Products with frozen matrices, bound by arithmetic; a single row's is bound by memory.

use std::hint::black_box;

use candle_core::{DType, Result, Tensor};
use criterion::Criterion;
use state_tune::ops::cross_entropy;
use state_tune::ops::linear::{self, Matrix, ProductType, Rows, Weights};
use state_tune::tensors::Element;

use super::{N_EMBD, N_FFN, ROWS, SCORED, VOCAB, Work, bytes, compare, group, random, var};

/// One matrix of random bf16, as the program and as candle hold it.
fn matrix(shape: [usize; 2], product: ProductType) -> Result<(Matrix, Tensor)> {
    let w = random(&shape)?.to_dtype(DType::BF16)?;
    let numbers: Vec<half::bf16> = w.flatten_all()?.to_vec1()?;
    let bytes: Vec<u8> = numbers.iter().flat_map(|x| x.to_le_bytes()).collect();
    let matrix = Matrix::new(bytes.into(), Element::Bf16, shape, product)?;
    Ok((matrix, w.to_dtype(DType::F32)?))
}

/// The roofline of all that is bound by arithmetic: 4,096 rows and a matrix of 4,096 x 2,048.
pub fn large_products(c: &mut Criterion) -> Result<()> {
    let [rows, out, inner] = [4096, 4096, 2048];
    for product in [ProductType::F32, ProductType::Bf16] {
        let (w, _) = matrix([out, inner], product)?;
        let x = Rows::of(product, &random(&[rows, inner])?)?;
        let work = Work::Arithmetic(2 * rows * out * inner);
        group(c, "large product", work).bench_function(format!("{product:?}"), |b| {
            b.iter(|| black_box(w.forward(&x)));
        });
    }
    Ok(())
}

/// The reference multiplies in f32 whatever the product's type, as it does in tests.
pub fn products(c: &mut Criterion) -> Result<()> {
    for product in [ProductType::F32, ProductType::Bf16] {
        for [rows, out, inner] in [
            [ROWS, N_EMBD, N_EMBD],
            [ROWS, N_FFN, N_EMBD],
            [SCORED, VOCAB, N_EMBD],
        ] {
            let (w, w_plain) = matrix([out, inner], product)?;
            let (x, dy) = (random(&[rows, inner])?, random(&[rows, out])?);
            let (x_rows, dy_rows) = (Rows::of(product, &x)?, Rows::of(product, &dy)?);
            let work = Work::Arithmetic(2 * rows * out * inner);
            let name = |way: &str| format!("linear {product:?} {rows} x {out} x {inner}, {way}");
            compare(
                c,
                &name("forward"),
                work,
                || w.forward(&x_rows),
                || linear::reference::forward(&x, &w_plain),
            );
            compare(
                c,
                &name("backward"),
                work,
                || w.backward(&dy_rows),
                || linear::reference::backward(&dy, &w_plain),
            );
        }
    }
    // Decoding is bound by reading W.
    let (w, w_plain) = matrix([VOCAB, N_EMBD], ProductType::Bf16)?;
    let one = random(&[1, N_EMBD])?;
    let row = Rows::of(ProductType::Bf16, &one)?;
    compare(
        c,
        "linear Bf16, one row",
        bytes(2 * VOCAB * N_EMBD, 4 * VOCAB),
        || w.forward(&row),
        || linear::reference::forward(&one, &w_plain),
    );
    for weights in [Weights::File, Weights::Int8, Weights::Nf4] {
        // Few rows: a good part of the time goes to packing W.
        let [rows, out, inner] = [128, N_FFN, N_EMBD];
        let w = matrix([out, inner], ProductType::Bf16)?
            .0
            .held_as(weights)?;
        let [x, dy] = [inner, out]
            .map(|width| random(&[rows, width]).and_then(|x| Rows::of(ProductType::Bf16, &x)));
        let (x_rows, dy_rows) = (x?, dy?);
        let name = format!("linear Bf16 {rows} x {out} x {inner}, weights {weights}");
        let mut products = group(c, &name, Work::Arithmetic(2 * rows * out * inner));
        products.bench_function("forward", |b| b.iter(|| black_box(w.forward(&x_rows))));
        products.bench_function("backward", |b| b.iter(|| black_box(w.backward(&dy_rows))));
        products.finish();

        let w = matrix([VOCAB, N_EMBD], ProductType::F32)?
            .0
            .held_as(weights)?;
        let row = Rows::of(ProductType::F32, &one)?;
        group(
            c,
            &format!("linear F32, one row, weights {weights}"),
            bytes(w.bytes(), 4 * VOCAB),
        )
        .bench_function("fast", |b| b.iter(|| black_box(w.forward(&row))));
    }
    Ok(())
}

/// The head, its loss and the gradient: two products, and what is between them.
pub fn losses(c: &mut Criterion) -> Result<()> {
    let x = random(&[SCORED, N_EMBD])?;
    let x_var = var(&x)?;
    let targets = vec![7; SCORED];
    for product in [ProductType::F32, ProductType::Bf16] {
        let (w, w_plain) = matrix([VOCAB, N_EMBD], product)?;
        let rows = Rows::of(product, &x)?;
        compare(
            c,
            &format!("cross-entropy {product:?}"),
            Work::Arithmetic(4 * SCORED * VOCAB * N_EMBD),
            || cross_entropy::loss_and_gradient(&w, &rows, &targets, 1.0),
            || {
                let logits = linear::reference::forward(&x_var, &w_plain)?;
                cross_entropy::reference::loss(&logits, &targets)?.backward()
            },
        );
    }
    Ok(())
}
