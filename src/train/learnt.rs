//! What a run learnt, gathered for the records that show it.

use std::time::SystemTime;

use anyhow::Result;
use candle_core::{Device, Tensor};
use chrono::{DateTime, Utc};

use super::context::RunContext;
use super::prepare::TrainingData;
use crate::data::Example;
use crate::generate::{self, Settings};
use crate::model::{Rwkv, State};
use crate::ops::cpu::level::Level;
use crate::report::{Answer, LayerNorms, Learnt};
use crate::system;
use crate::tokenizer::Tokenizer;

/// How many examples are answered.
const ANSWERS: usize = 6;
/// The most tokens of an answer.
const TOKENS: usize = 60;

/// What a run learnt that went from `start` to `state`. Takes a while: examples are answered, until
/// `interrupted` says so.
pub fn learnt(
    context: &RunContext,
    start: &State,
    state: &State,
    interrupted: impl Fn() -> bool,
) -> Result<Learnt> {
    let state = &state.to_device(&Device::Cpu)?;
    let soft_prompt = state.soft_prompt.as_ref();
    Ok(Learnt {
        norms: moved(state, start)?,
        soft_prompt: soft_prompt.map(norm).transpose()?,
        answers: answers(context, state, interrupted)?,
    })
}

/// How far each layer's parts went from where they started.
fn moved(state: &State, start: &State) -> Result<Vec<LayerNorms>> {
    let moved = state.try_zip(start, |_, now, then| now - then)?;
    let (layers, heads, ..) = moved.wkv.dims4()?;
    let layer = |i: usize| -> Result<LayerNorms> {
        let moved = moved.layer(i)?;
        Ok(LayerNorms {
            att_shift: norm(&moved.att_shift)?,
            ffn_shift: norm(&moved.ffn_shift)?,
            wkv: (0..heads)
                .map(|head| norm(&moved.wkv.get(head)?))
                .collect::<Result<_>>()?,
        })
    };
    (0..layers).map(layer).collect()
}

fn norm(tensor: &Tensor) -> Result<f64> {
    Ok(f64::from(tensor.sqr()?.sum_all()?.to_scalar::<f32>()?).sqrt())
}

/// Answers to a few examples spread over the data, or over the held-out examples if there are any.
/// Of a conversation, the last question is answered.
fn answers(
    context: &RunContext,
    tuned: &State,
    interrupted: impl Fn() -> bool,
) -> Result<Vec<Answer>> {
    let TrainingData {
        examples, held_out, ..
    } = context.data;
    let examples = match held_out.is_empty() {
        true => examples,
        false => held_out,
    };
    let device = &context.model.compute().device;
    let base = context.model.start()?.to_device(device)?;
    let tuned = &tuned.to_device(device)?;
    let end = &context.options.formats.end;
    let settings = Settings {
        stop: (!end.is_empty()).then(|| end.clone()),
        ..Settings::greedy(TOKENS)
    };
    let answer = |prompt, state| -> Result<String> {
        Ok(generate::answer(context.model, prompt, state, &settings)?.0)
    };
    let mut answers = Vec::new();
    for Example { tokens, learnt, .. } in examples.iter().step_by(examples.len().div_ceil(ANSWERS))
    {
        let Some(last) = learnt.last().filter(|last| last.start > 0) else {
            continue;
        };
        if interrupted() {
            break;
        }
        let prompt = &tokens[..last.start];
        answers.push(Answer {
            prompt: text(prompt),
            wanted: Some(text(&tokens[last.clone()])),
            base: answer(prompt, &base)?,
            tuned: answer(prompt, tuned)?,
        });
    }
    Ok(answers)
}

fn text(tokens: &[u32]) -> String {
    Tokenizer::world().display(tokens)
}

/// What the run ran on.
pub fn machine(model: &Rwkv) -> Vec<(String, String)> {
    let processor = system::processor();
    // Of a clock that is before 1970, too.
    let ended = DateTime::<Utc>::from(SystemTime::now()).format("%a, %d %b %Y %H:%M:%S GMT");
    [
        (
            "program",
            concat!("state-tune ", env!("CARGO_PKG_VERSION")).to_string(),
        ),
        ("ended", ended.to_string()),
        ("model", model.config().to_string()),
        (
            "processor",
            processor.unwrap_or_else(|| "unknown".to_string()),
        ),
        ("threads", rayon::current_num_threads().to_string()),
        ("instructions", Level::current().to_string()),
        ("products in", model.compute().product.to_string()),
        ("weights", model.compute().weights.to_string()),
    ]
    .map(|(what, value)| (what.to_string(), value))
    .to_vec()
}
