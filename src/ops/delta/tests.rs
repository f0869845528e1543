//! The recurrence and its gradient against the reference in float64, and against the definition of
//! dlogw.

use candle_core::{DType, Var};

use super::super::cpu::level::Level;
use super::super::cpu::level::tests::at_each_level;
use super::super::cpu::threads::with_threads;
use super::super::testing::{
    F32, F32_LONG, close, close_by_norm, f32, many_offsets, rounded, stored, uniform, var,
};
use super::*;

mod chunked;
mod definition;

use self::definition::by_definition;

/// Inputs of a test, and what they come from.
struct Case {
    r: Var,
    w: Var,
    kappa: Var,
    a: Var,
    v: Var,
    state: Var,
    delta: Delta,
    dy: Tensor,
    dq: Tensor,
    offsets: Offsets,
}

/// What sets a test's decays and keys apart.
#[derive(Clone, Copy, Debug)]
enum Kind {
    /// Decays all over their range.
    Spread,
    /// w0, alike in all channels: 10 is the strongest decay, -7 nearly none.
    Decay(f64),
    /// A run of one token: its key replaced whole, again and again, and hardly any decay.
    OneToken,
}

impl Case {
    fn new(n_head: usize, head_size: usize, offsets: Offsets, kind: Kind) -> Result<Self> {
        let rows = [offsets.rows(), n_head * head_size];
        let heads = [n_head, head_size];
        let decay = match kind {
            Kind::Spread => uniform(5, &rows[1..], -7.0, 3.0)?,
            Kind::Decay(w0) => ((uniform(5, &rows[1..], 0.0, 1.0)? * 0.0)? + w0)?,
            Kind::OneToken => uniform(5, &rows[1..], -8.0, -6.0)?,
        };
        let of = |seed, low, high| -> Result<Tensor> {
            match kind {
                Kind::OneToken => uniform(seed, &[1, rows[1]], low, high)?.broadcast_as(&rows),
                _ => uniform(seed, &rows, low, high),
            }
        };
        let a = match kind {
            Kind::OneToken => of(9, 4.0, 8.0)?,
            Kind::Spread => of(9, -4.0, 4.0)?,
            // Wide enough that both ends of the logistic function are met.
            Kind::Decay(_) => of(9, -15.0, 15.0)?,
        };
        // As the kernels take them: where one key is replaced again and again, their rounding
        // shows.
        let kept = |x: Tensor| Var::from_tensor(&f32(&x)?.to_dtype(DType::F64)?.contiguous()?);
        Ok(Self {
            r: kept(of(1, -1.0, 1.0)?)?,
            w: kept(of(2, -1.0, 1.0)?)?,
            kappa: kept(of(3, -1.0, 1.0)?)?,
            a: kept(a)?,
            v: kept(of(4, -1.0, 1.0)?)?,
            state: var(7, &[n_head, head_size, head_size])?,
            delta: Delta {
                decay,
                bonus: uniform(6, &heads, -1.0, 1.0)?,
                keys: DeltaKeys {
                    removal: uniform(8, &rows[1..], 0.4, 1.1)?,
                    share: uniform(12, &rows[1..], 0.6, 1.2)?,
                    rate: uniform(13, &rows[1..], -1.0, 1.0)?,
                },
            },
            dy: uniform(10, &rows, -1.0, 1.0)?,
            dq: uniform(11, &[rows[0], n_head], -1.0, 1.0)?,
            offsets,
        })
    }

    fn vars(&self) -> [&Var; 6] {
        let Self {
            r,
            w,
            kappa,
            a,
            v,
            state,
            ..
        } = self;
        [r, w, kappa, a, v, state]
    }

    fn delta(&self) -> Result<Delta> {
        let Delta { decay, bonus, keys } = &self.delta;
        Ok(Delta {
            decay: f32(decay)?,
            bonus: f32(bonus)?,
            keys: DeltaKeys {
                removal: f32(&keys.removal)?,
                share: f32(&keys.share)?,
                rate: f32(&keys.rate)?,
            },
        })
    }

