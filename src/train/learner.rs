//! The numbers being learnt, their gradient over a batch, and Adam.

use anyhow::Result;
use candle_core::backprop::GradStore;
use candle_core::{Device, Tensor, Var};
use candle_nn::{AdamW, Optimizer, ParamsAdamW};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::plan::Plan;
use super::{Init, Tune};
use crate::data::{Batch, Example, batch};
use crate::model::{Config, Rwkv5, State};

/// `--init random` draws uniformly between minus and plus this.
const SMALL: f32 = 0.02;

/// A state in training.
pub struct Learner {
    soft_prompt: Option<Var>,
    shifts: Var,
    wkv: Var,
    tune: Tune,
    adam: AdamW,
}

/// The gradient's norm over each group that is tuned.
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

impl Learner {
    /// A state for a model of these sizes. Without `tune.softprompt` there is no soft prompt; other groups that are
    /// not tuned keep what `init` gives them.
    pub fn new(
        config: &Config,
        tune: Tune,
        init: Init,
        learning_rate: f64,
        seed: u64,
    ) -> Result<Self> {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut var = |shape: &[usize], ones: f32| -> Result<Var> {
            let count = shape.iter().product();
            let values: Vec<f32> = match init {
                Init::Zeros => vec![0.0; count],
                Init::Ones => vec![ones; count],
                Init::Random => (0..count)
                    .map(|_| rng.random_range(-SMALL..SMALL))
                    .collect(),
            };
            Ok(Var::from_tensor(&Tensor::from_vec(
                values,
                shape,
                &Device::Cpu,
            )?)?)
        };
        let (shift_shape, wkv_shape) = State::shapes(config);
        let soft_prompt = if tune.softprompt {
            Some(var(&[config.n_embd], 0.0)?)
        } else {
            None
        };
        let (shifts, wkv) = (var(&shift_shape, 1.0)?, var(&wkv_shape, 1.0)?);

        let tuned: Vec<Var> = soft_prompt
            .iter()
            .chain(tune.shift.then_some(&shifts))
            .chain(tune.wkv.then_some(&wkv))
            .cloned()
            .collect();
        // PyTorch's Adam: AdamW without decay.
        let adam = ParamsAdamW {
            lr: learning_rate,
            beta1: 0.9,
            beta2: 0.999,
            eps: 1e-8,
            weight_decay: 0.0,
        };
        Ok(Self {
            adam: AdamW::new(tuned, adam)?,
            soft_prompt,
            shifts,
            wkv,
            tune,
        })
    }

    /// The state as it is now. It shares memory with the learner and changes with it.
    pub fn state(&self) -> State {
        State {
            soft_prompt: self.soft_prompt.as_ref().map(|var| var.detach()),
            shifts: self.shifts.detach(),
            wkv: self.wkv.detach(),
        }
    }

    /// A copy of the state as it is now.
    pub fn snapshot(&self) -> Result<State> {
        let State {
            soft_prompt,
            shifts,
            wkv,
        } = self.state();
        let soft_prompt = soft_prompt.map(|soft| soft.copy()).transpose()?;
        Ok(State {
            soft_prompt,
            shifts: shifts.copy()?,
            wkv: wkv.copy()?,
        })
    }

    /// Mean loss over the completion tokens of a batch, and its gradient. A batch too large for memory is computed in
    /// parts, cut between examples; the parts' gradients add up to the same.
    pub fn gradient(
        &self,
        model: &Rwkv5,
        examples: &[&Example],
        plan: &Plan,
    ) -> Result<(f64, State)> {
        let (state, soft_prompt) = (self.state(), self.tune.softprompt);
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
        let norm = |tensor: &Tensor| -> Result<f64> {
            let values: Vec<f32> = tensor.flatten_all()?.to_vec1()?;
            Ok(values
                .iter()
                .map(|&x| f64::from(x) * f64::from(x))
                .sum::<f64>()
                .sqrt())
        };
        Ok(Norms {
            softprompt: gradient.soft_prompt.as_ref().map(norm).transpose()?,
            shift: self
                .tune
                .shift
                .then(|| norm(&gradient.shifts))
                .transpose()?,
            wkv: self.tune.wkv.then(|| norm(&gradient.wkv)).transpose()?,
        })
    }

    /// One step of Adam.
    pub fn update(&mut self, gradient: &State) -> Result<()> {
        let mut store = GradStore::default();
        if let (Some(var), Some(gradient)) = (&self.soft_prompt, &gradient.soft_prompt) {
            store.insert(var, gradient.clone());
        }
        store.insert(&self.shifts, gradient.shifts.clone());
        store.insert(&self.wkv, gradient.wkv.clone());
        Ok(self.adam.step(&store)?)
    }
}
