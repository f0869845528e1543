//! The numbers being learnt, their gradient over a batch, and the step that each batch makes.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use candle_core::{Device, Tensor, Var};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::memory_plan::Plan;
use super::{Init, Tune};
use crate::data::{Batch, Example, batch};
use crate::model::{Config, Rwkv, State};
use crate::ops::adam::{self, Adam, Moments};

/// `--init random` draws uniformly between minus and plus this.
const SMALL: f32 = 0.02;

/// A state in training.
pub struct Learner {
    soft_prompt: Option<Group>,
    shifts: Group,
    wkv: Group,
    steps: usize,
}

/// A tensor of the state, with Adam's moments if it is tuned.
struct Group {
    name: &'static str,
    var: Var,
    moments: Option<Moments>,
}

/// A norm over each group that is tuned.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Norms {
    pub softprompt: Option<f64>,
    pub shift: Option<f64>,
    pub wkv: Option<f64>,
}

impl Norms {
    pub fn are_finite(&self) -> bool {
        [self.softprompt, self.shift, self.wkv]
            .iter()
            .flatten()
            .all(|norm| norm.is_finite())
    }
}

impl Group {
    fn new(name: &'static str, start: Tensor, is_tuned: bool) -> Result<Self> {
        let moments = is_tuned.then(|| Moments::zeros(&start)).transpose()?;
        Ok(Self {
            name,
            var: Var::from_tensor(&start)?,
            moments,
        })
    }
}

impl Learner {
    /// A state for a model of these sizes. Without `tune.softprompt` there is no soft prompt; other groups that are
    /// not tuned keep what `init` gives them.
    pub fn new(
        config: &Config,
        tune: Tune,
        init: Init,
        seed: u64,
        device: &Device,
    ) -> Result<Self> {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut start = |shape: &[usize], ones: f32| {
            let count = shape.iter().product();
            let values: Vec<f32> = match init {
                Init::Zeros => vec![0.0; count],
                Init::Ones => vec![ones; count],
                Init::Random => (0..count)
                    .map(|_| rng.random_range(-SMALL..SMALL))
                    .collect(),
            };
            Tensor::from_vec(values, shape, device)
        };
        let (shift_shape, wkv_shape) = State::shapes(config);
        let soft_prompt = match tune.softprompt {
            true => Some(Group::new(
                "softprompt",
                start(&[config.n_embd], 0.0)?,
                true,
            )?),
            false => None,
        };
        Ok(Self {
            soft_prompt,
            shifts: Group::new("shift", start(&shift_shape, 1.0)?, tune.shift)?,
            wkv: Group::new("wkv", start(&wkv_shape, 1.0)?, tune.wkv)?,
            steps: 0,
        })
    }

    /// Steps made so far.
    pub fn steps(&self) -> usize {
        self.steps
    }

    /// The state as it is now. It shares memory with the learner and changes with it.
    pub fn state(&self) -> State {
        State {
            soft_prompt: self.soft_prompt.as_ref().map(|group| group.var.detach()),
            shifts: self.shifts.var.detach(),
            wkv: self.wkv.var.detach(),
        }
    }

    /// A copy in main memory of the state as it is now: a card that fails takes what it holds along.
    pub fn snapshot(&self) -> Result<State> {
        let state = self.state();
        let copy = |tensor: &Tensor| match tensor.device() {
            Device::Cpu => tensor.copy(),
            _ => tensor.to_device(&Device::Cpu),
        };
        Ok(State {
            soft_prompt: state.soft_prompt.as_ref().map(copy).transpose()?,
            shifts: copy(&state.shifts)?,
            wkv: copy(&state.wkv)?,
        })
    }

    /// Mean loss over the completion tokens of a batch, and its gradient. A batch too large for memory is computed in
    /// parts, cut between examples; the parts' gradients add up to the same.
    pub fn gradient(
        &self,
        model: &Rwkv,
        examples: &[&Example],
        plan: &Plan,
    ) -> Result<(f64, State)> {
        let (state, soft_prompt) = (self.state(), self.soft_prompt.is_some());
        let rows: Vec<usize> = examples
            .iter()
            .map(|example| example.rows(soft_prompt))
            .collect();
        let scored: usize = examples
            .iter()
            .map(|example| example.scored(soft_prompt))
            .sum();
        let mut sum: Option<(f64, State)> = None;
        for part in batch::split(&rows, plan.most_rows) {
            let part = Batch::pack(examples[part].iter().copied(), soft_prompt);
            let (loss, gradient) =
                model.loss_and_gradient(&part, &state, plan.intermediates, 1.0 / scored as f64)?;
            sum = Some(match sum {
                None => (loss, gradient),
                Some((sum_loss, sum)) => (sum_loss + loss, sum.add(&gradient)?),
            });
        }
        sum.ok_or_else(|| anyhow::anyhow!("a batch without examples"))
    }