    /// \[y, q, ends\], and the gradients of the six, in float64.
    fn wanted(&self) -> Result<([Tensor; 3], [Tensor; 6])> {
        let [r, w, kappa, a, v, state] = self.vars().map(Var::as_tensor);
        let x = inputs([r, w, kappa, a, v]);
        let (y, q, ends) = reference::forward(&self.delta, x, state, &self.offsets)?;
        let loss = ((&y * &self.dy)?.sum_all()? + (&q * &self.dq)?.sum_all()?)?;
        let gradients = loss.backward()?;
        let gradients = self.vars().map(|var| gradients.get(var).unwrap().clone());
        Ok(([y, q, ends], gradients))
    }

    /// The same of the kernels.
    fn got(&self) -> Result<([Tensor; 3], [Tensor; 6])> {
        let all = self.vars().map(|var| f32(var).unwrap());
        let [r, w, kappa, a, v, state] = all.each_ref();
        let (delta, x) = (self.delta()?, inputs([r, w, kappa, a, v]));
        let made = delta.forward(x, state, &self.offsets, ProductType::F32)?;
        let d = delta.backward(
            [&f32(&self.dy)?, &f32(&self.dq)?],
            x,
            &made.sa,
            state,
            &self.offsets,
            ProductType::F32,
        )?;
        let rows = [d.dr, d.dw, d.d_kappa, d.da].map(|rows| rows.tensor().unwrap());
        let [dr, dw, d_kappa, da] = rows;
        let gradients = [dr, dw, d_kappa, da, d.dv, d.dstate];
        Ok(([made.y, made.q, made.ends], gradients))
    }
}

fn inputs([r, w, kappa, a, v]: [&Tensor; 5]) -> DeltaInputs<'_> {
    DeltaInputs { r, w, kappa, a, v }
}

/// How far a run of one token may be off, the worst number and the whole: it magnifies the rounding of
/// its key, whoever computes (candle's f32 is up to 6e-6 off by norm).
struct Off {
    worst: f64,
    norm: f64,
}

const ONE_TOKEN: Off = Off {
    worst: 5e-5,
    norm: 1e-5,
};

const MADE: [&str; 3] = ["y", "q", "ends"];
const GRADIENTS: [&str; 6] = ["dr", "dw", "dkappa", "da", "dv", "dstate"];

fn check(n_head: usize, head_size: usize, offsets: &Offsets, kind: Kind) -> Result<()> {
    let case = Case::new(n_head, head_size, offsets.clone(), kind)?;
    let (want, want_gradients) = case.wanted()?;
    at_each_level(|level| {
        let (got, got_gradients) = case.got()?;
        let names = MADE.iter().chain(&GRADIENTS);
        let wanted = want.iter().chain(&want_gradients);
        for ((name, got), want) in names.zip(got.iter().chain(&got_gradients)).zip(wanted) {
            let what = format!("{name} of {n_head} x {head_size}, {kind:?}, {offsets:?}, {level}");
            match kind {
                Kind::OneToken => {
                    close(&what, got, want, ONE_TOKEN.worst);
                    close_by_norm(&what, got, want, ONE_TOKEN.norm);
                }
                _ => close(&what, got, want, F32_LONG),
            }
        }
        Ok(())
    })
}

/// What every op is tried with, and sequences that begin and end beside the numbers that are taken
/// at once.
fn grid() -> Vec<Offsets> {
    let mut grid = many_offsets();
    grid.extend([[1, 5, 14], [3, 1, 29], [7, 0, 0]].map(Offsets::from_lengths));
    grid
}

#[test]
fn forward_and_gradients_agree_with_the_reference() -> Result<()> {
    for (n_head, head_size) in [(1, 5), (3, 12), (2, 8), (1, 16), (2, 64), (1, 72)] {
        for offsets in grid() {
            if offsets.sequences() < 1000 || head_size <= 8 {
                check(n_head, head_size, &offsets, Kind::Spread)?;
            }
        }
    }
    Ok(())
}

#[test]
fn decays_at_both_ends_of_their_range_and_a_run_of_one_token() -> Result<()> {
    for kind in [Kind::Decay(12.0), Kind::Decay(-7.0), Kind::OneToken] {
        for lengths in [vec![1], vec![40, 1], vec![200]] {
            check(2, 8, &Offsets::from_lengths(lengths.clone()), kind)?;
            check(1, 33, &Offsets::from_lengths(lengths), kind)?;
        }
    }
    Ok(())
}

