//! Adam, with its moments open to be saved: candle-nn's optimiser keeps them to itself, and a run
//! that is resumed needs them. On the processor the arithmetic is the same to the last bit.

mod cuda;

use candle_core::{Result, Tensor, Var};

const EPS: f64 = 1e-8;

/// What Adam remembers and forgets.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Adam {
    /// The share of the old mean of gradients that a step keeps.
    pub beta1: f64,
    /// The share of the old mean of squared gradients that a step keeps.
    pub beta2: f64,
    /// Decoupled from the gradient, as AdamW has it: each step takes this share of the learning
    /// rate off every number.
    pub weight_decay: f64,
}

/// Running means of a gradient and of its square, in the shape of what is learnt.
#[derive(Clone, Debug)]
pub struct Moments {
    /// The mean of the gradient, not corrected for its start at zero.
    pub first: Tensor,
    /// The mean of the gradient's square, not corrected either.
    pub second: Tensor,
}

impl Moments {
    /// Before the first step.
    pub fn zeros(of: &Tensor) -> Result<Self> {
        Ok(Self {
            first: of.zeros_like()?,
            second: of.zeros_like()?,
        })
    }
}

impl Adam {
    /// Step `step` (from 1) of one tensor; Kingma and Ba, "Adam", algorithm 1, with Loshchilov and
    /// Hutter's decay.
    pub fn step(
        &self,
        var: &Var,
        moments: &mut Moments,
        gradient: &Tensor,
        learning_rate: f64,
        step: usize,
    ) -> Result<()> {
        let &Self {
            beta1,
            beta2,
            weight_decay,
        } = self;
        if var.device().is_cuda() {
            return cuda::step(self, var, moments, gradient, learning_rate, step);
        }
        // A step beyond i32 has long had corrections of 1.
        let step = i32::try_from(step).unwrap_or(i32::MAX);
        let first = ((&moments.first * beta1)? + (gradient * (1.0 - beta1))?)?;
        let second = ((&moments.second * beta2)? + (gradient.sqr()? * (1.0 - beta2))?)?;
        let mean = (&first * (1.0 / (1.0 - beta1.powi(step))))?;
        let square = (&second * (1.0 / (1.0 - beta2.powi(step))))?;
        let direction = (mean / (square.sqrt()? + EPS)?)?;
        let kept = (var.as_tensor() * (1.0 - learning_rate * weight_decay))?;
        var.set(&(kept - (direction * learning_rate)?)?)?;
        *moments = Moments { first, second };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use candle_core::DType;
    use candle_nn::{AdamW, Optimizer, ParamsAdamW};

    use super::super::testing::{f32, uniform};
    use super::*;

    #[test]
    fn twenty_steps_are_candles_to_the_last_bit() -> Result<()> {
        for (beta1, beta2, weight_decay) in [(0.9, 0.999, 0.0), (0.8, 0.95, 0.1)] {
            let start = f32(&uniform(0, &[100], -1.0, 1.0)?)?;
            let (ours, theirs) = (Var::from_tensor(&start)?, Var::from_tensor(&start.copy()?)?);
            let adam = Adam {
                beta1,
                beta2,
                weight_decay,
            };
            let mut moments = Moments::zeros(&start)?;
            let params = ParamsAdamW {
                lr: 0.05,
                beta1,
                beta2,
                eps: EPS,
                weight_decay,
            };
            let mut reference = AdamW::new(vec![theirs.clone()], params)?;
            for step in 1..=20 {
                let rate = 0.05 / step as f64;
                let gradient = f32(&uniform(step as u64, &[100], -2.0, 2.0)?)?;
                let mut store = candle_core::backprop::GradStore::default();
                store.insert(&theirs, gradient.clone());
                reference.set_learning_rate(rate);
                reference.step(&store)?;
                adam.step(&ours, &mut moments, &gradient, rate, step)?;
                assert_eq!(ours.to_vec1::<f32>()?, theirs.to_vec1::<f32>()?);
            }
            assert!(
                ours.sub(&start)?
                    .abs()?
                    .max_all()?
                    .to_dtype(DType::F64)?
                    .to_scalar::<f64>()?
                    > 0.01
            );
        }
        Ok(())
    }
}
