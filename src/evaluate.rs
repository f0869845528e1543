//! How well a model predicts examples: their loss, and how often its likeliest token is the right
//! one.

use std::ops::AddAssign;
use std::path::Path;

use anyhow::{Result, bail, ensure};

use crate::data::bad_rows::OnBadRow;
use crate::data::error::DataError;
use crate::data::{Example, dataset};
use crate::model::{self, Batch, Config, FirstRow, Rwkv, Sequence, State};
use crate::ops::device;

/// Rows of examples that are scored at once: enough for products to be fast, and little memory.
const ROWS: usize = 2048;

/// How well some examples' completion tokens are predicted.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Score {
    /// The sum of their losses.
    pub sum: f64,
    /// How many of them a greedy choice would hit.
    pub hits: usize,
    /// How many they are.
    pub tokens: usize,
}

impl Score {
    /// The mean loss.
    pub fn loss(&self) -> f64 {
        self.sum / self.tokens as f64
    }

    /// The share of hits.
    pub fn accuracy(&self) -> f64 {
        self.hits as f64 / self.tokens as f64
    }
}

impl AddAssign for Score {
    fn add_assign(&mut self, other: Self) {
        self.sum += other.sum;
        self.hits += other.hits;
        self.tokens += other.tokens;
    }
}

/// What is learnt of an example is what is scored.
impl<'a> From<&'a Example> for Sequence<'a> {
    fn from(example: &'a Example) -> Self {
        Self {
            tokens: &example.tokens,
            scored: &example.learnt,
        }
    }
}

/// What is wrong with an example for a model, which only the two together show.
pub fn fault(example: &Example, first_row: FirstRow, config: &Config) -> Option<DataError> {
    let (line, size) = (example.line, config.vocab_size);
    let mut tokens = example.tokens.iter();
    if let Some(&token) = tokens.find(|&&token| token as usize >= size) {
        return Some(DataError::UnknownToken { line, token, size });
    }
    let is_lone = Sequence::from(example).targets(first_row) == 0;
    is_lone.then_some(DataError::LoneToken { line })
}

/// Takes those of a file's examples out that a model cannot score, and returns what to tell of them.
/// Errors when they are reason to refuse the file. Each must have a prompt.
pub fn sift(
    examples: &mut Vec<Example>,
    config: &Config,
    path: &Path,
    on_bad_row: OnBadRow,
) -> Result<Option<String>> {
    let bad = dataset::sift([examples], |example| {
        fault(example, FirstRow::Token, config)
    });
    let path = path.display();
    if bad.must_refuse(on_bad_row) {
        bail!("cannot use the data in {path}: {bad}");
    }
    Ok((bad.count() > 0).then(|| format!("{path}: {}", bad.left_out())))
}

/// How well `model` predicts examples from `state`, however many they are. Errors when there is
/// nothing to predict in them.
pub fn score(model: &Rwkv, examples: &[Example], state: &State) -> Result<Score> {
    let first_row = state.first_row();
    let rows = |example| Sequence::from(example).rows(first_row);
    let rows: Vec<usize> = examples.iter().map(rows).collect();
    let mut score = Score::default();
    let (mut most, mut done) = (ROWS, 0);
    while done < examples.len() {
        let part = model::split(&rows[done..], most).swap_remove(0);
        let some = &examples[done..][part.clone()];
        let batch = Batch::pack(some, first_row);
        match model.score(&batch, state) {
            Ok((sum, hits)) => {
                score += Score {
                    sum,
                    hits,
                    tokens: batch.targets.len(),
                }
            }
            // Fewer examples at a time, down to one.
            Err(error) if device::is_out_of_memory(&error) && some.len() > 1 => {
                device::give_back_memory(&model.compute().device)?;
                most = rows[done..][part].iter().sum::<usize>() / 2;
                continue;
            }
            Err(error) => return Err(error),
        }
        done += some.len();
    }
    ensure!(score.tokens > 0, "there is no completion to score");
    Ok(score)
}
