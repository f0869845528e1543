//! The numbers being learnt: where they start, their gradient over a batch, and the step that each
//! batch makes.

use std::collections::BTreeMap;

use anyhow::{Context, Result, anyhow, ensure};
use candle_core::{Device, Tensor, Var};

use super::Tune;
use super::memory_plan::Plan;
use crate::model::{self, Batch, FirstRow, PerGroup, Rwkv, Sequence, State};
use crate::ops::adam::{Adam, Moments};
use crate::ops::reduce;

/// The norm of each group's gradient; `None` for a group that is not learnt.
pub type Norms = PerGroup<Option<f64>>;

/// A state in training.
pub struct Learner {
    vars: State<Var>,
    /// Of the groups that are learnt.
    moments: PerGroup<Option<Moments>>,
    steps: usize,
}

impl Learner {
    /// Learns some groups of `start`, on the device where it is.
    pub fn new(start: &State, tune: Tune) -> Result<Self> {
        let mut moments = PerGroup::default();
        for (group, tensor) in start.groups() {
            moments[group] = tune[group].then(|| Moments::zeros(tensor)).transpose()?;
        }
        Ok(Self {
            vars: start.try_map(|_, tensor| Var::from_tensor(tensor))?,
            moments,
            steps: 0,
        })
    }

    /// Steps made so far.
    pub fn steps(&self) -> usize {
        self.steps
    }

    /// What the first row of each sequence is.
    pub fn first_row(&self) -> FirstRow {
        self.vars.first_row()
    }

    /// The state as it is now. It shares memory with the learner and changes with it.
    pub fn state(&self) -> State {
        self.vars.map(|_, var| var.detach())
    }

    /// A copy in main memory of the state as it is now: what a GPU holds is lost when it fails.
    pub fn snapshot(&self) -> Result<State> {
        let copy = |tensor: &Tensor| match tensor.device() {
            Device::Cpu => tensor.copy(),
            _ => tensor.to_device(&Device::Cpu),
        };
        Ok(self.vars.try_map(|_, var| copy(var))?)
    }

    /// Mean loss over the scored tokens of a batch, and its gradient. A batch too large for memory
    /// is computed in parts, cut between sequences, and the parts' gradients are accumulated.
    pub fn accumulate(
        &self,
        model: &Rwkv,
        sequences: &[Sequence],
        plan: &Plan,
    ) -> Result<(f64, State)> {
        let first_row = self.first_row();
        let targets = sequences.iter().map(|s| s.targets(first_row)).sum();
        self.accumulate_share(model, sequences, targets, plan)
    }

    /// The same of a share of a batch that has `targets` scored tokens in all: what all shares give
    /// adds up to what the batch gives. An empty share gives zeros.
    pub fn accumulate_share(
        &self,
        model: &Rwkv,
        sequences: &[Sequence],
        targets: usize,
        plan: &Plan,
    ) -> Result<(f64, State)> {
        let (state, first_row) = (self.state(), self.first_row());
        if sequences.is_empty() {
            return Ok((0.0, state.try_map(|_, tensor| tensor.zeros_like())?));
        }
        let rows: Vec<usize> = sequences.iter().map(|s| s.rows(first_row)).collect();
        let scale = 1.0 / targets as f64;
        let mut sum: Option<(f64, State)> = None;
        for part in model::split(&rows, plan.most_rows) {
            // Products of a single row are summed in another order than those of several: a share of one
            // row would have other bits than it has in the batch. So it goes twice, at half the scale.
            let (times, scale) = match rows[part.clone()] {
                [1] => (2, scale / 2.0),
                _ => (1, scale),
            };
            let part = sequences[part].repeat(times);
            let part = Batch::pack(part, first_row);
            let (loss, gradient) =
                model.loss_and_gradient(&part, &state, plan.intermediates, scale)?;
            sum = Some(match sum {
                None => (loss, gradient),
                Some((sum_loss, sum)) => (sum_loss + loss, sum.add(&gradient)?),
            });
        }
        sum.ok_or_else(|| anyhow!("a batch without examples"))
    }

    /// A checksum of the state as it is now, by which ranks tell whether theirs is the same.
    pub fn checksum(&self) -> Result<u32> {
        Ok(self.state().checksum()?)
    }

    /// The gradient's norm in each group that is learnt.
    pub fn norms(&self, gradient: &State) -> Result<Norms> {
        let mut norms = Norms::default();
        for (group, tensor) in gradient.groups() {
            let moments = self.moments[group].as_ref();
            norms[group] = moments.map(|_| norm(tensor)).transpose()?;
        }
        Ok(norms)
    }

    /// One step of Adam along a gradient.
    pub fn update(&mut self, gradient: &State, adam: &Adam, learning_rate: f64) -> Result<()> {
        self.steps += 1;
        let (moments, step) = (&mut self.moments, self.steps);
        self.vars
            .try_zip(gradient, |group, var, gradient| match &mut moments[group] {
                Some(moments) => adam.step(var, moments, gradient, learning_rate, step),
                None => Ok(()),
            })?;
        Ok(())
    }

    /// Everything that [`Self::restore`] needs, by name: each group, and its moments if it is
    /// learnt.
    pub fn tensors(&self) -> Vec<(String, Tensor)> {
        let mut tensors = Vec::new();
        for (group, var) in self.vars.groups() {
            tensors.push((group.to_string(), var.detach()));
            if let Some(Moments { first, second }) = &self.moments[group] {
                tensors.push((format!("{group}.first_moment"), first.clone()));
                tensors.push((format!("{group}.second_moment"), second.clone()));
            }
        }
        tensors
    }

    /// Goes back to where another learner of the same groups and sizes was after so many steps.
    /// Errors when a tensor is missing or of another shape.
    pub fn restore(&mut self, tensors: &BTreeMap<String, Tensor>, steps: usize) -> Result<()> {
        self.steps = steps;
        for (group, var) in self.vars.groups() {
            if let Some(Moments { first, second }) = &mut self.moments[group] {
                *first = named(tensors, &format!("{group}.first_moment"), var)?;
                *second = named(tensors, &format!("{group}.second_moment"), var)?;
            }
            let value = named(tensors, group.name(), var)?;
            var.set(&value)?;
        }
        Ok(())
    }
}

/// The tensor of that name. Errors when its shape or type is not that of `like`.
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

/// A gradient with every group that is longer than `limit` cut down to that length. Group by group,
/// because a soft prompt near zero, where LayerNorm is steepest, has a gradient hundreds of times
/// larger than the rest: a common norm would be its norm alone.
pub fn clip(gradient: &State, norms: &Norms, limit: f64) -> Result<State> {
    let clipped = gradient.try_map(|group, tensor| match norms[group] {
        Some(norm) if norm > limit => tensor * (limit / norm),
        _ => Ok(tensor.clone()),
    });
    Ok(clipped?)
}

fn norm(tensor: &Tensor) -> Result<f64> {
    Ok(reduce::sum_of_squares(tensor)?.sqrt())
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
            soft_prompt: Some(512.0),
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
