//! Reading on from a state, token by token: what makes answers.

mod recorded;

use anyhow::Result;
use candle_core::Tensor;

use self::recorded::Recorded;
use super::{LayerState, Rwkv, State};

/// A text that is being read. Its state is carried, so that each token costs the same, however long
/// the text is.
pub struct Reader<'a> {
    model: &'a Rwkv,
    /// What is read before the first token.
    soft_prompt: Option<Tensor>,
    /// The state after all that was read so far, which is not put together for each token.
    layers: Vec<LayerState>,
    /// The reading of one token on a GPU, once there was one. It knows the addresses of `layers`.
    recorded: Option<Recorded>,
}

impl<'a> Reader<'a> {
    /// Begins at `state`, whose soft prompt is read before the first token.
    pub fn new(model: &'a Rwkv, state: &State) -> Result<Self> {
        Ok(Self {
            model,
            soft_prompt: state.soft_prompt.clone(),
            layers: state.layers()?,
            recorded: None,
        })
    }

    /// Reads `tokens`; the logits `[V]` that predict the next one.
    pub fn read(&mut self, tokens: &[u32]) -> Result<Vec<f32>> {
        if let (&[token], None, true) = (
            tokens,
            &self.soft_prompt,
            self.model.compute().device.is_cuda(),
        ) {
            return self.read_recorded(token);
        }
        let soft_prompt = self.soft_prompt.as_ref();
        let (logits, layers) = (self.model).advance_layers(tokens, soft_prompt, &self.layers)?;
        self.soft_prompt = None;
        self.layers = layers;
        self.recorded = None;
        Ok(logits)
    }

    /// Reads one token on a GPU. The first time it is recorded, too.
    fn read_recorded(&mut self, token: u32) -> Result<Vec<f32>> {
        if let Some(recorded) = &self.recorded {
            return recorded.read(self.model, token);
        }
        // A state of its own, since it is written over.
        let copies = self.layers.iter().map(LayerState::copy);
        self.layers = copies.collect::<candle_core::Result<_>>()?;
        let (recorded, logits) = Recorded::first(self.model, &self.layers, token)?;
        self.recorded = Some(recorded);
        Ok(logits)
    }
}
