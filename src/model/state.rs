//! The state a model starts from: what is learnt, and what decoding carries from token to token.

use candle_core::{DType, Device, Result, Tensor};

use super::Config;

/// A state, or a gradient of one. All f32.
#[derive(Clone, Debug)]
pub struct State {
    /// Takes the place of a first token's embedding, `[C]`; `None` where there is no such row.
    pub soft_prompt: Option<Tensor>,
    /// The rows before a sequence's first, `[2L, C]`: att 0, ffn 0, att 1, ffn 1, ...
    pub shifts: Tensor,
    /// The WKV matrices, `[L, H, K, K]` as \[key, value\].
    pub wkv: Tensor,
}

impl State {
    /// What an untuned model starts from: zeros, without a soft prompt.
    pub fn zeros(config: &Config) -> Result<Self> {
        let (shifts, wkv) = Self::shapes(config);
        let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32, &Device::Cpu);
        Ok(Self {
            soft_prompt: None,
            shifts: zeros(&shifts)?,
            wkv: zeros(&wkv)?,
        })
    }

    /// The shapes of `shifts` and `wkv`.
    pub fn shapes(config: &Config) -> ([usize; 2], [usize; 4]) {
        let &Config {
            n_layer,
            n_embd,
            n_head,
            head_size,
            ..
        } = config;
        (
            [2 * n_layer, n_embd],
            [n_layer, n_head, head_size, head_size],
        )
    }

    /// The same on a device.
    pub fn to_device(&self, device: &Device) -> Result<Self> {
        let soft_prompt = self.soft_prompt.as_ref();
        Ok(Self {
            soft_prompt: soft_prompt.map(|soft| soft.to_device(device)).transpose()?,
            shifts: self.shifts.to_device(device)?,
            wkv: self.wkv.to_device(device)?,
        })
    }

    /// The sum of two, part by part.
    pub fn add(&self, other: &Self) -> Result<Self> {
        let soft_prompt = match (&self.soft_prompt, &other.soft_prompt) {
            (Some(a), Some(b)) => Some((a + b)?),
            (one, other) => one.clone().or_else(|| other.clone()),
        };
        Ok(Self {
            soft_prompt,
            shifts: (&self.shifts + &other.shifts)?,
            wkv: (&self.wkv + &other.wkv)?,
        })
    }
}

impl State {
    /// Shifts and matrices times `factor`. A soft prompt stays: the norm behind it would undo any factor.
    pub fn scaled(&self, factor: f64) -> Result<Self> {
        Ok(Self {
            soft_prompt: self.soft_prompt.clone(),
            shifts: (&self.shifts * factor)?,
            wkv: (&self.wkv * factor)?,
        })
    }

    /// On the line from this state (0) to another (1). Both or neither have a soft prompt.
    pub fn mixed(&self, other: &Self, share: f64) -> Result<Self> {
        if self.wkv.dims() != other.wkv.dims() || self.shifts.dims() != other.shifts.dims() {
            candle_core::bail!(
                "one has matrices of {:?}, the other of {:?}",
                self.wkv.dims(),
                other.wkv.dims()
            );
        }
        let mix = |a: &Tensor, b: &Tensor| (a * (1.0 - share))? + (b * share)?;
        let soft_prompt = match (&self.soft_prompt, &other.soft_prompt) {
            (Some(a), Some(b)) => Some(mix(a, b)?),
            (None, None) => None,
            _ => candle_core::bail!("one of the states has a soft prompt and the other has none"),
        };
        Ok(Self {
            soft_prompt,
            shifts: mix(&self.shifts, &other.shifts)?,
            wkv: mix(&self.wkv, &other.wkv)?,
        })
    }
}

/// The part of a state that one layer starts from.
#[derive(Clone, Debug)]
pub struct LayerState {
    /// `[C]`.
    pub att_shift: Tensor,
    /// `[C]`.
    pub ffn_shift: Tensor,
    /// `[H, K, K]` as \[key, value\].
    pub wkv: Tensor,
}

impl State {
    /// The part for layer `i`.
    pub fn layer(&self, i: usize) -> Result<LayerState> {
        Ok(LayerState {
            att_shift: self.shifts.get(2 * i)?,
            ffn_shift: self.shifts.get(2 * i + 1)?,
            wkv: self.wkv.get(i)?,
        })
    }

    /// A state from its layers' parts, in order.
    pub fn from_layers(soft_prompt: Option<Tensor>, layers: &[LayerState]) -> Result<Self> {
        let shifts: Vec<&Tensor> = layers
            .iter()
            .flat_map(|layer| [&layer.att_shift, &layer.ffn_shift])
            .collect();
        let wkv: Vec<&Tensor> = layers.iter().map(|layer| &layer.wkv).collect();
        Ok(Self {
            soft_prompt,
            shifts: Tensor::stack(&shifts, 0)?,
            wkv: Tensor::stack(&wkv, 0)?,
        })
    }
}