/// More threads than heads share their columns.
#[test]
fn one_head_is_shared_by_threads() -> Result<()> {
    let shared = || {
        for head_size in [20, 64, 72, 100] {
            check(1, head_size, &Offsets::from_lengths([33]), Kind::Spread)?;
        }
        check_bf16()
    };
    with_threads(Some(16), shared).unwrap()
}

/// Without a gradient of y only q asks for something, and of both keys for k alone: its gradient goes
/// back through k's formula, and no rounding of the recurrence is in it.
#[test]
fn the_key_that_is_added_takes_its_gradient_back_closely() -> Result<()> {
    for (n_head, head_size) in [(1, 5), (2, 64), (1, 72)] {
        let mut case = Case::new(
            n_head,
            head_size,
            Offsets::from_lengths([7, 33]),
            Kind::Decay(0.0),
        )?;
        case.dy = case.dy.zeros_like()?;
        let (want, want_gradients) = case.wanted()?;
        at_each_level(|_| {
            let (got, got_gradients) = case.got()?;
            close("q", &got[1], &want[1], F32);
            for i in [2, 3] {
                let (got, want) = (&got_gradients[i], &want_gradients[i]);
                close(GRADIENTS[i], got, want, 2.0 * F32);
            }
            for i in [1, 4, 5] {
                let zeros = got_gradients[i].zeros_like()?;
                close(GRADIENTS[i], &got_gradients[i], &zeros, 0.0);
            }
            Ok(())
        })?;
    }
    Ok(())
}

#[test]
fn gradients_are_those_of_the_definition() -> Result<()> {
    for lengths in [vec![1], vec![9], vec![4, 11]] {
        let case = Case::new(1, 6, Offsets::from_lengths(lengths), Kind::Spread)?;
        let want = by_definition(&case)?;
        at_each_level(|_| {
            for ((name, got), want) in GRADIENTS.iter().zip(&case.got()?.1).zip(&want) {
                close(name, got, want, F32_LONG);
            }
            Ok(())
        })?;
    }
    Ok(())
}

/// Rounding adds up in the sum that dw is found by; its norm stays within what f32 gradients may be
/// off by.
#[test]
fn gradients_of_two_thousand_tokens_are_within_their_tolerance() -> Result<()> {
    for kind in [
        Kind::Spread,
        Kind::Decay(12.0),
        Kind::Decay(-7.0),
        Kind::OneToken,
    ] {
        let case = Case::new(1, 64, Offsets::from_lengths([2048]), kind)?;
        let want = by_definition(&case)?;
        at_each_level(|level| {
            for ((name, got), want) in GRADIENTS.iter().zip(&case.got()?.1).zip(&want) {
                close_by_norm(&format!("{name}, {kind:?}, {level}"), got, want, 1e-4);
            }
            Ok(())
        })?;
    }
    Ok(())
}

/// What is stored as bf16 is computed as the f32 that it stands for, and rounded once.
#[test]
fn what_is_stored_as_bf16_is_computed_in_f32() -> Result<()> {
    check_bf16()
}

