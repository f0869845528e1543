//! WKV, by tokens and in chunks.

use candle_core::{Device, Result, Tensor};
use state_tune::ops::linear::ProductType;
use state_tune::ops::wkv::Wkv;

use crate::common::close::{close, close_by_norm};
use crate::sides::{STORES, Sides, Store, batches, gpu};

/// WKV in chunks: keys and values that were scaled, products of them and states are rounded to bf16
/// on the way, and summed over the rows of a chunk. The worst number may be further off, but not
/// the whole.
const CHUNKED_WORST: f64 = 2.5e-2;
const CHUNKED: f64 = 5e-3;

#[track_caller]
fn wkv_close(what: &str, want: &Tensor, got: &Tensor, store: Store) {
    match store.product {
        ProductType::F32 => close(what, got, want, store.tolerance),
        ProductType::Bf16 => {
            close(what, got, want, CHUNKED_WORST);
            close_by_norm(what, got, want, CHUNKED);
        }
    }
}

#[test]
#[ignore = "needs --features cuda and a GPU, which tools/cuda-emulator emulates"]
fn wkv_by_tokens_and_in_chunks() -> Result<()> {
    let gpu = gpu();
    for store in STORES {
        for offsets in batches() {
            for (n_head, size) in [(3, 32), (2, 64), (1, 128)] {
                let mut sides = Sides::new(&gpu, store);
                let shape = [offsets.rows(), n_head * size];
                let [r, r_gpu] = sides.activations(&shape)?;
                let [k, k_gpu] = sides.activations(&shape)?;
                let [v, v_gpu] = sides.activations(&shape)?;
                let [dy, dy_gpu] = sides.activations(&shape)?;
                let [state, state_gpu] = sides.parameters(&[n_head, size, size], -1.0, 1.0)?;
                let [bonus, bonus_gpu] = sides.parameters(&[n_head, size], -1.0, 2.0)?;
                // From one that forgets at once to one that bf16 would round to 1.
                let decays = [0.0, 1e-30, 1e-3, 0.5, 0.9, 0.9999, 1.0];
                let decay: Vec<f32> = (0..n_head * size).map(|i| decays[i % 7]).collect();
                let decay = Tensor::from_vec(decay, (n_head, size), &Device::Cpu)?;
                let decay_gpu = decay.to_device(&gpu)?;
                let wkv = Wkv { decay, bonus };
                let on_gpu = Wkv {
                    decay: decay_gpu,
                    bonus: bonus_gpu,
                };
                let what = format!("{store:?} {offsets:?} {n_head} x {size}");
                let (y, end) = wkv.forward([&r, &k, &v], &state, &offsets)?;
                let (y_got, end_got) =
                    on_gpu.forward([&r_gpu, &k_gpu, &v_gpu], &state_gpu, &offsets)?;
                wkv_close(&format!("y {what}"), &y, &y_got, store);
                wkv_close(&format!("end {what}"), &end, &end_got, store);
                let want = wkv.backward(&dy, [&r, &k, &v], &state, &offsets, ProductType::F32)?;
                let got = on_gpu.backward(
                    &dy_gpu,
                    [&r_gpu, &k_gpu, &v_gpu],
                    &state_gpu,
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
