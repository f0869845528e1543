//! The recurrence of RWKV-7.

use candle_core::{Result, Tensor};
use state_tune::ops::Offsets;
use state_tune::ops::delta::{Delta, DeltaInputs};
use state_tune::ops::delta_keys::DeltaKeys;
use state_tune::ops::linear::ProductType;

use crate::common::close::close;
use crate::sides::{STORES, Sides, Store, batches, gpu};

/// f32 from end to end, whatever r, k and v are stored as: sums in another order.
const F32: f64 = 2e-5;

/// A recurrence's inputs on one side.
struct Side {
    delta: Delta,
    r: Tensor,
    w: Tensor,
    k: Tensor,
    v: Tensor,
    kk: Tensor,
    alpha: Tensor,
    state: Tensor,
    dy: Tensor,
    dq: Tensor,
}

impl Side {
    fn inputs(&self) -> DeltaInputs<'_> {
        DeltaInputs {
            r: &self.r,
            w: &self.w,
            k: &self.k,
            v: &self.v,
            kk: &self.kk,
            alpha: &self.alpha,
        }
    }
}

/// Both sides' inputs, with decays `w0` wide.
fn sides_of(
    sides: &mut Sides,
    offsets: &Offsets,
    [n_head, size]: [usize; 2],
    w0: [f32; 2],
) -> Result<[Side; 2]> {
    let shape = [offsets.rows(), n_head * size];
    let decay = sides.parameters(&shape[1..], w0[0], w0[1])?;
    let bonus = sides.parameters(&[n_head, size], -1.0, 1.0)?;
    let w = sides.parameters(&shape, -1.0, 1.0)?;
    let [r, k, v, dy] = [(); 4].map(|()| sides.activations(&shape).unwrap());
    let state = sides.parameters(&[n_head, size, size], -1.0, 1.0)?;
    let dq = sides.parameters(&[shape[0], n_head], -1.0, 1.0)?;
    // Keys of length 1, as the op that makes them does.
    let [one, _] = sides.parameters(&shape[1..], 1.0, 1.0 + f32::EPSILON)?;
    let keys = DeltaKeys {
        removal: one.clone(),
        share: one.clone(),
        rate: one,
        n_head,
    };
    let [kappa, _] = sides.parameters(&shape, -1.0, 1.0)?;
    let [a, _] = sides.parameters(&shape, -4.0, 4.0)?;
    let made = keys.forward(&kappa, &a)?;
    let kk = sides.both(&made.kk)?;
    let alpha = sides.both(&made.alpha)?;
    Ok([0, 1].map(|i| Side {
        delta: Delta {
            decay: decay[i].clone(),
            bonus: bonus[i].clone(),
        },
        r: r[i].clone(),
        w: w[i].clone(),
        k: k[i].clone(),
        v: v[i].clone(),
        kk: kk[i].clone(),
        alpha: alpha[i].clone(),
        state: state[i].clone(),
        dy: dy[i].clone(),
        dq: dq[i].clone(),
    }))
}

fn agree(store: Store, offsets: &Offsets, heads: [usize; 2], w0: [f32; 2]) -> Result<()> {
    let gpu = gpu();
    let mut sides = Sides::new(&gpu, store);
    let [exact, on_gpu] = sides_of(&mut sides, offsets, heads, w0)?;
    let what = |name: &str| format!("{name} {store:?} {offsets:?} {heads:?} {w0:?}");
    let want = exact.delta.forward(exact.inputs(), &exact.state, offsets)?;
    let got = on_gpu
        .delta
        .forward(on_gpu.inputs(), &on_gpu.state, offsets)?;
    sides.close(&what("y"), &want.y, &got.y);
    close(&what("q"), &got.q, &want.q, F32);
    close(&what("sa"), &got.sa, &want.sa, F32);
    close(&what("ends"), &got.ends, &want.ends, F32);

    let gradients = |side: &Side, sa: &Tensor, product| {
        let d = [&side.dy, &side.dq];
        side.delta
            .backward(d, side.inputs(), sa, &side.state, offsets, product)
    };
    let want = gradients(&exact, &want.sa, ProductType::F32)?;
    let got = gradients(&on_gpu, &got.sa, store.product)?;
    sides.close_rows(&what("dr"), &want.dr, &got.dr)?;
    sides.close_rows(&what("dw"), &want.dw, &got.dw)?;
    for (name, want, got) in [
        ("dk", &want.dk, &got.dk),
        ("dv", &want.dv, &got.dv),
        ("dkk", &want.dkk, &got.dkk),
        ("dalpha", &want.dalpha, &got.dalpha),
        ("dstate", &want.dstate, &got.dstate),
    ] {
        close(&what(name), got, want, F32);
    }
    Ok(())
}

#[test]
#[ignore = "needs --features cuda and a GPU, which tools/cuda-emulator emulates"]
fn the_delta_rule_token_by_token() -> Result<()> {
    for store in STORES {
        for offsets in batches() {
            agree(store, &offsets, [3, 32], [-7.0, 3.0])?;
        }
        for heads in [[2, 64], [1, 128]] {
            let offsets = Offsets::from_lengths([1, 15, 16, 17, 33]);
            // The whole range of decays, the strongest alone, and hardly any.
            for w0 in [[-7.0, 3.0], [10.0, 12.0], [-9.0, -7.0]] {
                agree(store, &offsets, heads, w0)?;
            }
        }
    }
    Ok(())
}
