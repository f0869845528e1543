//! Test mode: answer a prompt greedily, by the base model and from the tuned state, token by token.

use std::io;
use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};

use crate::fetch::{self, Patience, Remote};
use crate::model::{Checkpoint, Rwkv5, State};
use crate::ops::linear::Product;
use crate::report::{self, say};
use crate::state_file;
use crate::tokenizer::{Tokenizer, Utf8Stream};

/// What to answer, and by what.
#[derive(Clone, Debug)]
pub struct Options {
    pub model: PathBuf,
    pub model_remote: Option<Remote>,
    /// The tuned state.
    pub state: PathBuf,
    pub prompt: String,
    pub max_tokens: usize,
    /// Take a state that was tuned on another model of the same shape.
    pub force: bool,
    pub product: Product,
}

/// Why an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The token of two newlines, which ends a turn.
    BlankLine,
    /// Token 0.
    EndOfText,
    /// The limit on tokens.
    Limit,
}

/// Shows both answers, each under its heading.
pub fn run(options: &Options) -> Result<()> {
    let state = &options.state;
    ensure!(
        state.exists(),
        "--save_filename {} does not exist; tune a state first, or name another with --save_filename",
        state.display()
    );
    fetch::ensure(
        &options.model,
        "--model_location",
        options.model_remote.as_ref(),
        &Patience::default(),
    )?;
    let checkpoint = Checkpoint::open(&options.model)?;
    let model = Rwkv5::load(&checkpoint, options.product)
        .with_context(|| format!("cannot use the model {}", options.model.display()))?;
    let read = || -> Result<State, state_file::Error> {
        let found = state_file::open(state, None)?;
        if !options.force {
            found.check_model(model.fingerprint())?;
        }
        found.fit(model.config())
    };
    let tuned = read()
        .with_context(|| format!("cannot use the state --save_filename {}", state.display()))?;
    let prompt = Tokenizer::world().encode(&options.prompt);
    ensure!(
        !prompt.is_empty(),
        "--prompt is empty; give the model something to answer"
    );

    say("== base model ==");
    show(
        &model,
        &prompt,
        &State::zeros(model.config())?,
        options.max_tokens,
    )?;
    say("");
    say("== tuned state ==");
    show(&model, &prompt, &tuned, options.max_tokens)
}

fn show(model: &Rwkv5, prompt: &[u32], state: &State, max_tokens: usize) -> Result<()> {
    let mut text = Utf8Stream::new();
    let end = greedy(model, prompt, state, max_tokens, |bytes| {
        report::stream(&text.push(bytes))
    })?;
    // What `text` still holds back is the beginning of a character that never came; it is not shown.
    say("");
    if end == End::Limit {
        say(&format!("[stopped at --max_tokens {max_tokens}]"));
    }
    Ok(())
}

/// A whole answer as text.
pub fn answer(
    model: &Rwkv5,
    prompt: &str,
    state: &State,
    max_tokens: usize,
) -> Result<(String, End)> {
    let (mut stream, mut text) = (Utf8Stream::new(), String::new());
    let end = greedy(
        model,
        &Tokenizer::world().encode(prompt),
        state,
        max_tokens,
        |bytes| {
            text.push_str(&stream.push(bytes));
            Ok(())
        },
    )?;
    Ok((text, end))
}

/// Reads `prompt` from `state` on and hands over the bytes of each likeliest next token, until something ends it. Each
/// token costs the same, however long the text is.
pub fn greedy(
    model: &Rwkv5,
    prompt: &[u32],
    state: &State,
    max_tokens: usize,
    mut each: impl FnMut(&[u8]) -> io::Result<()>,
) -> Result<End> {
    let tokenizer = Tokenizer::world();
    let vocab_size = model.config().vocab_size;
    if let Some(id) = prompt.iter().find(|&&id| id as usize >= vocab_size) {
        bail!("the prompt's token {id} is not among the model's {vocab_size} tokens");
    }
    let (mut logits, mut state) = model.advance(prompt, state)?;
    for made in 0.. {
        let next = likeliest(&logits)?;
        match tokenizer.token(next) {
            _ if next == 0 => return Ok(End::EndOfText),
            Some(b"\n\n") => return Ok(End::BlankLine),
            _ if made == max_tokens => return Ok(End::Limit),
            _ => each(&tokenizer.decode(&[next])).context("cannot write the answer")?,
        }
        (logits, state) = model.advance(&[next], &state)?;
    }
    unreachable!("the loop ends at a limit at the latest")
}

/// The index of the largest logit, the first of equals.
fn likeliest(logits: &[f32]) -> Result<u32> {
    let mut best = 0;
    for (i, &logit) in logits.iter().enumerate() {
        ensure!(
            logit.is_finite(),
            "the model's prediction for token {i} is {logit}: the model or the state is broken"
        );
        if logit > logits[best] {
            best = i;
        }
    }
    Ok(best as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_equal_logits_wins_and_broken_ones_are_refused() {
        assert_eq!(likeliest(&[0.0, 2.0, 2.0, 1.0]).unwrap(), 1);
        assert!(likeliest(&[0.0, f32::NAN]).is_err());
    }
}
