//! The state that a model starts from: what is learnt, and what decoding carries from token to
//! token.

use candle_core::{DType, Device, Error, Result, Tensor, bail};

use super::{Config, FirstRow, Group, PerGroup};

/// A state or a gradient of one, all in f32; or, for another `T`, whatever belongs to each tensor
/// of a state.
#[derive(Clone, Debug)]
pub struct State<T = Tensor> {
    /// Takes the place of a first token's embedding, `[C]`; `None` where there is no such row.
    pub soft_prompt: Option<T>,
    /// The rows before a sequence's first, `[2L, C]`: att 0, ffn 0, att 1, ffn 1, ...
    pub shifts: T,
    /// The WKV matrices, `[L, H, K, K]` as \[key, value\].
    pub wkv: T,
}

impl<T> State<T> {
    /// The groups that it has, in the order of [`Group::ALL`]: all but perhaps the soft prompt.
    pub fn groups(&self) -> impl Iterator<Item = (Group, &T)> {
        let soft_prompt = self
            .soft_prompt
            .iter()
            .map(|soft| (Group::SoftPrompt, soft));
        soft_prompt.chain([(Group::Shift, &self.shifts), (Group::Wkv, &self.wkv)])
    }

    /// What the first row of a sequence is that starts from this state.
    pub fn first_row(&self) -> FirstRow {
        match self.soft_prompt {
            Some(_) => FirstRow::SoftPrompt,
            None => FirstRow::Token,
        }
    }

    /// What `f` makes of each group.
    pub fn map<U>(&self, mut f: impl FnMut(Group, &T) -> U) -> State<U> {
        State {
            soft_prompt: (self.soft_prompt.as_ref()).map(|soft| f(Group::SoftPrompt, soft)),
            shifts: f(Group::Shift, &self.shifts),
            wkv: f(Group::Wkv, &self.wkv),
        }
    }

    /// What `f` makes of each group, or its first error.
    pub fn try_map<U, E>(
        &self,
        f: impl FnMut(Group, &T) -> std::result::Result<U, E>,
    ) -> std::result::Result<State<U>, E> {
        let State {
            soft_prompt,
            shifts,
            wkv,
        } = self.map(f);
        Ok(State {
            soft_prompt: soft_prompt.transpose()?,
            shifts: shifts?,
            wkv: wkv?,
        })
    }

    /// What `f` makes of each group of two states. Errors when only one has a soft prompt: a group
    /// is never left out in silence.
    pub fn try_zip<U, V, E: From<Error>>(
        &self,
        other: &State<U>,
        mut f: impl FnMut(Group, &T, &U) -> std::result::Result<V, E>,
    ) -> std::result::Result<State<V>, E> {
        let soft_prompt = match (&self.soft_prompt, &other.soft_prompt) {
            (Some(a), Some(b)) => Some(f(Group::SoftPrompt, a, b)?),
            (None, None) => None,
            _ => {
                let what = "one of the states has a soft prompt and the other has none";
                return Err(Error::Msg(what.to_string()).into());
            }
        };
        Ok(State {
            soft_prompt,
            shifts: f(Group::Shift, &self.shifts, &other.shifts)?,
            wkv: f(Group::Wkv, &self.wkv, &other.wkv)?,
        })
    }
}

