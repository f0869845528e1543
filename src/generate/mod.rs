//! Text from a model, token by token: a prompt is read from a state on, and each next token is chosen, shown and read
//! in turn, until something ends the answer. Each token costs the same, however long the text is.

mod draw;
mod stop;

use std::io;

use anyhow::{Context, Result, bail};
use serde::Serialize;

use self::draw::Draw;
use self::stop::Stop;
use crate::model::{Reader, Rwkv, State};
use crate::tokenizer::{Tokenizer, Utf8Stream};

/// How answers are made.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Longest answer.
    pub max_tokens: usize,
    /// 0 takes the likeliest token each time; above it tokens are drawn, the larger the more freely.
    pub temperature: f64,
    /// Draw only among the likeliest tokens, whose probabilities sum to this; 1 is all of them.
    pub top_p: f64,
    /// Decides what is drawn.
    pub seed: u64,
    /// A text that ends an answer and is no part of it; `None` takes two newlines for the end.
    pub stop: Option<String>,
}

impl Settings {
    /// The likeliest token each time.
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
pub enum End {
    /// The token of two newlines, which ends a turn.
    BlankLine,
    /// Token 0.
    EndOfText,
    /// The limit on tokens.
    Limit,
    /// The text that was to end it.
    Stop,
}

/// A text that is read and written in turns. A turn costs its own tokens only.
pub struct Talk<'a> {
    model: &'a Rwkv,
    settings: &'a Settings,
    draw: Draw,
    reader: Reader<'a>,
}

impl<'a> Talk<'a> {
    /// Begins at `state`, whose soft prompt is read before the first turn, with a fresh random generator.
    pub fn new(model: &'a Rwkv, state: &State, settings: &'a Settings) -> Self {
        Self {
            model,
            settings,
            draw: Draw::new(settings),
            reader: Reader::new(model, state),
        }
    }

    /// Reads `prompt` and writes an answer, whose text it hands over as it comes. A token that ends the answer without
    /// being part of it (two newlines, token 0) is not read.
    pub fn answer(
        &mut self,
        prompt: &[u32],
        mut each: impl FnMut(&str) -> io::Result<()>,
    ) -> Result<End> {
        let vocab_size = self.model.config().vocab_size;
        if let Some(id) = prompt.iter().find(|&&id| id as usize >= vocab_size) {
            bail!("the prompt's token {id} is not among the model's {vocab_size} tokens");
        }
        let tokenizer = Tokenizer::world();
        let mut stop = Stop::new(self.settings.stop.as_deref());
        // What this holds back at the end is the beginning of a character that never came; it is not shown.
        let mut text = Utf8Stream::new();
        let mut show = |bytes: &[u8]| each(&text.push(bytes)).context("cannot write the answer");
        let mut logits = self.reader.read(prompt)?;
        let mut made = 0;
        let end = loop {
            let next = self.draw.next(&logits)?;
            match tokenizer.token(next) {
                _ if next == 0 => break End::EndOfText,
                Some(b"\n\n") if self.settings.stop.is_none() => break End::BlankLine,
                _ if made == self.settings.max_tokens => break End::Limit,
                _ => made += 1,
            }
            let (bytes, stopped) = stop.push(&tokenizer.decode(&[next]));
            show(&bytes)?;
            logits = self.reader.read(&[next])?;
            if stopped {
                break End::Stop;
            }
        };
        show(&stop.rest())?;
        Ok(end)
    }
}

/// The answer to one prompt, whole.
pub fn answer(
    model: &Rwkv,
    prompt: &[u32],
    state: &State,
    settings: &Settings,
) -> Result<(String, End)> {
    let mut text = String::new();
    let end = Talk::new(model, state, settings).answer(prompt, |piece| {
        text.push_str(piece);
        Ok(())
    })?;
    Ok((text, end))
}
