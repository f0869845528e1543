//! Every op on a GPU against the same op on the processor, which its own tests hold to float64: over lengths, head sizes
//! and storage types, at the borders of chunks and sequences. The whole model is in `golden.rs`.
//!
//! Without a GPU these tests say so and pass; `tools/cuda-emulator/run cargo test --features cuda` runs them on kernels
//! that the processor executes thread by thread.
#![cfg(feature = "cuda")]

use std::path::Path;

use candle_core::{DType, Device, Result, Tensor};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use state_tune::model::{Reader, Rwkv, State};
use state_tune::ops::adam::{Adam, Moments, sum_of_squares};
use state_tune::ops::device::{self, Choice};
use state_tune::ops::linear::{Matrix, Product, Rows, WIDENED, Weights};
use state_tune::ops::norm::Norm;
use state_tune::ops::token_shift::{self, TokenShift};
use state_tune::ops::wkv::Wkv;
use state_tune::ops::{Compute, Offsets, cross_entropy, gates, rows};
use state_tune::tensors::Element;

/// The first GPU, or `None` once it is said why there is none.
fn card() -> Option<Device> {
    match Compute::fastest(Choice::Cuda(0), None, Weights::File) {
        Ok(opened) => Some(opened.compute.device),
        Err(why) => {
            println!("skipped: {why}");
            None
        }
    }
}

/// How activations are stored, and how far a result may then be off: relative to it and to its root mean square.
#[derive(Clone, Copy, Debug)]
struct Store {
    product: Product,
    tolerance: f64,
}

const STORES: [Store; 2] = [
    Store {
        product: Product::F32,
        tolerance: 2e-5,
    },
    // A bf16 has eight bits: 4e-3 for what is rounded once, and as much again for what enters rounded.
    Store {
        product: Product::Bf16,
        tolerance: 1e-2,
    },
];

/// WKV in chunks: keys and values that were scaled, products of them and states are rounded to bf16 on the way, and
/// summed over the rows of a chunk. The worst number may be further off, but not the whole.
const CHUNKED_WORST: f64 = 2.5e-2;
const CHUNKED: f64 = 5e-3;

/// Both sides' inputs: on the card in the store's type, in main memory the same numbers in f32.
struct Sides<'a> {
    card: &'a Device,
    store: Store,
    rng: StdRng,
}

impl<'a> Sides<'a> {
    fn new(card: &'a Device, store: Store) -> Self {
        Self {
            card,
            store,
            rng: StdRng::seed_from_u64(1),
        }
    }

    fn numbers(&mut self, shape: &[usize], low: f32, high: f32) -> Result<Tensor> {
        let count = shape.iter().product::<usize>();
        let numbers: Vec<f32> = (0..count)
            .map(|_| self.rng.random_range(low..high))
            .collect();
        Tensor::from_vec(numbers, shape, &Device::Cpu)
    }

    /// (main memory, card), activations.
    fn activations(&mut self, shape: &[usize]) -> Result<[Tensor; 2]> {
        let stored = self
            .numbers(shape, -1.0, 1.0)?
            .to_dtype(self.store.product.dtype())?;
        Ok([stored.to_dtype(DType::F32)?, stored.to_device(self.card)?])
    }

    /// The same of what is f32 on both sides.
    fn parameters(&mut self, shape: &[usize], low: f32, high: f32) -> Result<[Tensor; 2]> {
        let numbers = self.numbers(shape, low, high)?;
        Ok([numbers.clone(), numbers.to_device(self.card)?])
    }

    fn norm(&mut self, channels: usize, groups: usize) -> Result<[Norm; 2]> {
        let weight = self.parameters(&[channels], 0.5, 1.5)?;
        let bias = self.parameters(&[channels], -0.5, 0.5)?;
        let norm = |i: usize| Norm {
            weight: weight[i].clone(),
            bias: bias[i].clone(),
            groups,
            eps: 64e-5,
        };
        Ok([norm(0), norm(1)])
    }

    #[track_caller]
    fn close(&self, what: &str, want: &Tensor, got: &Tensor) {
        close(what, want, got, self.store.tolerance);
    }

