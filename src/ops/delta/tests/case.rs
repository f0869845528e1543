//! Inputs of tests, and what the reference and the kernels make of them.

use candle_core::{DType, Result, Tensor, Var};

use super::super::{Delta, DeltaInputs, DeltaKeys, Offsets, reference};
use crate::ops::linear::ProductType;
use crate::ops::testing::{f32, uniform, var};

/// Inputs of a test, and what they come from.
pub struct Case {
    pub r: Var,
    pub w: Var,
    pub kappa: Var,
    pub a: Var,
    pub v: Var,
    pub state: Var,
    pub delta: Delta,
    pub dy: Tensor,
    pub dq: Tensor,
    pub offsets: Offsets,
}

/// What sets a test's decays and keys apart.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// Decays all over their range.
    Spread,
    /// w0, alike in all channels: 10 is the strongest decay, -7 nearly none.
    Decay(f64),
    /// A run of one token: its key replaced whole, again and again, and hardly any decay.
    OneToken,
}

impl Case {
    pub fn new(n_head: usize, head_size: usize, offsets: Offsets, kind: Kind) -> Result<Self> {
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

    pub fn vars(&self) -> [&Var; 6] {
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

    pub fn delta(&self) -> Result<Delta> {
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
    pub fn wanted(&self) -> Result<([Tensor; 3], [Tensor; 6])> {
        let [r, w, kappa, a, v, state] = self.vars().map(Var::as_tensor);
        let x = inputs([r, w, kappa, a, v]);
        let (y, q, ends) = reference::forward(&self.delta, x, state, &self.offsets)?;
        let loss = ((&y * &self.dy)?.sum_all()? + (&q * &self.dq)?.sum_all()?)?;
        let gradients = loss.backward()?;
        let gradients = self.vars().map(|var| gradients.get(var).unwrap().clone());
        Ok(([y, q, ends], gradients))
    }

    /// The same of the kernels.
    pub fn got(&self) -> Result<([Tensor; 3], [Tensor; 6])> {
        let all = self.vars().map(|var| f32(var).unwrap());
        let [r, w, kappa, a, v, state] = all.each_ref();
        let (delta, x) = (self.delta()?, inputs([r, w, kappa, a, v]));
        let made = delta.forward(x, state, &self.offsets)?;
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

pub fn inputs([r, w, kappa, a, v]: [&Tensor; 5]) -> DeltaInputs<'_> {
    DeltaInputs { r, w, kappa, a, v }
}
