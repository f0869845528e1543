//! Text from a model, token by token: the model reads a prompt, starting from a state; then each
//! next token is chosen, shown and read in turn, until something ends the answer. Each token costs
//! the same, however long the text is.

mod sampler;
mod stop_text;

use std::io;
use std::ops::ControlFlow;

use anyhow::{Context, Result, bail};
use serde::Serialize;

use self::sampler::Sampler;
use self::stop_text::StopText;
use crate::model::{Reader, Rwkv, State};
use crate::tokenizer::{END_OF_TEXT_TOKEN, Text, Tokenizer, Utf8Stream};

/// How answers are made.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The most tokens of an answer.
    pub max_tokens: usize,
    /// 0 takes the most likely token each time. Above 0 tokens are drawn; the larger it is, the
    /// more often unlikely ones.
    pub temperature: f64,
    /// Draw only from the most likely tokens, whose probabilities sum to this; 1 is all tokens.
    pub top_p: f64,
    /// Seeds what is drawn.
    pub seed: u64,
    /// The text that ends an answer and is no part of it; `None` is two newlines. The end-of-text
    /// token always ends one.
    pub stop: Option<Text>,
}

impl Settings {
    /// The most likely token each time.
    pub fn greedy(max_tokens: usize) -> Self {
        Self {
            max_tokens,
            temperature: 0.0,
            top_p: 1.0,
            seed: 0,
            stop: None,
        }
    }
}

/// Why an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// The token of two newlines, which ends a turn.
    BlankLine,
    /// The end-of-text token.
    EndOfText,
    /// [`Settings::max_tokens`].
    Limit,
    /// The text in [`Settings::stop`].
    Stop,
    /// Whoever was given the text wanted no more, by an error of the kind
    /// [`Interrupted`](io::ErrorKind::Interrupted).
    Interrupted,
}

/// A conversation: prompts and answers in turns. A turn costs its own tokens only.
pub struct Talk<'a> {
    model: &'a Rwkv,
    settings: &'a Settings,
    sampler: Sampler,
    reader: Reader<'a>,
}

impl<'a> Talk<'a> {
    /// Begins at `state`, whose soft prompt is read before the first turn, with a new random
    /// generator.
    pub fn new(model: &'a Rwkv, state: &State, settings: &'a Settings) -> Result<Self> {
        Ok(Self {
            model,
            settings,
            sampler: Sampler::new(settings),
            reader: Reader::new(model, state)?,
        })
    }

    /// Reads `prompt` and writes an answer, whose text it gives to `each` as it comes. A token that
    /// ends the answer by itself (two newlines, the end-of-text token) is not read; a text that ends
    /// it is.
    pub fn answer(
        &mut self,
        prompt: &[u32],
        mut each: impl FnMut(&str) -> io::Result<()>,
    ) -> Result<FinishReason> {
        let vocab_size = self.model.config().vocab_size;
        if let Some(id) = prompt.iter().find(|&&id| id as usize >= vocab_size) {
            bail!("the prompt's token {id} is not among the model's {vocab_size} tokens");
        }
        let tokenizer = Tokenizer::world();
        let mut stop = StopText::new(self.settings.stop.as_ref());
        // At the end it may hold the beginning of a character that never came, which is not shown.
        let mut text = Utf8Stream::new();
        let mut show = |bytes: &[u8]| match each(&text.push(bytes)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(ControlFlow::Break(())),
            shown => shown
                .map(ControlFlow::Continue)
                .context("cannot write the answer"),
        };
        let mut logits = self.reader.read(prompt)?;
        let mut made = 0;
        let end = loop {
            let next = self.sampler.next(&logits)?;
            match tokenizer.token(next) {
                _ if next == END_OF_TEXT_TOKEN => {
                    let (bytes, stopped) = stop.push_end_of_text();
                    // Nothing is left to break off.
                    let _: ControlFlow<()> = show(&bytes)?;
                    if !stopped {
                        break FinishReason::EndOfText;
                    }
                    self.reader.read(&[next])?;
                    break FinishReason::Stop;
                }
                Some(b"\n\n") if self.settings.stop.is_none() => break FinishReason::BlankLine,
                _ if made == self.settings.max_tokens => break FinishReason::Limit,
                _ => made += 1,
            }
            let (bytes, stopped) = stop.push(&tokenizer.decode(&[next]));
            let go_on = show(&bytes)?;
            logits = self.reader.read(&[next])?;
            if stopped {
                break FinishReason::Stop;
            }
            if go_on.is_break() {
                break FinishReason::Interrupted;
            }
        };
        let _: ControlFlow<()> = show(&stop.rest())?;
        Ok(end)
    }
}

/// The answer to one prompt, whole.
pub fn answer(
    model: &Rwkv,
    prompt: &[u32],
    state: &State,
    settings: &Settings,
) -> Result<(String, FinishReason)> {
    let mut text = String::new();
    let end = Talk::new(model, state, settings)?.answer(prompt, |piece| {
        text.push_str(piece);
        Ok(())
    })?;
    Ok((text, end))
}