    #[track_caller]
    fn close_rows(&self, what: &str, want: &Rows, got: &Rows) -> Result<()> {
        self.close(what, &want.tensor()?, &got.tensor()?);
        Ok(())
    }
}

#[track_caller]
fn close(what: &str, want: &Tensor, got: &Tensor, tolerance: f64) {
    assert_eq!(want.dims(), got.dims(), "{what}");
    let numbers = |t: &Tensor| -> Result<Vec<f64>> {
        t.to_device(&Device::Cpu)?
            .to_dtype(DType::F64)?
            .flatten_all()?
            .to_vec1()
    };
    let (want, got) = (numbers(want).unwrap(), numbers(got).unwrap());
    let rms = (want.iter().map(|x| x * x).sum::<f64>() / want.len().max(1) as f64).sqrt();
    let error = |i: usize| (got[i] - want[i]).abs() / (want[i].abs() + rms).max(f64::MIN_POSITIVE);
    let worst = (0..want.len())
        .find(|&i| got[i].is_nan())
        .or_else(|| (0..want.len()).max_by(|&a, &b| error(a).total_cmp(&error(b))));
    if let Some(i) = worst {
        assert!(
            error(i) <= tolerance,
            "{what}: at {i} of {} the GPU has {}, not {}: {:.1e} off",
            want.len(),
            got[i],
            want[i],
            error(i)
        );
    }
}

/// Batches with sequences of one row, borders at and beside those of runs and chunks, and long ones.
fn batches() -> Vec<Offsets> {
    let batches: [&[usize]; 6] = [
        &[1],
        &[7],
        &[3, 1, 9],
        &[1; 9],
        &[16, 15, 17, 63, 64, 65],
        &[200],
    ];
    batches
        .iter()
        .map(|lengths| Offsets::from_lengths(lengths.iter().copied()))
        .collect()
}

#[test]
fn norms() -> Result<()> {
    let Some(card) = card() else { return Ok(()) };
    for store in STORES {
        for (rows, channels, groups) in [
            (1, 64, 1),
            (5, 64, 2),
            (67, 2080, 1),
            (33, 256, 4),
            (3, 64, 1),
        ] {
            let mut sides = Sides::new(&card, store);
            let [norm, on_card] = sides.norm(channels, groups)?;
            // Rows are what goes from layer to layer, in f32; groups are what WKV gives.
            let [x, x_card] = match groups {
                1 => sides.parameters(&[rows, channels], -1.0, 1.0)?,
                _ => sides.activations(&[rows, channels])?,
            };
            let [dy, dy_card] = sides.activations(&[rows, channels])?;
            let [gate, gate_card] = sides.activations(&[rows, channels])?;
            let what = format!("{store:?} {rows} x {channels} in {groups}");
            sides.close(&what, &norm.forward(&x)?, &on_card.forward(&x_card)?);
            sides.close(
                &what,
                &norm.backward(&dy, &x)?,
                &on_card.backward(&dy_card, &x_card)?,
            );
            let exact = Product::F32;
            sides.close_rows(
                &what,
                &gates::norm_silu(&norm, &x, None, exact)?,
                &gates::norm_silu(&on_card, &x_card, None, store.product)?,
            )?;
            sides.close_rows(
                &what,
                &gates::norm_silu(&norm, &x, Some(&gate), exact)?,
                &gates::norm_silu(&on_card, &x_card, Some(&gate_card), store.product)?,
            )?;
            let (dy_want, dg_want) = gates::norm_silu_backward(&norm, &dy, &x, &gate, exact)?;
            let (dy_got, dg_got) =
                gates::norm_silu_backward(&on_card, &dy_card, &x_card, &gate_card, store.product)?;
            sides.close(&what, &dy_want, &dy_got);
            sides.close_rows(&what, &dg_want, &dg_got)?;
        }
    }
    Ok(())
}

