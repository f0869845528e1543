//! `--report`: what a run came to, gathered for the page that shows it.

use std::time::SystemTime;

use anyhow::Result;
use candle_core::Tensor;

use super::step::Work;
use super::{Data, Learner, Options};
use crate::data::Example;
use crate::generate::{Settings, Talk};
use crate::memory;
use crate::model::{Rwkv5, State};
use crate::ops::level::Level;
use crate::report::{Answer, History, LayerNorms, Page};
use crate::tokenizer::Tokenizer;

/// Examples that are answered, and how long at most.
const ANSWERS: usize = 6;
const TOKENS: usize = 60;

/// The page of a run that learnt `state`.
pub fn page<'a>(
    work: &Work<'a>,
    state: &State,
    history: &'a History,
    summary: &'a str,
) -> Result<Page<'a>> {
    let &Work {
        options,
        model,
        data,
        ..
    } = work;
    let name = options.save.file_name().and_then(|name| name.to_str());
    let start = Learner::new(model.config(), options.tune, options.init, options.seed)?.state();
    let soft_prompt = state.soft_prompt.as_ref();
    Ok(Page {
        title: name.unwrap_or("a state"),
        summary,
        history,
        norms: moved(state, &start)?,
        soft_prompt: soft_prompt.map(norm).transpose()?,
        answers: answers(model, data, state)?,
        options: options.flags.clone(),
        machine: machine(options, model),
    })
}

/// How far each layer's parts went from where they started.
fn moved(state: &State, start: &State) -> Result<Vec<LayerNorms>> {
    let (shifts, wkv) = ((&state.shifts - &start.shifts)?, (&state.wkv - &start.wkv)?);
    let (layers, heads, ..) = wkv.dims4()?;
    let layer = |i: usize| -> Result<LayerNorms> {
        let wkv = wkv.get(i)?;
        Ok(LayerNorms {
            att_shift: norm(&shifts.get(2 * i)?)?,
            ffn_shift: norm(&shifts.get(2 * i + 1)?)?,
            wkv: (0..heads)
                .map(|head| norm(&wkv.get(head)?))
                .collect::<Result<_>>()?,
        })
    };
    (0..layers).map(layer).collect()
}

fn norm(tensor: &Tensor) -> Result<f64> {
    Ok(f64::from(tensor.sqr()?.sum_all()?.to_scalar::<f32>()?).sqrt())
}

/// Answers to a few examples, from all over the held-out ones if there are any.
fn answers(model: &Rwkv5, data: &Data, tuned: &State) -> Result<Vec<Answer>> {
    let examples = match data.held_out.is_empty() {
        true => &data.examples,
        false => &data.held_out,
    };
    let base = State::zeros(model.config())?;
    let apart = examples.len().div_ceil(ANSWERS);
    let with_prompt = examples
        .iter()
        .step_by(apart)
        .filter(|example| example.prompt_len > 0);
    with_prompt
        .map(
            |Example {
                 tokens, prompt_len, ..
             }| {
                let (prompt, wanted) = tokens.split_at(*prompt_len);
                Ok(Answer {
                    prompt: text(prompt),
                    wanted: Some(text(wanted)),
                    base: answer(model, prompt, &base)?,
                    tuned: answer(model, prompt, tuned)?,
                })
            },
        )
        .collect()
}

fn answer(model: &Rwkv5, prompt: &[u32], state: &State) -> Result<String> {
    let (settings, mut text) = (Settings::greedy(TOKENS), String::new());
    Talk::new(model, state, &settings).answer(prompt, |piece| {
        text.push_str(piece);
        Ok(())
    })?;
    Ok(text)
}

fn text(tokens: &[u32]) -> String {
    String::from_utf8_lossy(&Tokenizer::world().decode(tokens)).into_owned()
}

/// What the run ran on.
fn machine(options: &Options, model: &Rwkv5) -> Vec<(String, String)> {
    let processor = memory::processor();
    [
        (
            "program",
            concat!("state-tune ", env!("CARGO_PKG_VERSION")).to_string(),
        ),
        ("ended", httpdate::fmt_http_date(SystemTime::now())),
        ("model", model.config().to_string()),
        (
            "processor",
            processor.unwrap_or_else(|| "unknown".to_string()),
        ),
        ("threads", rayon::current_num_threads().to_string()),
        ("instructions", Level::current().to_string()),
        ("products in", options.product.to_string()),
    ]
    .map(|(what, value)| (what.to_string(), value))
    .to_vec()
}
