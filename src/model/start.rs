//! What an untuned model starts from: the state that is merged into it, or zeros.

use anyhow::{Context, Result, ensure};
use candle_core::{Device, Tensor};

use super::{Config, ModelFile, Rwkv, State, notes};

impl Rwkv {
    /// What of the file that the model was loaded from is not used, in a sentence.
    pub fn unused(&self) -> Option<&str> {
        self.unused.as_deref()
    }

    /// What a user should know before texts are read, a sentence each: what of the file is not used,
    /// and a vocabulary that is not the tokenizer's.
    pub fn notes(&self) -> impl Iterator<Item = String> {
        let foreign = notes::foreign_vocabulary(self.config.vocab_size);
        self.unused.clone().into_iter().chain(foreign)
    }

    /// Whether a state is merged into the model, from which it starts by itself.
    pub fn has_state(&self) -> bool {
        self.merged.is_some()
    }

    /// What the untuned model starts from, in main memory: the state that is merged into it, or
    /// zeros, without a soft prompt.
    pub fn start(&self) -> Result<State> {
        match &self.merged {
            Some(state) => Ok(state.clone()),
            None => Ok(State::zeros(&self.config)?),
        }
    }
}

/// The state that is merged into a model, as `time_state` of each layer, from which the `rwkv`
/// package starts by itself if the model is RWKV-5's: matrices `[H, K, K]` that stand as \[value, key\].
pub fn merged(file: &ModelFile, config: &Config) -> Result<Option<State>> {
    let &Config {
        n_layer,
        n_head,
        head_size,
        ..
    } = config;
    let name = |i: usize| format!("blocks.{i}.att.time_state");
    let Some(first) = (0..n_layer).map(name).find(|name| file.has(name)) else {
        return Ok(None);
    };
    let shape = [n_head, head_size, head_size];
    let matrices = |name: String| -> Result<Tensor> {
        ensure!(
            file.has(&name),
            "it has {first}, but no {name}: the state in it is incomplete"
        );
        let numbers = file.numbers(&name, &shape)?;
        ensure!(
            numbers.iter().all(|number| number.is_finite()),
            "{name} holds a number that is not finite"
        );
        Ok(Tensor::from_vec(numbers, &shape, &Device::Cpu)?.transpose(1, 2)?)
    };
    let layers = (0..n_layer).map(|i| matrices(name(i)));
    let layers: Vec<Tensor> = layers.collect::<Result<_>>().context("time_state")?;
    Ok(Some(State {
        wkv: Tensor::stack(&layers, 0)?,
        ..State::zeros(config)?
    }))
}
