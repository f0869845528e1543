//! The time-mix of RWKV-7: token shift, products of full and of low rank, the delta rule's
//! recurrence, norm, bonus, gate, product. Every layer but the first mixes its value with the first
//! layer's, which is carried from block to block.

mod kept;

use anyhow::{Context, Result};
use candle_core::{Device, Tensor};

pub use self::kept::Kept;
use self::kept::{LayerValue, LowRankOutput};
use super::{Ends, LN_X_EPS, StartGradients};
use crate::model::weights::ModelFile;
use crate::model::{Carried, Config, LayerState, layer_norm, shift_mix};
use crate::ops::delta::{Delta, DeltaInputs, DeltaKeys};
use crate::ops::delta_output::{self, DeltaOutputInputs};
use crate::ops::linear::{Matrix, Rows, Weights};
use crate::ops::low_rank::{Activation, LowRank};
use crate::ops::norm::Norm;
use crate::ops::token_shift::{Shifted, TokenShift};
use crate::ops::value_residual::{self, ResidualInputs, ValueResidual};
use crate::ops::{Compute, Offsets};

/// The frozen weights of one layer's time-mix.
pub struct TimeMix {
    ln: Norm,
    mixes: Mixes,
    receptance: Matrix,
    key: Matrix,
    value: Matrix,
    decay: LowRank,
    rate: LowRank,
    gate: LowRank,
    /// The first layer has none.
    residual: Option<Residual>,
    delta: Delta,
    ln_x: Norm,
    output: Matrix,
}

/// The token shift's mixes by the name of what they feed, `[C]` each.
struct Mixes {
    r: Tensor,
    w: Tensor,
    k: Tensor,
    v: Tensor,
    a: Tensor,
    g: Tensor,
}

/// How a layer's value is mixed with the first layer's.
struct Residual {
    gate: LowRank,
    mix: ValueResidual,
}

impl TimeMix {
    /// Layer `i` of a file.
    pub fn load(file: &ModelFile, config: &Config, i: usize, compute: &Compute) -> Result<Self> {
        let &Config { n_embd, n_head, .. } = config;
        let name = |rest: &str| format!("blocks.{i}.att.{rest}");
        let vector = |rest: &str| file.vector(&name(rest), n_embd, compute);
        let matrix = |rest: &str| file.matrix(&name(rest), [n_embd, n_embd], compute);
        let mix = |rest: &str| shift_mix(file, &name(rest), n_embd, compute);
        let low_rank = |letter: &str, activation| {
            let [down, up] = [1, 2].map(|n| name(&format!("{letter}{n}")));
            low_rank(file, [&down, &up], n_embd, activation, compute)
        };
        let residual = match i {
            0 => None,
            _ => Some(Residual {
                gate: low_rank("v", Activation::None)?,
                mix: ValueResidual {
                    bias: vector("v0")?,
                },
            }),
        };
        Ok(Self {
            ln: layer_norm(file, &format!("blocks.{i}.ln1"), n_embd, compute)?,
            mixes: Mixes {
                r: mix("x_r")?,
                w: mix("x_w")?,
                k: mix("x_k")?,
                v: mix("x_v")?,
                a: mix("x_a")?,
                g: mix("x_g")?,
            },
            receptance: matrix("receptance.weight")?,
            key: matrix("key.weight")?,
            value: matrix("value.weight")?,
            decay: low_rank("w", Activation::Tanh)?,
            rate: low_rank("a", Activation::None)?,
            gate: low_rank("g", Activation::Sigmoid)?,
            residual,
            delta: Delta {
                decay: vector("w0")?,
                bonus: file.tensor(&name("r_k"), &[n_head, config.head_size], compute)?,
                keys: DeltaKeys {
                    removal: vector("k_k")?,
                    share: vector("k_a")?,
                    rate: vector("a0")?,
                },
            },
            ln_x: Norm {
                weight: vector("ln_x.weight")?,
                bias: vector("ln_x.bias")?,
                groups: n_head,
                eps: LN_X_EPS,
            },
            output: matrix("output.weight")?,
        })
    }