#[test]
fn token_shifts() -> Result<()> {
    let Some(card) = card() else { return Ok(()) };
    for store in STORES {
        for offsets in batches() {
            for (channels, mixes) in [(64, 2), (2080, 3), (96, 4)] {
                let mut sides = Sides::new(&card, store);
                let shape = [offsets.rows(), channels];
                let [norm, on_card] = sides.norm(channels, 1)?;
                let [x, x_card] = sides.parameters(&shape, -1.0, 1.0)?;
                let [d_out, d_out_card] = sides.parameters(&shape, -1.0, 1.0)?;
                let [first, first_card] = sides.parameters(&[channels], -1.0, 1.0)?;
                let (mut all, mut all_card) = (Vec::new(), Vec::new());
                let (mut d, mut d_card) = (Vec::new(), Vec::new());
                for _ in 0..mixes {
                    let [mix, mix_card] = sides.parameters(&[channels], 0.0, 1.0)?;
                    all.push(mix);
                    all_card.push(mix_card);
                    let [dx, dx_card] = sides.activations(&shape)?;
                    d.push(dx);
                    d_card.push(dx_card);
                }
                let what = format!("{store:?} {offsets:?} {channels}");
                let offsets = &offsets;
                let (mixes, mixes_card) = (all.iter().collect(), all_card.iter().collect());
                let shift = TokenShift {
                    norm: &norm,
                    mixes,
                    offsets,
                };
                let shift_card = TokenShift {
                    norm: &on_card,
                    mixes: mixes_card,
                    offsets,
                };
                let want = shift.forward(&x, &first, Product::F32)?;
                let got = shift_card.forward(&x_card, &first_card, store.product)?;
                for (want, got) in want.iter().zip(&got) {
                    sides.close_rows(&what, want, got)?;
                }
                let (dx, dfirst) = shift.backward(&x, &d_out, &d)?;
                let (dx_got, dfirst_got) = shift_card.backward(&x_card, &d_out_card, &d_card)?;
                sides.close(&what, &dx, &dx_got);
                sides.close(&what, &dfirst, &dfirst_got);
                sides.close(
                    &what,
                    &token_shift::last(&norm, &x, offsets)?,
                    &token_shift::last(&on_card, &x_card, offsets)?,
                );
            }
        }
    }
    Ok(())
}

#[test]
fn gates_of_single_numbers() -> Result<()> {
    let Some(card) = card() else { return Ok(()) };
    for store in STORES {
        for shape in [[1, 32], [7, 200], [300, 64]] {
            let mut sides = Sides::new(&card, store);
            let [x, x_card] = sides.parameters(&shape, -1.0, 1.0)?;
            let [dz, dz_card] = sides.activations(&shape)?;
            let [r, r_card] = sides.activations(&shape)?;
            let [v, v_card] = sides.activations(&shape)?;
            let what = format!("{store:?} {shape:?}");
            let exact = Product::F32;
            sides.close(
                &what,
                &gates::sigmoid_mul_onto(&x, &r, &v)?,
                &gates::sigmoid_mul_onto(&x_card, &r_card, &v_card)?,
            );
            let want = gates::sigmoid_mul_backward(&x, &r, &v, exact)?;
            let got = gates::sigmoid_mul_backward(&x_card, &r_card, &v_card, store.product)?;
            for (want, got) in want.iter().zip(&got) {
                sides.close_rows(&what, want, got)?;
            }
            sides.close_rows(
                &what,
                &gates::relu_squared(&r, exact)?,
                &gates::relu_squared(&r_card, store.product)?,
            )?;
            sides.close_rows(
                &what,
                &gates::relu_squared_backward(&dz, &r, exact)?,
                &gates::relu_squared_backward(&dz_card, &r_card, store.product)?,
            )?;
        }
    }
    Ok(())
}

#[track_caller]
fn wkv_close(what: &str, want: &Tensor, got: &Tensor, store: Store) {
    if store.product == Product::F32 {
        return close(what, want, got, store.tolerance);
    }
    close(what, want, got, CHUNKED_WORST);
    let square = |t: &Tensor| -> Result<f64> {
        let numbers = t.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?;
        Ok(numbers.iter().map(|x| x * x).sum())
    };
    let got = got.to_device(&Device::Cpu).unwrap();
    let difference = (want - got.to_dtype(DType::F32).unwrap()).unwrap();
    let off = (square(&difference).unwrap() / square(want).unwrap()).sqrt();
    assert!(off <= CHUNKED, "{what}: {off:.1e} off as a whole");
}

