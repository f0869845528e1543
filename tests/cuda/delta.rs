//! The recurrence of RWKV-7.

use candle_core::{DType, Device, Result, Tensor};
use state_tune::ops::Offsets;
use state_tune::ops::delta::{Delta, DeltaInputs, DeltaKeys};
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

/// The same of what is stored as bf16, where no number can be closer than its rounding: few may be
/// rounded to another bf16 than the right one is.
#[track_caller]
fn is_rounded_alike(what: &str, want: &Tensor, got: &Tensor, off: Off) -> Result<()> {
    let rounded = want.to_dtype(DType::BF16)?.to_dtype(DType::F32)?;
    let got = got.to_device(&Device::Cpu)?.to_dtype(DType::F32)?;
    // A bf16 and the next are 1/256 to 1/128 apart.
    close(what, &got, &rounded, 1.0 / 128.0);
    close_by_norm(what, &got, want, 3e-3);
    let others = rounded.ne(&got)?.to_dtype(DType::F32)?.mean_all()?;
    let others = f64::from(others.to_scalar::<f32>()?);
    // What is off by 1e-4 has 2 to 3 % of its numbers rounded otherwise.
    let most = (200.0 * off.norm).clamp(0.01, 0.5);
    assert!(
        others <= most,
        "{what}: {others:.4} of the numbers are rounded to another bf16, more than {most}"
    );
    Ok(())
}

/// A recurrence's inputs on one side.
struct Side {
    delta: Delta,
    r: Tensor,
    w: Tensor,
    kappa: Tensor,
    a: Tensor,
    v: Tensor,
    state: Tensor,
    dy: Tensor,
    dq: Tensor,
}

