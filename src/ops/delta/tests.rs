//! The recurrence and its gradient against the reference in float64, and against the definition of
//! dlogw.

use candle_core::{DType, Var};

use super::super::cpu::level::tests::at_each_level;
use super::super::cpu::threads::with_threads;
use super::super::testing::{
    F32, F32_LONG, close, close_by_norm, f32, many_offsets, rounded, stored,
};
use super::*;

mod case;
mod definition;

use self::case::{Case, Kind, inputs};
use self::definition::by_definition;

/// How far a run of one token may be off, the worst number and the whole by norm: it magnifies the
/// rounding of its key, whoever computes (candle's f32 is up to 6e-6 off by norm).
const ONE_TOKEN: [f64; 2] = [5e-5, 1e-5];

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
                    close(&what, got, want, ONE_TOKEN[0]);
                    close_by_norm(&what, got, want, ONE_TOKEN[1]);
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
            let made = delta.forward(x(i), &state, &case.offsets);
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
    assert!(delta.forward(x, state, &offsets).is_err());
    let narrow = w.narrow(1, 0, 8)?;
    let x = inputs([r, &narrow, kappa, a, v]);
    let refused = |delta: &Delta, x| {
        let made = delta.forward(x, state, &case.offsets);
        assert!(made.is_err());
    };
    refused(&delta, x);
    refused(&delta, inputs([r, w, kappa, &narrow, v]));
    let mut other = delta.clone();
    other.keys.share = narrow.get(0)?;
    refused(&other, inputs([r, w, kappa, a, v]));
    Ok(())
}