impl State {
    /// What an untuned model starts from, in main memory: zeros, without a soft prompt.
    pub fn zeros(config: &Config) -> Result<Self> {
        let shapes = Self::shapes(config);
        let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32, &Device::Cpu);
        Ok(Self {
            soft_prompt: None,
            shifts: zeros(&shapes.shift)?,
            wkv: zeros(&shapes.wkv)?,
        })
    }

    /// The shape of each group in a state for models of these sizes.
    pub fn shapes(config: &Config) -> PerGroup<Vec<usize>> {
        let &Config {
            n_layer,
            n_embd,
            n_head,
            head_size,
            ..
        } = config;
        PerGroup {
            soft_prompt: vec![n_embd],
            shift: vec![2 * n_layer, n_embd],
            wkv: vec![n_layer, n_head, head_size, head_size],
        }
    }

    /// The same on a device.
    pub fn to_device(&self, device: &Device) -> Result<Self> {
        self.try_map(|_, tensor| tensor.to_device(device))
    }

    /// The same with every matrix turned round, \[key, value\] to \[value, key\] or back.
    pub fn transposed(&self) -> Result<Self> {
        Ok(Self {
            wkv: self.wkv.transpose(2, 3)?.contiguous()?,
            ..self.clone()
        })
    }

    /// The sum of two. Errors when they do not have the same groups, or not of the same shapes.
    pub fn add(&self, other: &Self) -> Result<Self> {
        self.try_zip(other, |_, a, b| a + b)
    }

    /// Shifts and matrices times `factor`. A soft prompt stays: the norm behind it would undo any
    /// factor.
    pub fn scaled(&self, factor: f64) -> Result<Self> {
        self.try_map(|group, tensor| match group {
            Group::SoftPrompt => Ok(tensor.clone()),
            Group::Shift | Group::Wkv => tensor * factor,
        })
    }

    /// The point `share` of the way from this state (0) to another (1). Errors when they do not
    /// have the same groups, or not of the same shapes.
    pub fn mixed(&self, other: &Self, share: f64) -> Result<Self> {
        if self.wkv.dims() != other.wkv.dims() || self.shifts.dims() != other.shifts.dims() {
            bail!(
                "one has matrices of {:?}, the other of {:?}",
                self.wkv.dims(),
                other.wkv.dims()
            );
        }
        self.try_zip(other, |_, a, b| (a * (1.0 - share))? + (b * share)?)
    }

    /// The part that layer `i` starts from.
    pub fn layer(&self, i: usize) -> Result<LayerState> {
        Ok(LayerState {
            att_shift: self.shifts.get(2 * i)?,
            ffn_shift: self.shifts.get(2 * i + 1)?,
            wkv: self.wkv.get(i)?,
        })
    }

    /// The parts of all layers, in order.
    pub fn layers(&self) -> Result<Vec<LayerState>> {
        (0..self.wkv.dim(0)?).map(|i| self.layer(i)).collect()
    }

    /// A checksum of all its numbers.
    pub fn checksum(&self) -> Result<u32> {
        /// Numbers that are hashed at once, which is several times as fast as one by one.
        const AT_ONCE: usize = 1024;
        let mut hasher = crc32fast::Hasher::new();
        let mut bytes = [0; 4 * AT_ONCE];
        for (_, tensor) in self.groups() {
            for numbers in tensor.flatten_all()?.to_vec1::<f32>()?.chunks(AT_ONCE) {
                let (places, _) = bytes.as_chunks_mut::<4>();
                for (place, number) in places.iter_mut().zip(numbers) {
                    *place = number.to_le_bytes();
                }
                hasher.update(&bytes[..4 * numbers.len()]);
            }
        }
        Ok(hasher.finalize())
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

impl LayerState {
    /// The same in memory of its own, without the state that it may be a part of.
    pub fn copy(&self) -> Result<Self> {
        Ok(Self {
            att_shift: self.att_shift.force_contiguous()?,
            ffn_shift: self.ffn_shift.force_contiguous()?,
            wkv: self.wkv.force_contiguous()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(soft_prompt: Option<[f32; 2]>, shifts: &[f32]) -> Result<State> {
        let tensor = |values: &[f32]| Tensor::new(values, &Device::Cpu);
        Ok(State {
            soft_prompt: soft_prompt.map(|soft| tensor(&soft)).transpose()?,
            shifts: tensor(shifts)?,
            wkv: tensor(&[3.0])?,
        })
    }

    #[test]
    fn two_states_with_the_same_groups_are_added_and_mixed() -> Result<()> {
        let (a, b) = (
            state(Some([1.0, 2.0]), &[4.0])?,
            state(Some([3.0, 6.0]), &[8.0])?,
        );
        let sum = a.add(&b)?;
        assert_eq!(sum.soft_prompt.unwrap().to_vec1::<f32>()?, [4.0, 8.0]);
        assert_eq!(sum.shifts.to_vec1::<f32>()?, [12.0]);
        assert_eq!(sum.wkv.to_vec1::<f32>()?, [6.0]);
        let half = a.mixed(&b, 0.5)?;
        assert_eq!(half.soft_prompt.unwrap().to_vec1::<f32>()?, [2.0, 4.0]);
        let names: Vec<_> = a.groups().map(|(group, _)| group.name()).collect();
        assert_eq!(names, ["softprompt", "shift", "wkv"]);
        Ok(())
    }

    #[test]
    fn two_states_with_other_groups_or_shapes_are_refused() -> Result<()> {
        let whole = state(Some([1.0, 2.0]), &[4.0])?;
        let without = state(None, &[4.0])?;
        let longer = state(Some([1.0, 2.0]), &[4.0, 5.0])?;
        for (a, b) in [(&whole, &without), (&without, &whole)] {
            for refused in [a.add(b), a.mixed(b, 0.5)] {
                let error = refused.unwrap_err().to_string();
                assert!(
                    error.contains("has a soft prompt and the other has none"),
                    "{error}"
                );
            }
        }
        assert!(whole.add(&longer).is_err());
        assert!(whole.mixed(&longer, 0.5).is_err());
        Ok(())
    }
}