    /// The gradient's norms, group by group.
    pub fn norms(&self, gradient: &State) -> Result<Norms> {
        let soft_prompt = gradient.soft_prompt.as_ref();
        let tuned = |group: &Group, gradient| {
            let moments = group.moments.as_ref();
            moments.map(|_| norm(gradient)).transpose()
        };
        Ok(Norms {
            softprompt: soft_prompt.map(norm).transpose()?,
            shift: tuned(&self.shifts, &gradient.shifts)?,
            wkv: tuned(&self.wkv, &gradient.wkv)?,
        })
    }

    /// One step of Adam along a gradient.
    pub fn update(&mut self, gradient: &State, adam: &Adam, rate: f64) -> Result<()> {
        self.steps += 1;
        let soft_prompt = self.soft_prompt.as_mut().zip(gradient.soft_prompt.as_ref());
        let groups = soft_prompt.into_iter().chain([
            (&mut self.shifts, &gradient.shifts),
            (&mut self.wkv, &gradient.wkv),
        ]);
        for (group, gradient) in groups {
            if let Some(moments) = &mut group.moments {
                adam.step(&group.var, moments, gradient, rate, self.steps)?;
            }
        }
        Ok(())
    }

    /// Everything that [`Self::restore`] needs, by name: each group, and its moments if it is tuned.
    pub fn tensors(&self) -> Vec<(String, Tensor)> {
        let groups = self.soft_prompt.iter().chain([&self.shifts, &self.wkv]);
        let mut tensors = Vec::new();
        for Group { name, var, moments } in groups {
            tensors.push((name.to_string(), var.detach()));
            if let Some(Moments { first, second }) = moments {
                tensors.push((format!("{name}.first_moment"), first.clone()));
                tensors.push((format!("{name}.second_moment"), second.clone()));
            }
        }
        tensors
    }

    /// Goes back to where another learner of the same groups and sizes was after so many steps. Errors when a tensor
    /// is missing or of another shape.
    pub fn restore(&mut self, tensors: &BTreeMap<String, Tensor>, steps: usize) -> Result<()> {
        self.steps = steps;
        let soft_prompt = self.soft_prompt.as_mut().into_iter();
        for Group { name, var, moments } in soft_prompt.chain([&mut self.shifts, &mut self.wkv]) {
            if let Some(Moments { first, second }) = moments {
                *first = named(tensors, &format!("{name}.first_moment"), var)?;
                *second = named(tensors, &format!("{name}.second_moment"), var)?;
            }
            let value = named(tensors, name, var)?;
            var.set(&value)?;
        }
        Ok(())
    }
}

/// The tensor of that name, which should look like `like`.
pub fn named(tensors: &BTreeMap<String, Tensor>, name: &str, like: &Tensor) -> Result<Tensor> {
    let tensor = tensors
        .get(name)
        .with_context(|| format!("{name} is missing"))?;
    ensure!(
        tensor.dims() == like.dims() && tensor.dtype() == like.dtype(),
        "{name} is {:?}, where {:?} is needed",
        tensor.shape(),
        like.shape()
    );
    Ok(tensor.to_device(like.device())?)
}

/// A gradient with every group that is longer than `limit` cut down to that length. Group by group, because a soft
/// prompt near zero, where LayerNorm is steepest, has a gradient hundreds of times larger than the rest: a common norm
/// would be its norm alone.
pub fn clip(gradient: &State, norms: &Norms, limit: f64) -> Result<State> {
    let cut = |tensor: &Tensor, norm: Option<f64>| match norm {
        Some(norm) if norm > limit => tensor * (limit / norm),
        _ => Ok(tensor.clone()),
    };
    let soft_prompt = gradient.soft_prompt.as_ref();
    Ok(State {
        soft_prompt: soft_prompt
            .map(|soft| cut(soft, norms.softprompt))
            .transpose()?,
        shifts: cut(&gradient.shifts, norms.shift)?,
        wkv: cut(&gradient.wkv, norms.wkv)?,
    })
}

fn norm(tensor: &Tensor) -> Result<f64> {
    Ok(adam::sum_of_squares(tensor)?.sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_group_is_clipped_by_its_own_norm() -> Result<()> {
        let tensor = |values: &[f32]| Tensor::new(values, &Device::Cpu);
        let gradient = State {
            soft_prompt: Some(tensor(&[0.0, 512.0])?),
            shifts: tensor(&[0.6, 0.8])?,
            wkv: tensor(&[4.0, 0.0])?,
        };
        let norms = Norms {
            softprompt: Some(512.0),
            shift: Some(1.0),
            wkv: Some(4.0),
        };
        let clipped = clip(&gradient, &norms, 2.0)?;
        assert_eq!(clipped.soft_prompt.unwrap().to_vec1::<f32>()?, [0.0, 2.0]);
        assert_eq!(clipped.shifts.to_vec1::<f32>()?, [0.6, 0.8]);
        assert_eq!(clipped.wkv.to_vec1::<f32>()?, [2.0, 0.0]);
        Ok(())
    }
}
