use candle_core::Var;

use super::*;
use crate::ops::cpu::level::tests::at_each_level;
use crate::ops::testing::{F32_LONG, close, f32, offset_grid, rounded, stored, uniform, var};

#[test]
fn forward_and_gradients_agree_with_the_reference() -> Result<()> {
    at_each_level(|_| check())
}

#[test]
fn a_thousand_sequences_of_one_row() -> Result<()> {
    at_each_level(|_| check_one(1, 8, Offsets::from_lengths([1; 1000])))
}

/// What is stored as bf16 is computed as the f32 that it stands for, and rounded once.
#[test]
fn what_is_stored_as_bf16_is_computed_in_f32() -> Result<()> {
    at_each_level(|_| {
        let offsets = Offsets::from_lengths([31, 2, 18]);
        let rows = [offsets.rows(), 60];
        let wkv = Wkv {
            decay: f32(&uniform(5, &[3, 20], 0.0, 1.0)?)?,
            bonus: f32(&uniform(6, &[3, 20], -1.0, 2.0)?)?,
        };
        let state = f32(&uniform(4, &[3, 20, 20], -1.0, 1.0)?)?;
        let [r, k, v, dy] =
            [1, 2, 3, 7].map(|seed| stored(&uniform(seed, &rows, -1.0, 1.0).unwrap()).unwrap());
        let [(y, end), (y32, end32)] = [0, 1].map(|i| {
            wkv.forward([&r[i], &k[i], &v[i]], &state, &offsets)
                .unwrap()
        });
        rounded("y", &y, &y32);
        close("end", &end, &end32, 0.0);
        let product = ProductType::F32;
        let [got, want] = [0, 1].map(|i| {
            wkv.backward(&dy[i], [&r[i], &k[i], &v[i]], &state, &offsets, product)
                .unwrap()
        });
        close("dr", &got.dr.tensor()?, &want.dr.tensor()?, 0.0);
        close("dk", &got.dk.tensor()?, &want.dk.tensor()?, 0.0);
        close("dv", &got.dv.tensor()?, &want.dv.tensor()?, 0.0);
        close("dstate", &got.dstate, &want.dstate, 0.0);
        // Gradients go to products rounded, and numbers of a head begin and end within what is
        // written at once.
        let round = |x: &Rows| -> Result<Tensor> { x.tensor()?.to_dtype(candle_core::DType::BF16) };
        let product = ProductType::Bf16;
        let got = wkv.backward(&dy[1], [&r[1], &k[1], &v[1]], &state, &offsets, product)?;
        close("dr", &round(&got.dr)?, &round(&want.dr)?, 0.0);
        close("dk", &round(&got.dk)?, &round(&want.dk)?, 0.0);
        close("dv", &round(&got.dv)?, &round(&want.dv)?, 0.0);
        Ok(())
    })
}

/// Decays at both ends of their range, over lengths that fill the few tokens taken at once and
/// that do not.
#[test]
fn heads_that_forget_at_once_and_heads_that_never_do() -> Result<()> {
    at_each_level(|_| {
        for decay in [0.0, 1e-30, 1e-3, 1.0] {
            for length in [3, 4, 5, 9, 200] {
                check_decay(decay, Offsets::from_lengths([length, 1]))?;
            }
        }
        Ok(())
    })
}

/// What lies before the only scored tokens has gradients that shrink by every token. Some processors
/// take more than a hundred cycles for a subnormal number, and with a decay near 1 such a number
/// never becomes 0.
#[test]
fn gradients_that_only_decay_do_not_become_subnormal() -> Result<()> {
    at_each_level(|_| {
        let mut case = Case::new(
            &uniform(5, &[2, 8], 0.4, 0.95)?,
            Offsets::from_lengths([2000]),
        )?;
        let scored = case.dy.narrow(0, 1990, 10)?;
        case.dy = Tensor::cat(&[(case.dy.narrow(0, 0, 1990)? * 0.0)?, scored], 0)?;
        for (name, made) in MADE.iter().zip(case.got()?) {
            let made = made.flatten_all()?.to_vec1::<f32>()?;
            let count = made.iter().filter(|number| number.is_subnormal()).count();
            // One that passes 0 may be one.
            assert!(count < 10, "{name}: {count} of {}", made.len());
        }
        Ok(())
    })
}

