//! The recurrence of RWKV-7.

use candle_core::{Result, Tensor};
use state_tune::ops::Offsets;
use state_tune::ops::delta::{Delta, DeltaInputs};
use state_tune::ops::delta_keys::DeltaKeys;
use state_tune::ops::linear::ProductType;

use crate::common::close::{close, close_by_norm};
use crate::sides::{STORES, Sides, Store, gpu};

/// How far f32 results may be off: the worst number, and the whole.
#[derive(Clone, Copy)]
struct Off {
    worst: f64,
    norm: f64,
}

/// By tokens, f32 from end to end, whatever r, k and v are stored as: sums in another order.
const BY_TOKENS: Off = Off {
    worst: 2e-5,
    norm: 1e-5,
};
/// In chunks, what enters products has 16 bits, and the inverse of a run of one token magnifies it.
const IN_CHUNKS: Off = Off {
    worst: 1e-3,
    norm: 1e-4,
};

#[track_caller]
fn is_close(what: &str, want: &Tensor, got: &Tensor, off: Off) {
    close(what, got, want, off.worst);
    close_by_norm(what, got, want, off.norm);
}

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

/// What sets a test's decays and keys apart.
#[derive(Clone, Copy, Debug)]
enum Kind {
    /// Decays all over their range.
    Spread,
    /// The strongest decays.
    Strong,
    /// Hardly any decay.
    Weak,
    /// A run of one token: its key replaced whole, again and again, and hardly any decay.
    OneToken,
}

/// Both sides' inputs.
fn sides_of(
    sides: &mut Sides,
    offsets: &Offsets,
    [n_head, size]: [usize; 2],
    kind: Kind,
) -> Result<[Side; 2]> {
    let shape = [offsets.rows(), n_head * size];
    let [low, high] = match kind {
        Kind::Spread => [-7.0, 3.0],
        Kind::Strong => [10.0, 12.0],
        Kind::Weak | Kind::OneToken => [-9.0, -7.0],
    };
    let decay = sides.parameters(&shape[1..], low, high)?;
    let bonus = sides.parameters(&[n_head, size], -1.0, 1.0)?;
    let w = sides.parameters(&shape, -1.0, 1.0)?;
    let [r, mut k, v, dy] = [(); 4].map(|()| sides.activations(&shape).unwrap());
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
    let [mut kappa, _] = sides.parameters(&shape, -1.0, 1.0)?;
    let [mut a, _] = sides.parameters(&shape, -4.0, 4.0)?;
    if let Kind::OneToken = kind {
        let first = |x: &Tensor| x.narrow(0, 0, 1)?.broadcast_as(&shape[..])?.contiguous();
        k = [first(&k[0])?, first(&k[1])?];
        kappa = k[0].clone();
        a = a.affine(0.0, 4.0)?;
    }
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

fn agree(store: Store, offsets: &Offsets, heads: [usize; 2], kind: Kind, off: Off) -> Result<()> {
    let gpu = gpu();
    let mut sides = Sides::new(&gpu, store);
    let [exact, on_gpu] = sides_of(&mut sides, offsets, heads, kind)?;
    let what = |name: &str| format!("{name} {store:?} {offsets:?} {heads:?} {kind:?}");
    let want = exact
        .delta
        .forward(exact.inputs(), &exact.state, offsets, ProductType::F32)?;
    let got = on_gpu
        .delta
        .forward(on_gpu.inputs(), &on_gpu.state, offsets, ProductType::F32)?;
    sides.close(&what("y"), &want.y, &got.y);
    is_close(&what("q"), &want.q, &got.q, BY_TOKENS);
    is_close(&what("sa"), &want.sa, &got.sa, off);
    is_close(&what("ends"), &want.ends, &got.ends, off);

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
        is_close(&what(name), want, got, off);
    }
    Ok(())
}

#[test]
#[ignore = "needs --features cuda and a GPU, which tools/cuda-emulator emulates"]
fn the_delta_rule_token_by_token() -> Result<()> {
    for kind in [Kind::Spread, Kind::Strong, Kind::Weak, Kind::OneToken] {
        for offsets in [vec![1], vec![15, 1, 16, 17], vec![33, 3]] {
            let offsets = Offsets::from_lengths(offsets);
            for heads in [[3, 32], [2, 64], [1, 128]] {
                agree(STORES[0], &offsets, heads, kind, BY_TOKENS)?;
            }
        }
        // Too short for chunks, and heads too large for them.
        let offsets = Offsets::from_lengths([1, 15, 16, 17, 33]);
        agree(STORES[1], &offsets, [2, 64], kind, BY_TOKENS)?;
        agree(
            STORES[1],
            &Offsets::from_lengths([40]),
            [1, 128],
            kind,
            BY_TOKENS,
        )?;
    }
    Ok(())
}

#[test]
#[ignore = "needs --features cuda and a GPU, which tools/cuda-emulator emulates"]
fn the_delta_rule_in_chunks() -> Result<()> {
    for kind in [Kind::Spread, Kind::Strong, Kind::Weak, Kind::OneToken] {
        for offsets in [vec![32], vec![33, 31, 48, 16, 47, 65, 1, 15], vec![200]] {
            let offsets = Offsets::from_lengths(offsets);
            for heads in [[3, 32], [2, 64]] {
                agree(STORES[1], &offsets, heads, kind, IN_CHUNKS)?;
            }
        }
    }
    Ok(())
}
