//! Reading on from a state, token by token: what makes answers.

use anyhow::Result;
#[cfg(feature = "cuda")]
use anyhow::ensure;

use super::{Rwkv, State};
#[cfg(feature = "cuda")]
use crate::ops::Offsets;
#[cfg(feature = "cuda")]
use crate::ops::cuda::graph::Graph;
#[cfg(feature = "cuda")]
use candle_core::Tensor;

/// A text that is being read. Its state is carried, so that each token costs the same, however long the text is.
pub struct Reader<'a> {
    model: &'a Rwkv,
    /// After all that was read so far.
    state: State,
    /// The reading of one token on a card, once there was one.
    #[cfg(feature = "cuda")]
    recorded: Option<Recorded>,
}

/// What is launched for each token. It reads and writes the reader's state in its place.
#[cfg(feature = "cuda")]
struct Recorded {
    graph: Graph,
    /// `[1]`.
    token: Tensor,
    /// Of one row; on the card.
    _offsets: Offsets,
    /// `[1, V]`.
    logits: Tensor,
}

impl<'a> Reader<'a> {
    /// Begins at `state`, whose soft prompt is read before the first token.
    pub fn new(model: &'a Rwkv, state: &State) -> Self {
        Self {
            model,
            state: state.clone(),
            #[cfg(feature = "cuda")]
            recorded: None,
        }
    }

    /// Reads `tokens`; the logits `[V]` that predict the next one.
    pub fn read(&mut self, tokens: &[u32]) -> Result<Vec<f32>> {
        #[cfg(feature = "cuda")]
        if let (&[token], None, true) = (
            tokens,
            &self.state.soft_prompt,
            self.model.compute().device.is_cuda(),
        ) {
            return self.read_recorded(token);
        }
        let (logits, state) = self.model.advance(tokens, &self.state)?;
        self.state = state;
        #[cfg(feature = "cuda")]
        {
            // It knows the old state's memory.
            self.recorded = None;
        }
        Ok(logits)
    }

    /// Reads one token on a card. The first time it is recorded, too.
    #[cfg(feature = "cuda")]
    fn read_recorded(&mut self, token: u32) -> Result<Vec<f32>> {
        use crate::ops::cuda::graph::{Copies, set};

        let model = self.model;
        ensure!(
            (token as usize) < model.config().vocab_size,
            "token {token} of a vocabulary of {}",
            model.config().vocab_size
        );
        let number = token as i32;
        if let Some(recorded) = &self.recorded {
            set(&recorded.token, number)?;
            recorded.graph.launch()?;
            return Ok(recorded.logits.flatten_all()?.to_vec1()?);
        }
        // A state of its own, since it is written over.
        self.state = self.state.try_map(|_, tensor| tensor.copy())?;
        let device = &model.compute().device;
        let token = Tensor::new(&[number], device)?;
        let offsets = Offsets::from_lengths([1]);
        let (graph, (logits, _)) = Graph::record(
            device.as_cuda_device()?,
            || model.step_on_card(&token, &self.state, &offsets),
            |(_, ends)| {
                let mut pairs = Vec::new();
                for (i, end) in ends.iter().enumerate() {
                    let place = self.state.layer(i)?;
                    pairs.push((end.att_shift.clone(), place.att_shift));
                    pairs.push((end.ffn_shift.clone(), place.ffn_shift));
                    pairs.push((end.wkv.clone(), place.wkv));
                }
                Ok(Copies::new(&pairs)?)
            },
        )?;
        let row = logits.flatten_all()?.to_vec1()?;
        self.recorded = Some(Recorded {
            graph,
            token,
            _offsets: offsets,
            logits,
        });
        Ok(row)
    }
}