    /// Bytes that the matrices take in memory.
    pub fn bytes(&self) -> usize {
        let full = [&self.receptance, &self.key, &self.value, &self.output];
        let halves = self
            .low_rank()
            .flat_map(|matrix| [&matrix.down, &matrix.up]);
        full.into_iter().chain(halves).map(Matrix::bytes).sum()
    }

    /// What [`Kept::bytes`] is for each row.
    pub fn kept_per_row(&self, config: &Config, compute: &Compute) -> usize {
        let &Config { n_embd, n_head, .. } = config;
        let ranks = self.low_rank().map(|matrix| matrix.down.dims()[1]);
        let (low_rank, inner) = ranks.fold((0, 0), |(n, sum), rank| (n + 1, sum + rank));
        // r, kappa and y; a later layer's nu.
        let sensitive = 3 + usize::from(self.residual.is_some());
        compute.sensitive_activations().size_in_bytes() * sensitive * n_embd
            + size_of::<f32>() * ((low_rank + 1) * n_embd + inner + n_head)
    }

    /// The matrices of low rank: decay, rate, gate, and a later layer's value residual.
    fn low_rank(&self) -> impl Iterator<Item = &LowRank> {
        let residual = self.residual.as_ref().map(|residual| &residual.gate);
        let always = [&self.decay, &self.rate, &self.gate];
        always.into_iter().chain(residual)
    }

    /// As [`super::TimeMix::forward`].
    pub fn forward(
        &self,
        input: &Carried,
        start: &LayerState,
        offsets: &Offsets,
    ) -> Result<(Carried, Kept, Ends)> {
        let Mixes { r, w, k, v, a, g } = &self.mixes;
        let product = self.output.product();
        let shift = self.shift(vec![r, w, k, v, a, g], offsets);
        let Shifted { mixed, ends: shift } = shift.forward(&input.x, &start.att_shift, product)?;
        let products = vec![
            (&self.receptance, &mixed[0]),
            (&self.key, &mixed[2]),
            (&self.value, &mixed[3]),
        ];
        let made: [Tensor; 3] = Matrix::forward_sensitive_each(products)?
            .try_into()
            .expect("one for each");
        let [r, kappa, nu] = made;
        let rows = [&mixed[1], &mixed[4], &mixed[5], &mixed[3]];
        let made = LowRank::forward_each(self.low_rank().zip(rows).collect())?.into_iter();
        drop(mixed);
        let mut made = made.map(|(y, inner)| LowRankOutput { y, inner });
        let mut next = || made.next().expect("one for each");
        let (w, a, gate) = (next(), next(), next());
        let value = match made.next() {
            Some(gate) => LayerValue::Mixed { nu, gate },
            None => LayerValue::First(nu),
        };
        let v = self.value(&value, input)?;
        let x = DeltaInputs {
            r: &r,
            w: &w.y,
            kappa: &kappa,
            a: &a.y,
            v: &v,
        };
        let made = (self.delta).forward(x, &start.wkv, offsets)?;
        let (y, q, sa, wkv) = (made.y, made.q, made.sa, made.ends);
        let x = DeltaOutputInputs {
            y: &y,
            q: &q,
            v: &v,
            gate: &gate.y,
        };
        let z = delta_output::forward(&self.ln_x, x, product)?;
        let out = Carried {
            x: self.output.forward_onto(&input.x, &z)?,
            v_first: input.v_first.clone().or(Some(v)),
        };
        let kept = Kept {
            r,
            w,
            kappa,
            a,
            value,
            gate,
            y,
            q,
            sa,
        };
        Ok((out, kept, Ends { shift, wkv }))
    }