#[test]
fn wkv_by_tokens_and_in_chunks() -> Result<()> {
    let Some(card) = card() else { return Ok(()) };
    for store in STORES {
        for offsets in batches() {
            for (n_head, size) in [(3, 32), (2, 64), (1, 128)] {
                let mut sides = Sides::new(&card, store);
                let shape = [offsets.rows(), n_head * size];
                let [r, r_card] = sides.activations(&shape)?;
                let [k, k_card] = sides.activations(&shape)?;
                let [v, v_card] = sides.activations(&shape)?;
                let [dy, dy_card] = sides.activations(&shape)?;
                let [state, state_card] = sides.parameters(&[n_head, size, size], -1.0, 1.0)?;
                let [bonus, bonus_card] = sides.parameters(&[n_head, size], -1.0, 2.0)?;
                // From one that forgets at once to one that bf16 would round to 1.
                let decays = [0.0, 1e-30, 1e-3, 0.5, 0.9, 0.9999, 1.0];
                let decay: Vec<f32> = (0..n_head * size).map(|i| decays[i % 7]).collect();
                let decay = Tensor::from_vec(decay, (n_head, size), &Device::Cpu)?;
                let decay_card = decay.to_device(&card)?;
                let wkv = Wkv { decay, bonus };
                let on_card = Wkv {
                    decay: decay_card,
                    bonus: bonus_card,
                };
                let what = format!("{store:?} {offsets:?} {n_head} x {size}");
                let (y, end) = wkv.forward([&r, &k, &v], &state, &offsets)?;
                let (y_got, end_got) =
                    on_card.forward([&r_card, &k_card, &v_card], &state_card, &offsets)?;
                wkv_close(&format!("y {what}"), &y, &y_got, store);
                wkv_close(&format!("end {what}"), &end, &end_got, store);
                let want = wkv.backward(&dy, [&r, &k, &v], &state, &offsets, Product::F32)?;
                let got = on_card.backward(
                    &dy_card,
                    [&r_card, &k_card, &v_card],
                    &state_card,
                    &offsets,
                    store.product,
                )?;
                wkv_close(
                    &format!("dr {what}"),
                    &want.dr.tensor()?,
                    &got.dr.tensor()?,
                    store,
                );
                wkv_close(
                    &format!("dk {what}"),
                    &want.dk.tensor()?,
                    &got.dk.tensor()?,
                    store,
                );
                wkv_close(
                    &format!("dv {what}"),
                    &want.dv.tensor()?,
                    &got.dv.tensor()?,
                    store,
                );
                wkv_close(&format!("dstate {what}"), &want.dstate, &got.dstate, store);
            }
        }
    }
    Ok(())
}

#[test]
fn losses_and_their_gradient() -> Result<()> {
    let Some(card) = card() else { return Ok(()) };
    for store in STORES {
        for (count, vocab) in [(1, 2), (3, 77), (20, 1000), (2, 65536)] {
            let mut sides = Sides::new(&card, store);
            let [logits, on_card] = sides.parameters(&[count, vocab], 85.0, 95.0)?;
            let targets: Vec<u32> = (0..count).map(|row| (row * 31 % vocab) as u32).collect();
            let (losses, gradient) =
                cross_entropy::loss_and_gradient(&logits, &targets, 0.25, Product::F32)?;
            let (losses_got, gradient_got) =
                cross_entropy::loss_and_gradient(&on_card, &targets, 0.25, store.product)?;
            close("losses", &losses, &losses_got, 1e-6);
            sides.close_rows("gradient", &gradient, &gradient_got)?;
            let (want, got) = (
                cross_entropy::score(&logits, &targets)?,
                cross_entropy::score(&on_card, &targets)?,
            );
            assert!((want.0 - got.0).abs() <= 1e-6 * want.0, "{want:?} {got:?}");
            assert_eq!(want.1, got.1);
        }
    }
    let ties = Tensor::new(&[[1f32, 3.0, 3.0], [1.0, 3.0, 3.0]], &card)?;
    assert_eq!(
        cross_entropy::score(&ties, &[1, 2])?.1,
        1,
        "the first is the choice"
    );
    Ok(())
}