fn check_decay(decay: f64, offsets: Offsets) -> Result<()> {
    let decay = ((uniform(5, &[2, 8], 0.0, 1.0)? * 0.0)? + decay)?;
    check_with(&decay, offsets)
}

fn check() -> Result<()> {
    for (n_head, head_size) in [(1, 8), (3, 20), (2, 64), (1, 72), (1, 128)] {
        for offsets in offset_grid() {
            check_one(n_head, head_size, offsets)?;
        }
    }
    Ok(())
}

fn check_one(n_head: usize, head_size: usize, offsets: Offsets) -> Result<()> {
    // From a decay that forgets at once to one that bf16 would round to 1.
    check_with(&uniform(5, &[n_head, head_size], 0.001, 0.9999)?, offsets)
}

fn check_with(decay: &Tensor, offsets: Offsets) -> Result<()> {
    let case = Case::new(decay, offsets)?;
    let made = case.got()?;
    for ((name, got), want) in MADE.iter().zip(made).zip(case.wanted()?) {
        close(name, &got, &want, F32_LONG);
    }
    Ok(())
}

/// What [`Case::wanted`] and [`Case::got`] return.
const MADE: [&str; 6] = ["y", "end", "dr", "dk", "dv", "dstate"];

/// One call's inputs.
struct Case {
    rkv: [Var; 3],
    state: Var,
    decay: Tensor,
    bonus: Tensor,
    dy: Tensor,
    offsets: Offsets,
}

impl Case {
    fn new(decay: &Tensor, offsets: Offsets) -> Result<Self> {
        let (n_head, head_size) = decay.dims2()?;
        let rows = [offsets.rows(), n_head * head_size];
        Ok(Self {
            rkv: [var(1, &rows)?, var(2, &rows)?, var(3, &rows)?],
            state: var(4, &[n_head, head_size, head_size])?,
            decay: decay.clone(),
            bonus: uniform(6, &[n_head, head_size], -1.0, 2.0)?,
            dy: uniform(7, &rows, -1.0, 1.0)?,
            offsets,
        })
    }

    /// In float64, by the reference.
    fn wanted(&self) -> Result<[Tensor; 6]> {
        let [r, k, v] = self.rkv.each_ref().map(Var::as_tensor);
        let (decay, bonus) = (&self.decay, &self.bonus);
        let (y, end) = reference::forward([r, k, v], &self.state, decay, bonus, &self.offsets)?;
        let grads = (&y * &self.dy)?.sum_all()?.backward()?;
        let of = |x: &Tensor| grads.get(x).unwrap().clone();
        Ok([
            y.detach(),
            end.detach(),
            of(r),
            of(k),
            of(v),
            of(&self.state),
        ])
    }

    /// By the op, in f32.
    fn got(&self) -> Result<[Tensor; 6]> {
        let wkv = Wkv {
            decay: f32(&self.decay)?,
            bonus: f32(&self.bonus)?,
        };
        let [r, k, v] = self.rkv.each_ref().map(|x| f32(x).unwrap());
        let (state, dy, offsets) = (f32(&self.state)?, f32(&self.dy)?, &self.offsets);
        let (y, end) = wkv.forward([&r, &k, &v], &state, offsets)?;
        let made = wkv.backward(&dy, [&r, &k, &v], &state, offsets, ProductType::F32)?;
        let [dr, dk, dv] = [made.dr, made.dk, made.dv].map(|x| x.tensor().unwrap());
        Ok([y, end, dr, dk, dv, made.dstate])
    }
}
