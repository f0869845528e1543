//! Reading on from a state, token by token: what makes answers.

mod recorded;

use anyhow::Result;

use self::recorded::Recorded;
use super::{Rwkv, State};

/// A text that is being read. Its state is carried, so that each token costs the same, however long
/// the text is.
pub struct Reader<'a> {
    model: &'a Rwkv,
    /// After all that was read so far.
    state: State,
    /// The reading of one token on a GPU, once there was one. It knows the addresses of `state`.
    recorded: Option<Recorded>,
}

impl<'a> Reader<'a> {
    /// Begins at `state`, whose soft prompt is read before the first token.
    pub fn new(model: &'a Rwkv, state: &State) -> Self {
        Self {
            model,
            state: state.clone(),
            recorded: None,
        }
    }

    /// Reads `tokens`; the logits `[V]` that predict the next one.
    pub fn read(&mut self, tokens: &[u32]) -> Result<Vec<f32>> {
        if let (&[token], None, true) = (
            tokens,
            &self.state.soft_prompt,
            self.model.compute().device.is_cuda(),
        ) {
            return self.read_recorded(token);
        }
        let (logits, state) = self.model.advance(tokens, &self.state)?;
        self.state = state;
        self.recorded = None;
        Ok(logits)
    }

    /// Reads one token on a GPU. The first time it is recorded, too.
    fn read_recorded(&mut self, token: u32) -> Result<Vec<f32>> {
        if let Some(recorded) = &self.recorded {
            return recorded.read(self.model, token);
        }
        // A state of its own, since it is written over.
        self.state = self.state.try_map(|_, tensor| tensor.copy())?;
        let (recorded, logits) = Recorded::first(self.model, &self.state, token)?;
        self.recorded = Some(recorded);
        Ok(logits)
    }
}