#[test]
fn products() -> Result<()> {
    let Some(card) = card() else { return Ok(()) };
    for store in STORES {
        for (element, weights) in [
            (Element::Bf16, Weights::File),
            (Element::F16, Weights::File),
            (Element::F32, Weights::File),
            (Element::Bf16, Weights::Int8),
            (Element::Bf16, Weights::Nf4),
        ] {
            for sizes in [[1, 200, 64], [1, 1000, 2080], [7, 33, 200], [130, 96, 448]] {
                products_of(&card, store, element, weights, sizes)?;
            }
        }
    }
    Ok(())
}

/// A matrix that is widened in parts: some of its rows are a product's first columns, and a part of its sums.
#[test]
fn products_of_a_large_matrix() -> Result<()> {
    let Some(card) = card() else { return Ok(()) };
    let [out, inner] = [8200, 4096];
    for (store, weights) in [
        (STORES[0], Weights::File),
        (STORES[0], Weights::Int8),
        (STORES[1], Weights::Nf4),
    ] {
        assert!(out * inner * store.product.dtype().size_in_bytes() > WIDENED);
        products_of(&card, store, Element::Bf16, weights, [2, out, inner])?;
    }
    Ok(())
}

fn products_of(
    card: &Device,
    store: Store,
    element: Element,
    weights: Weights,
    [n, out, inner]: [usize; 3],
) -> Result<()> {
    let mut sides = Sides::new(card, store);
    let [x, x_card] = sides.activations(&[n, inner])?;
    let [dy, dy_card] = sides.activations(&[n, out])?;
    let [to, to_card] = sides.parameters(&[n, out], -1.0, 1.0)?;
    let w = sides.numbers(&[out, inner], -1.0, 1.0)?;
    let matrix = |product| {
        Matrix::new(stored(&w, element)?.into(), element, [out, inner], product)?.held_as(weights)
    };
    // Exact in main memory; on the card both sides of a product are rounded, which for bf16 is no rounding.
    let exact = matrix(Product::F32)?;
    let on_card = matrix(store.product)?.on(card)?;
    assert_eq!(
        on_card.bytes() < exact.bytes(),
        element == Element::F32 && store.product == Product::Bf16
    );
    let what = format!("{store:?} {element:?} {weights} {n} x {out} x {inner}");
    let left = Rows::of(Product::F32, &x)?;
    let left_card = Rows::of(store.product, &x_card)?;
    sides.close(&what, &exact.forward(&left)?, &on_card.forward(&left_card)?);
    sides.close(
        &what,
        &exact.forward_onto(&to, &left)?,
        &on_card.forward_onto(&to_card, &left_card)?,
    );
    let wide = on_card.forward_wide(&left_card)?;
    assert_eq!(wide.dtype(), DType::F32);
    sides.close(&what, &exact.forward(&left)?, &wide);
    let left = Rows::of(Product::F32, &dy)?;
    let left_card = Rows::of(store.product, &dy_card)?;
    sides.close(
        &what,
        &exact.backward(&left)?,
        &on_card.backward(&left_card)?,
    );
    Ok(())
}

fn stored(w: &Tensor, element: Element) -> Result<Vec<u8>> {
    let numbers: Vec<f32> = w.flatten_all()?.to_vec1()?;
    Ok(element.encode(&numbers))
}