    /// As [`super::TimeMix::backward`]. The gradient of the first layer's value comes with
    /// `d_out`; the first layer adds it to its value's gradient, every other layer adds its part.
    pub fn backward(
        &self,
        d_out: &Carried,
        input: &Carried,
        kept: &Kept,
        start: &LayerState,
        offsets: &Offsets,
    ) -> Result<(Carried, StartGradients)> {
        let product = self.output.product();
        let v = self.value(&kept.value, input)?;
        let dz = self.output.backward(&Rows::of(product, &d_out.x)?)?;
        let x = DeltaOutputInputs {
            y: &kept.y,
            q: &kept.q,
            v: &v,
            gate: &kept.gate.y,
        };
        let d_z = delta_output::backward(&self.ln_x, &dz, x, product)?;
        drop(dz);
        let x = DeltaInputs {
            r: &kept.r,
            w: &kept.w.y,
            kappa: &kept.kappa,
            a: &kept.a.y,
            v: &v,
        };
        let dy = [&d_z.dy, &d_z.dq];
        let d = (self.delta).backward(dy, x, &kept.sa, &start.wkv, offsets, product)?;

        let Mixes { r, w, k, v, a, g } = &self.mixes;
        let mut mixes = vec![r, w, k, v, a, g];
        let (dv, above) = ([&d.dv, &d_z.dv], d_out.v_first.as_ref());
        let (dnu, d_residual, v_first) = match (&self.residual, &kept.value) {
            (Some(residual), LayerValue::Mixed { nu, gate }) => {
                let x = ResidualInputs {
                    nu,
                    v_first: v_first(input)?,
                    gate: &gate.y,
                };
                let d = residual.mix.backward(dv, above, x, product)?;
                // x_v goes to two products, and has two gradients.
                mixes.push(v);
                let d_mixed = residual.gate.backward(&d.dgate, &gate.inner)?;
                (d.dnu, Some(d_mixed), Some(d.dv_first))
            }
            (None, LayerValue::First(_)) => (
                value_residual::first_backward(dv, above, product)?,
                None,
                None,
            ),
            _ => unreachable!("what is kept is of another layer"),
        };
        let mut d_mixed = vec![
            self.receptance.backward(&d.dr)?,
            self.decay.backward(&d.dw, &kept.w.inner)?,
            self.key.backward(&d.d_kappa)?,
            self.value.backward(&dnu)?,
            self.rate.backward(&d.da, &kept.a.inner)?,
            self.gate.backward(&d_z.dgate, &kept.gate.inner)?,
        ];
        d_mixed.extend(d_residual);
        let (x, shift) = self
            .shift(mixes, offsets)
            .backward(&input.x, &d_out.x, &d_mixed)?;
        let wkv = d.dstate;
        Ok((Carried { x, v_first }, StartGradients { shift, wkv }))
    }

    /// The value that the recurrence takes.
    fn value(&self, value: &LayerValue, input: &Carried) -> Result<Tensor> {
        match (&self.residual, value) {
            (Some(residual), LayerValue::Mixed { nu, gate }) => {
                let x = ResidualInputs {
                    nu,
                    v_first: v_first(input)?,
                    gate: &gate.y,
                };
                Ok(residual.mix.forward(x)?)
            }
            (None, LayerValue::First(nu)) => Ok(nu.clone()),
            _ => unreachable!("what is kept is of another layer"),
        }
    }

    fn shift<'a>(&'a self, mixes: Vec<&'a Tensor>, offsets: &'a Offsets) -> TokenShift<'a> {
        TokenShift {
            norm: &self.ln,
            mixes,
            offsets,
        }
    }
}

/// The first layer's value, which every later layer is given.
fn v_first(input: &Carried) -> Result<&Tensor> {
    let v_first = input.v_first.as_ref();
    v_first.context("a later layer was given no value of the first")
}

/// Two matrices `[C, rank]` and `[rank, C]`, whose rank is read off the first. They stay as the file
/// has them where others are quantised: they are a few hundredths of a model, and decays come of
/// them.
fn low_rank(
    file: &ModelFile,
    [down, up]: [&str; 2],
    n_embd: usize,
    activation: Activation,
    compute: &Compute,
) -> Result<LowRank> {
    let weights = match compute.weights {
        Weights::Int8 | Weights::Nf4 => Weights::File,
        weights @ (Weights::File | Weights::Bf16) => weights,
    };
    let in_main_memory = Compute {
        weights,
        device: Device::Cpu,
        ..compute.clone()
    };
    let [_, rank] = file.matrix_shape(down)?;
    let matrices = LowRank {
        down: file.matrix(down, [n_embd, rank], &in_main_memory)?,
        up: file.matrix(up, [rank, n_embd], &in_main_memory)?,
        activation,
    };
    Ok(matrices.on(&compute.device)?)
}
