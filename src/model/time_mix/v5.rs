//! The time-mix of RWKV-5: token shift, products, WKV, norm, gate, product.

use anyhow::Result;
use candle_core::Tensor;

use super::{Ends, LN_X_EPS, StartGradients};
use crate::model::weights::ModelFile;
use crate::model::{Config, Version, bytes, layer_norm};
use crate::ops::linear::{Matrix, Rows};
use crate::ops::norm::Norm;
use crate::ops::token_shift::{Shifted, TokenShift};
use crate::ops::wkv::Wkv;
use crate::ops::{Compute, Offsets, gates};

/// The frozen weights of one layer's time-mix.
pub struct TimeMix {
    ln: Norm,
    receptance: Mixed,
    key: Mixed,
    value: Mixed,
    /// 5.0 has none.
    gate: Option<Mixed>,
    wkv: Wkv,
    ln_x: Norm,
    output: Matrix,
}

/// A product with the token shift's mix that feeds it.
struct Mixed {
    /// `[C]`.
    mix: Tensor,
    weight: Matrix,
}

/// What the backward pass needs of a forward pass. All `[N, C]`.
pub struct Kept {
    r: Tensor,
    k: Tensor,
    v: Tensor,
    /// Before its silu.
    gate: Option<Tensor>,
    /// Before its norm.
    y: Tensor,
}

fn has_gate(config: &Config) -> bool {
    config.version != Version::V5_0
}

impl Kept {
    /// Bytes that it takes in memory.
    pub fn bytes(&self) -> usize {
        let Self { r, k, v, gate, y } = self;
        [r, k, v, y].into_iter().chain(gate).map(bytes).sum()
    }

    /// What [`Self::bytes`] is for each row.
    pub fn bytes_per_row(config: &Config, compute: &Compute) -> usize {
        let tensors = if has_gate(config) { 5 } else { 4 };
        tensors * compute.sensitive_activations().size_in_bytes() * config.n_embd
    }
}

impl TimeMix {
    /// Layer `i` of a file.
    pub fn load(file: &ModelFile, config: &Config, i: usize, compute: &Compute) -> Result<Self> {
        let &Config {
            n_embd,
            n_head,
            head_size,
            ..
        } = config;
        let name = |rest: &str| format!("blocks.{i}.att.{rest}");
        let vector = |rest: &str| file.vector(&name(rest), n_embd, compute);
        let matrix = |rest: &str| file.matrix(&name(rest), [n_embd, n_embd], compute);
        let mixed = |mix: &str, weight: &str| {
            anyhow::Ok(Mixed {
                mix: vector(mix)?,
                weight: matrix(weight)?,
            })
        };

        // One number a head stands for all of its channels before 5.2.
        let per_channel = |values: Vec<f32>| -> Result<Tensor> {
            let repeat = n_embd / values.len();
            let values: Vec<f32> = values
                .iter()
                .flat_map(|&x| std::iter::repeat_n(x, repeat))
                .collect();
            let shape = (n_head, head_size);
            Ok(Tensor::from_vec(values, shape, &compute.device)?)
        };
        let per_head: &[usize] = match config.version {
            Version::V5_2 => &[n_head, head_size],
            _ => &[n_head],
        };
        let decay = file
            .numbers(&name("time_decay"), per_head)?
            .iter()
            .map(|d| (-d.exp()).exp())
            .collect();
        let bonus = if file.has(&name("time_first")) {
            file.numbers(&name("time_first"), per_head)?
                .iter()
                .map(|u| u.exp())
                .collect()
        } else {
            file.numbers(&name("time_faaaa"), per_head)?
        };
        Ok(Self {
            ln: layer_norm(file, &format!("blocks.{i}.ln1"), n_embd, compute)?,
            receptance: mixed("time_mix_r", "receptance.weight")?,
            key: mixed("time_mix_k", "key.weight")?,
            value: mixed("time_mix_v", "value.weight")?,
            gate: match has_gate(config) {
                false => None,
                true => Some(mixed("time_mix_g", "gate.weight")?),
            },
            wkv: Wkv {
                decay: per_channel(decay)?,
                bonus: per_channel(bonus)?,
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
        let mixed = self.mixed().map(|mixed| mixed.weight.bytes());
        mixed.sum::<usize>() + self.output.bytes()
    }

    /// x `[N, C]`, each sequence starting from `shift` `[C]` and `state` `[H, K, K]`, to (x plus
    /// the time-mix of it, what the backward pass needs, what each sequence ends with).
    pub fn forward(
        &self,
        x: &Tensor,
        shift: &Tensor,
        state: &Tensor,
        offsets: &Offsets,
    ) -> Result<(Tensor, Kept, Ends)> {
        let product = self.output.product();
        let Shifted { mixed, ends: shift } = self.shift(offsets).forward(x, shift, product)?;
        let weights = self.mixed().map(|mixed| &mixed.weight);
        let mut made = Matrix::forward_sensitive_each(weights.zip(&mixed).collect())?.into_iter();
        drop(mixed);
        let mut next = || made.next().expect("a product for each mix");
        let (r, k, v) = (next(), next(), next());
        let gate = made.next();
        let (y, wkv) = (self.wkv).forward([&r, &k, &v], state, offsets)?;
        let z = gates::norm_silu(&self.ln_x, &y, gate.as_ref(), product)?;
        let out = self.output.forward_onto(x, &z)?;
        Ok((out, Kept { r, k, v, gate, y }, Ends { shift, wkv }))
    }

    /// (dx `[N, C]`, the gradients of the shift and the state) from the output's gradient and the
    /// forward's inputs.
    pub fn backward(
        &self,
        d_out: &Tensor,
        x: &Tensor,
        kept: &Kept,
        state: &Tensor,
        offsets: &Offsets,
    ) -> Result<(Tensor, StartGradients)> {
        let product = self.output.product();
        let dz = self.output.backward(&Rows::of(product, d_out)?)?;
        let (dy, d_gate) = match &kept.gate {
            Some(gate) => {
                let (dy, dg) = gates::norm_silu_backward(&self.ln_x, &dz, &kept.y, gate, product)?;
                (dy, Some(dg))
            }
            None => (self.ln_x.backward(&dz, &kept.y)?, None),
        };
        let rkv = [&kept.r, &kept.k, &kept.v];
        let d = self.wkv.backward(&dy, rkv, state, offsets, product)?;
        let mut d_mixed = vec![
            self.receptance.weight.backward(&d.dr)?,
            self.key.weight.backward(&d.dk)?,
            self.value.weight.backward(&d.dv)?,
        ];
        if let (Some(gate), Some(d_gate)) = (&self.gate, d_gate) {
            d_mixed.push(gate.weight.backward(&d_gate)?);
        }
        let (dx, shift) = self.shift(offsets).backward(x, d_out, &d_mixed)?;
        let wkv = d.dstate;
        Ok((dx, StartGradients { shift, wkv }))
    }

    /// In the order r, k, v, gate.
    fn mixed(&self) -> impl Iterator<Item = &Mixed> {
        let always = [&self.receptance, &self.key, &self.value];
        always.into_iter().chain(&self.gate)
    }

    fn shift<'a>(&'a self, offsets: &'a Offsets) -> TokenShift<'a> {
        TokenShift {
            norm: &self.ln,
            mixes: self.mixed().map(|mixed| &mixed.mix).collect(),
            offsets,
        }
    }
}