#[test]
fn rows_made_taken_and_put_back() -> Result<()> {
    let Some(card) = card() else { return Ok(()) };
    for store in STORES {
        let mut sides = Sides::new(&card, store);
        let w = sides.numbers(&[40, 96], -1.0, 1.0)?;
        let table = |product, device: &Device| {
            let bytes = stored(&w, Element::Bf16)?;
            Matrix::new(bytes.into(), Element::Bf16, [40, 96], product)?.on(device)
        };
        let [soft, soft_card] = sides.parameters(&[96], -1.0, 1.0)?;
        let tokens = [None, Some(39), Some(0), None, Some(7)];
        let exact = table(Product::F32, &Device::Cpu)?;
        let want = rows::embed(&exact, &tokens, Some(&soft))?;
        let got = rows::embed(&table(store.product, &card)?, &tokens, Some(&soft_card))?;
        sides.close("embed", &want, &got);

        let [x, x_card] = sides.parameters(&[9, 96], -1.0, 1.0)?;
        let picked = [8, 0, 3];
        let (want, got) = (rows::take(&x, &picked)?, rows::take(&x_card, &picked)?);
        sides.close("take", &want, &got);
        sides.close(
            "put",
            &rows::put(&want, &picked, &x)?,
            &rows::put(&got, &picked, &x_card)?,
        );
        let sum = rows::sum(&x_card, &picked)?;
        assert_eq!(sum.dtype(), DType::F32);
        close("sum", &rows::sum(&x, &picked)?, &sum, 1e-6);
    }
    Ok(())
}

#[test]
fn adam() -> Result<()> {
    let Some(card) = card() else { return Ok(()) };
    let mut sides = Sides::new(&card, STORES[0]);
    let adam = Adam {
        beta1: 0.9,
        beta2: 0.99,
        weight_decay: 0.1,
    };
    let [value, value_card] = sides.parameters(&[1000], -1.0, 1.0)?;
    let [value, value_card] =
        [value, value_card].map(|t| candle_core::Var::from_tensor(&t).unwrap());
    let mut moments = Moments::zeros(&value)?;
    let mut on_card = Moments::zeros(&value_card)?;
    for step in 1..=20 {
        let [gradient, gradient_card] = sides.parameters(&[1000], -1.0, 1.0)?;
        adam.step(&value, &mut moments, &gradient, 0.05, step)?;
        adam.step(&value_card, &mut on_card, &gradient_card, 0.05, step)?;
        let (want, got) = (sum_of_squares(&gradient)?, sum_of_squares(&gradient_card)?);
        assert!((want - got).abs() <= 1e-12 * want);
    }
    close("value", &value, &value_card, 1e-5);
    close("second moment", &moments.second, &on_card.second, 1e-5);
    Ok(())
}

#[test]
fn a_card_tells_of_itself() {
    let Some(card) = card() else { return };
    assert!(device::card_name(&card).unwrap().is_some());
    let memory = device::card_memory(&card).unwrap().unwrap();
    assert!(memory.free <= memory.total && memory.peak <= memory.total);
}

/// One token, which is recorded, some at once, one again, which is recorded again, and one that is launched.
#[test]
fn reading_on_from_a_state() -> anyhow::Result<()> {
    let Some(card) = card() else { return Ok(()) };
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/model_5.2.pth");
    let model = |device: &Device| {
        let exact = Compute::from(Product::F32);
        Rwkv::open(
            &model,
            Compute {
                device: device.clone(),
                ..exact
            },
        )
    };
    let (exact, on_card) = (model(&Device::Cpu)?, model(&card)?);
    let start = State::zeros(exact.config())?;
    let mut want = Reader::new(&exact, &start);
    let mut got = Reader::new(&on_card, &start.to_device(&card)?);
    for tokens in [
        &[3u32][..],
        &[5, 8, 13],
        &[21],
        &[34],
        &[55],
        &[89, 144],
        &[7],
        &[11],
    ] {
        let (want, got) = (want.read(tokens)?, got.read(tokens)?);
        let tensor = |row: Vec<f32>| Tensor::new(row, &Device::Cpu);
        close(
            &format!("after {tokens:?}"),
            &tensor(want)?,
            &tensor(got)?,
            1e-4,
        );
    }
    assert!(got.read(&[160]).is_err(), "no such token");
    Ok(())
}