fn check_bf16() -> Result<()> {
    at_each_level(|_| {
        // Too short for chunks, whose products round.
        let case = Case::new(3, 20, Offsets::from_lengths([31, 2, 18]), Kind::Spread)?;
        let delta = case.delta()?;
        let [w, a, state] = [&case.w, &case.a, &case.state].map(|x| f32(x).unwrap());
        let [r, kappa, v, dy] = [
            case.r.as_tensor(),
            case.kappa.as_tensor(),
            case.v.as_tensor(),
            &case.dy,
        ]
        .map(|x| stored(x).unwrap());
        let x = |i: usize| inputs([&r[i], &w, &kappa[i], &a, &v[i]]);
        let [got, want] = [0, 1].map(|i| {
            let made = delta.forward(x(i), &state, &case.offsets, ProductType::F32);
            made.unwrap()
        });
        rounded("y", &got.y, &want.y);
        close("q", &got.q, &want.q, 0.0);
        close("sa", &got.sa, &want.sa, 0.0);
        close("ends", &got.ends, &want.ends, 0.0);

        let dq = f32(&case.dq)?;
        let backward = |i: usize, product| {
            let d = [&dy[i], &dq];
            delta.backward(d, x(i), &want.sa, &state, &case.offsets, product)
        };
        let [got, want] = [0, 1].map(|i| backward(i, ProductType::F32).unwrap());
        for (name, got, want) in [
            ("dr", got.dr.tensor()?, want.dr.tensor()?),
            ("dw", got.dw.tensor()?, want.dw.tensor()?),
            ("dkappa", got.d_kappa.tensor()?, want.d_kappa.tensor()?),
            ("da", got.da.tensor()?, want.da.tensor()?),
            ("dv", got.dv, want.dv),
            ("dstate", got.dstate, want.dstate),
        ] {
            close(name, &got, &want, 0.0);
        }
        // Gradients go to products rounded, and numbers of a head begin and end within what is
        // written at once.
        let wide = backward(0, ProductType::F32)?;
        let narrow = backward(0, ProductType::Bf16)?;
        for (name, got, want) in [
            ("dr", narrow.dr, wide.dr),
            ("dw", narrow.dw, wide.dw),
            ("dkappa", narrow.d_kappa, wide.d_kappa),
            ("da", narrow.da, wide.da),
        ] {
            let want = want.tensor()?.to_dtype(DType::BF16)?;
            close(name, &got.tensor()?, &want, 0.0);
        }
        Ok(())
    })
}

/// A head of zeros has no direction: it gets no gradient through its length, and its neighbour's are
/// as ever.
#[test]
fn a_head_of_zeros_gets_no_gradient_through_its_length() -> Result<()> {
    at_each_level(|_| {
        let both = Case::new(2, 8, Offsets::from_lengths([3]), Kind::Spread)?;
        let zeros = Tensor::zeros((3, 8), DType::F64, both.r.device())?;
        let kappa = Tensor::cat(&[&zeros, &both.kappa.narrow(1, 8, 8)?], 1)?;
        let zero = Case {
            kappa: Var::from_tensor(&kappa)?,
            ..Case::new(2, 8, Offsets::from_lengths([3]), Kind::Spread)?
        };
        let (got, want) = (zero.got()?, both.got()?);
        // Without keys only k = 0 is left, whose gradient goes by its scale alone.
        let [dkappa, da] = [2, 3].map(|i| got.1[i].narrow(1, 0, 8).unwrap());
        close("da", &da, &zeros, 0.0);
        let largest = dkappa.abs()?.max_all()?.to_scalar::<f32>()?;
        assert!(largest > 0.0 && largest < 10.0, "{largest}");
        for (name, got, want) in [
            ("y", &got.0[0], &want.0[0]),
            ("dkappa", &got.1[2], &want.1[2]),
        ] {
            close(name, &got.narrow(1, 8, 8)?, &want.narrow(1, 8, 8)?, 0.0);
        }
        Ok(())
    })
}

#[test]
fn shapes_that_disagree_are_refused() -> Result<()> {
    let case = Case::new(2, 8, Offsets::from_lengths([3]), Kind::Spread)?;
    let all = case.vars().map(|var| f32(var).unwrap());
    let [r, w, kappa, a, v, state] = all.each_ref();
    let delta = case.delta()?;
    let offsets = Offsets::from_lengths([4]);
    let x = inputs([r, w, kappa, a, v]);
    assert!(delta.forward(x, state, &offsets, ProductType::F32).is_err());
    let narrow = w.narrow(1, 0, 8)?;
    let x = inputs([r, &narrow, kappa, a, v]);
    let refused = |delta: &Delta, x| {
        let made = delta.forward(x, state, &case.offsets, ProductType::F32);
        assert!(made.is_err());
    };
    refused(&delta, x);
    refused(&delta, inputs([r, w, kappa, &narrow, v]));
    let mut other = delta.clone();
    other.keys.share = narrow.get(0)?;
    refused(&other, inputs([r, w, kappa, a, v]));
    Ok(())
}
