//! The reading of one token on a GPU as one launch: all of its kernels are recorded the first time.

use anyhow::{Result, ensure};
use candle_core::Tensor;

use crate::model::{LayerState, Rwkv};
use crate::ops::Offsets;
use crate::ops::cuda::driver::set;
use crate::ops::cuda::graph::{Copies, Graph};

/// What is launched for each token. It reads the state that it was recorded with, and writes the
/// state after the token in its place.
pub struct Recorded {
    graph: Graph,
    /// `[1]`.
    token: Tensor,
    /// Of one row. The graph's kernels read its copy on the GPU.
    _offsets: Offsets,
    /// `[1, V]`.
    logits: Tensor,
}

impl Recorded {
    /// Reads a token from `state`, which becomes the state after it, and records how: the
    /// recording, and the logits `[V]`.
    pub fn first(model: &Rwkv, state: &[LayerState], token: u32) -> Result<(Self, Vec<f32>)> {
        let device = &model.compute().device;
        let token = Tensor::new(&[number(model, token)?], device)?;
        let offsets = Offsets::from_lengths([1]);
        let (graph, (logits, _)) = Graph::record(
            device.as_cuda_device()?,
            || model.step_on_gpu(&token, state, &offsets),
            |(_, ends)| {
                let mut pairs = Vec::new();
                for (end, start) in ends.iter().zip(state) {
                    pairs.push((end.att_shift.clone(), start.att_shift.clone()));
                    pairs.push((end.ffn_shift.clone(), start.ffn_shift.clone()));
                    pairs.push((end.wkv.clone(), start.wkv.clone()));
                }
                Ok(Copies::new(&pairs)?)
            },
        )?;
        let row = logits.flatten_all()?.to_vec1()?;
        let recorded = Self {
            graph,
            token,
            _offsets: offsets,
            logits,
        };
        Ok((recorded, row))
    }

    /// Reads the next token; the logits `[V]`.
    pub fn read(&self, model: &Rwkv, token: u32) -> Result<Vec<f32>> {
        set(&self.token, number(model, token)?)?;
        self.graph.launch()?;
        Ok(self.logits.flatten_all()?.to_vec1()?)
    }
}

/// A token as kernels take it. Errors when the model's vocabulary does not have it.
fn number(model: &Rwkv, token: u32) -> Result<i32> {
    let vocab_size = model.config().vocab_size;
    ensure!(
        (token as usize) < vocab_size,
        "token {token} of a vocabulary of {vocab_size}"
    );
    Ok(token as i32)
}