impl Side {
    fn inputs(&self) -> DeltaInputs<'_> {
        DeltaInputs {
            r: &self.r,
            w: &self.w,
            kappa: &self.kappa,
            a: &self.a,
            v: &self.v,
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
    let [r, mut kappa, v, dy] = [(); 4].map(|()| sides.activations(&shape).unwrap());
    let state = sides.parameters(&[n_head, size, size], -1.0, 1.0)?;
    let dq = sides.parameters(&[shape[0], n_head], -1.0, 1.0)?;
    let removal = sides.parameters(&shape[1..], 0.4, 1.1)?;
    // Where k is stored as bf16, it is kappa here and is not rounded again: what the recurrence makes
    // of it can be compared closely then.
    let share = match sides.store.product {
        ProductType::F32 => sides.parameters(&shape[1..], 0.6, 1.2)?,
        ProductType::Bf16 => sides.both(&Tensor::zeros(shape[1], DType::F32, &Device::Cpu)?)?,
    };
    let rate = sides.parameters(&shape[1..], -1.0, 1.0)?;
    // Wide enough that both ends of the logistic function are met.
    let mut a = sides.parameters(&shape, -15.0, 15.0)?;
    if let Kind::OneToken = kind {
        let first = |x: &Tensor| x.narrow(0, 0, 1)?.broadcast_as(&shape[..])?.contiguous();
        kappa = [first(&kappa[0])?, first(&kappa[1])?];
        a = [a[0].affine(0.0, 5.0)?, a[1].affine(0.0, 5.0)?];
    }
    Ok([0, 1].map(|i| Side {
        delta: Delta {
            decay: decay[i].clone(),
            bonus: bonus[i].clone(),
            keys: DeltaKeys {
                removal: removal[i].clone(),
                share: share[i].clone(),
                rate: rate[i].clone(),
            },
        },
        r: r[i].clone(),
        w: w[i].clone(),
        kappa: kappa[i].clone(),
        a: a[i].clone(),
        v: v[i].clone(),
        state: state[i].clone(),
        dy: dy[i].clone(),
        dq: dq[i].clone(),
    }))
}

fn agree(store: Store, offsets: &Offsets, heads: [usize; 2], kind: Kind, off: Off) -> Result<()> {
    let gpu = gpu();
    let mut sides = Sides::new(&gpu, store);
    let both = sides_of(&mut sides, offsets, heads, kind)?;
    sides_agree(&sides, both, offsets, kind, [off, BY_TOKENS])
}

/// Makes the same of both sides' inputs and compares it; q by itself, which no chunk rounds.
fn sides_agree(
    sides: &Sides,
    [exact, on_gpu]: [Side; 2],
    offsets: &Offsets,
    kind: Kind,
    [off, q_off]: [Off; 2],
) -> Result<()> {
    let what = |name: &str| {
        format!(
            "{name} {:?} {offsets:?} {:?} {kind:?}",
            sides.store,
            exact.delta.bonus.dims()
        )
    };
    let want = exact.delta.forward(exact.inputs(), &exact.state, offsets)?;
    let got = on_gpu
        .delta
        .forward(on_gpu.inputs(), &on_gpu.state, offsets)?;
    sides.close(&what("y"), &want.y, &got.y);
    is_close(&what("q"), &want.q, &got.q, q_off);
    is_close(&what("sa"), &want.sa, &got.sa, off);
    is_close(&what("ends"), &want.ends, &got.ends, off);

    let gradients = |side: &Side, sa: &Tensor, product| {
        let d = [&side.dy, &side.dq];
        side.delta
            .backward(d, side.inputs(), sa, &side.state, offsets, product)
    };
    let want = gradients(&exact, &want.sa, ProductType::F32)?;
    let got = gradients(&on_gpu, &got.sa, sides.store.product)?;
    sides.close_rows(&what("dr"), &want.dr, &got.dr)?;
    sides.close_rows(&what("dw"), &want.dw, &got.dw)?;
    for (name, want, got) in [
        ("dkappa", &want.d_kappa, &got.d_kappa),
        ("da", &want.da, &got.da),
    ] {
        let (want, got) = (want.tensor()?, got.tensor()?);
        match sides.store.product {
            ProductType::F32 => is_close(&what(name), &want, &got, off),
            ProductType::Bf16 => is_rounded_alike(&what(name), &want, &got, off)?,
        }
    }
    for (name, want, got) in [
        ("dv", &want.dv, &got.dv),
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

/// The key that is added is rounded where activations are.
#[test]
#[ignore = "needs --features cuda and a GPU, which tools/cuda-emulator emulates"]
fn keys_that_take_the_learning_rate() -> Result<()> {
    let gpu = gpu();
    for store in STORES {
        // With chunks and without.
        for (heads @ [n_head, size], lengths) in [
            ([1, 32], vec![7, 1]),
            ([3, 32], vec![200]),
            ([2, 64], vec![33, 70]),
            ([1, 128], vec![40]),
        ] {
            let offsets = Offsets::from_lengths(lengths);
            let mut sides = Sides::new(&gpu, store);
            let [mut exact, mut on_gpu] = sides_of(&mut sides, &offsets, heads, Kind::Spread)?;
            let share = sides.parameters(&[n_head * size], 0.6, 1.2)?;
            [exact.delta.keys.share, on_gpu.delta.keys.share] = share;
            let both = [exact, on_gpu];
            let off = Off {
                worst: store.tolerance,
                norm: store.tolerance,
            };
            sides_agree(&sides, both, &offsets, Kind::Spread, [off, off])?;
        }
    }
    Ok(())
}

/// A head of zeros has no direction: it gets no gradient through its length, and its neighbour's are
/// as ever.
#[test]
#[ignore = "needs --features cuda and a GPU, which tools/cuda-emulator emulates"]
fn a_key_of_zeros_beside_one_that_is_none() -> Result<()> {
    let gpu = gpu();
    for store in STORES {
        let offsets = Offsets::from_lengths([3]);
        let mut sides = Sides::new(&gpu, store);
        let mut both = sides_of(&mut sides, &offsets, [2, 32], Kind::Spread)?;
        for side in &mut both {
            let other = side.kappa.narrow(1, 32, 32)?;
            side.kappa = Tensor::cat(&[&other.zeros_like()?, &other], 1)?;
        }
        sides_agree(&sides, both, &offsets, Kind::Spread, [BY_TOKENS; 2])?;
    }
    Ok(())
}
