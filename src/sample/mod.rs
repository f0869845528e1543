//! Test mode: answers of the base model and from the tuned state, to one prompt, to a file of
//! prompts, or in a conversation.

mod interactive;
mod prompts;

use std::io;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

pub use self::interactive::KEY;

use crate::console::Console;
use crate::data::Formats;
use crate::data::line_ends::LineEnds;
use crate::data::template::Template;
use crate::data::typed;
use crate::distributed::{Ranks, Role};
use crate::fetch::Remote;
use crate::generate::{FinishReason, Settings, Talk};
use crate::model::{self, Rwkv, State};
use crate::ops::Compute;
use crate::ops::cpu::Processor;
use crate::ops::device::{DeviceChoice, Opened};
use crate::ops::linear::{ProductType, Weights};
use crate::setting::{
    MAX_TOKENS, PROMPT, PROMPT_FORMATTER, PROMPTS, RESPONSE_END, RESPONSE_FORMATTER, SAVE_FILENAME,
    SYSTEM_FORMATTER,
};
use crate::state_file::{self, OtherModel};
use crate::system::signals::{Later, Listener};
use crate::tokenizer::{Text, Tokenizer};

/// What to answer, and with which model and state.
#[derive(Clone, Debug)]
pub struct Options {
    /// The frozen model.
    pub model: PathBuf,
    /// Where the model is downloaded from if it is not on disk.
    pub model_remote: Option<Remote>,
    /// The tuned state.
    pub state: PathBuf,
    /// What is answered.
    pub ask: Ask,
    /// What to tell of the texts that were typed round the prompts, a line each.
    pub told: Vec<String>,
    /// What becomes of line ends in a prompt that is typed.
    pub line_ends: LineEnds,
    /// How a token is drawn, and what ends an answer unless the state says it.
    pub settings: Settings,
    /// Who says what ends an answer.
    pub end: End,
    /// Whether the state may have been tuned on another model of the same shape.
    pub other_model: OtherModel,
    /// The processor, or a GPU.
    pub device: DeviceChoice,
    /// `None` is f32.
    pub product: Option<ProductType>,
    /// How the frozen matrices are stored.
    pub weights: Weights,
    /// What the processor does for the run, which [`Processor::run`] sets up around it.
    pub processor: Processor,
}

/// Where the prompts come from.
#[derive(Clone, Debug, PartialEq)]
pub enum Ask {
    /// One, as it stands.
    Prompt(String),
    /// Each line of a file.
    Prompts {
        /// The JSONL file; a line is an object, or a string that stands as it is.
        path: PathBuf,
        /// How an object becomes a prompt.
        formats: Formats,
    },
    /// Lines typed one after another; each is the formatter's [`KEY`].
    Interactive {
        /// What each line is put into.
        formatter: Template,
    },
}

/// Who says what ends an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// [`Settings::stop`].
    Settings,
    /// The state, if it says with which end it was tuned, and [`Settings::stop`] if not.
    State,
}

/// The model, and the states that it answers from.
struct Loaded {
    model: Rwkv,
    base: State,
    tuned: State,
}

/// Answers what is asked for, on `console`. Returns the signal that broke the answer to one prompt
/// off, if one came.
pub fn run(options: &Options, console: &Console) -> Result<Option<i32>> {
    run_on(&Ranks::one(), options, console)
}

/// The same as one of several ranks, each of which is to call it with the same options. They share a
/// file of prompts out, whose answers the first rank shows; what is asked otherwise, it answers alone.
pub fn run_on(ranks: &Ranks, options: &Options, console: &Console) -> Result<Option<i32>> {
    match (&options.ask, ranks.role()) {
        (Ask::Prompts { .. }, _) => ranks.agree(run_rank(ranks, options, &ranks.shared(console))),
        (Ask::Prompt(_) | Ask::Interactive { .. }, Role::First) => {
            run_rank(ranks, options, console)
        }
        (Ask::Prompt(_) | Ask::Interactive { .. }, Role::Other) => Ok(None),
    }
}

fn run_rank(ranks: &Ranks, options: &Options, console: &Console) -> Result<Option<i32>> {
    let state = &options.state;
    ensure!(
        state.exists(),
        "{SAVE_FILENAME} {} does not exist; tune a state first, or name another with {SAVE_FILENAME}",
        state.display()
    );
    // Lines about the prompts, or a model that is fetched, are no JSON.
    let beside = match options.ask {
        Ask::Prompts { .. } => &console.beside_output(),
        Ask::Prompt(_) | Ask::Interactive { .. } => console,
    };
    for line in &options.told {
        beside.line(&format!("note   {line}"));
    }
    let options = &Options {
        device: options.device.of_rank(ranks.local_rank()),
        ..as_tuned(options, beside)?
    };
    let settings = &options.settings;
    match &options.ask {
        Ask::Prompt(prompt) => {
            ensure!(
                !prompt.is_empty(),
                "{PROMPT} is empty; give the model something to answer"
            );
            let mut prompt = prompt.clone();
            let is_changed = options.line_ends.apply(&mut prompt);
            let prompt = Text::typed(&prompt);
            let notes = [
                is_changed
                    .then(|| typed::new_line_ends(&[PROMPT]))
                    .flatten(),
                typed::foreign_signs([(PROMPT, &prompt)]),
            ];
            for line in notes.into_iter().flatten() {
                console.line(&format!("note   {line}"));
            }
            let loaded = load(options, console)?;
            return show_both(&loaded, &prompt, settings, console);
        }
        Ask::Prompts { path, formats } => {
            let prompts = prompts::read(path, formats, beside)?;
            let loaded = load(options, beside)?;
            prompts::answer(ranks, &loaded, &prompts, settings, console)
                .with_context(|| format!("cannot answer {PROMPTS} {}", path.display()))?;
        }
        Ask::Interactive { formatter } => {
            let loaded = load(options, console)?;
            interactive::run(&loaded, formatter, options, console)?;
        }
    }
    Ok(None)
}

/// The options, with what the state says of the texts that it was tuned with: where nothing else was
/// said, answers end as those did that it learnt. What differs is said on `console`.
fn as_tuned(options: &Options, console: &Console) -> Result<Options> {
    let mut options = options.clone();
    let state = options.state.display();
    let texts = state_file::texts(&options.state)
        .with_context(|| format!("cannot use the state {SAVE_FILENAME} {state}"))?;
    let Some(texts) = texts else {
        return Ok(options);
    };
    let tuned = &texts.prompt_formatter;
    let used = match &options.ask {
        Ask::Prompt(_) => Vec::new(),
        Ask::Prompts { formats, .. } => vec![
            (PROMPT_FORMATTER, &formats.prompt, tuned),
            (
                RESPONSE_FORMATTER,
                &formats.response,
                &texts.response_formatter,
            ),
            (SYSTEM_FORMATTER, &formats.system, &texts.system_formatter),
        ],
        Ask::Interactive { formatter } => vec![(PROMPT_FORMATTER, formatter, tuned)],
    };
    for (setting, formatter, tuned) in used {
        if formatter.to_string() != *tuned {
            console.line(&format!(
                "note   {state} was tuned with another {setting}, {tuned:?}"
            ));
        }
    }
    let end = &texts.response_end;
    if options.end == End::State && !end.is_empty() {
        console.line(&format!(
            "note   answers end at {end:?}, the {RESPONSE_END} that {state} was tuned with; give \
             {RESPONSE_END} to end them elsewhere"
        ));
        let end = Text::typed(end);
        if let Ask::Prompts { formats, .. } = &mut options.ask {
            formats.end = end.clone();
        }
        options.settings.stop = Some(end);
    }
    Ok(options)
}

fn load(options: &Options, console: &Console) -> Result<Loaded> {
    model::obtain(&options.model, options.model_remote.as_ref(), console)?;
    let Opened { compute, note } =
        Compute::exact(options.device, options.product, options.weights)?;
    if let Some(note) = note {
        console.line(&format!("note   {note}"));
    }
    let model = Rwkv::open(&options.model, &compute)
        .map_err(|error| model::with_way_out(error, SAVE_FILENAME))?;
    for note in model.notes() {
        console.line(&format!("note   {note}"));
    }
    if model.has_state() {
        console.line(
            "note   the model has a state of its own (time_state), from which its base answers start",
        );
    }
    let state = &options.state;
    let tuned = state_file::open_for(&model, state, None, options.other_model)
        .with_context(|| format!("cannot use the state {SAVE_FILENAME} {}", state.display()))?;
    if let Some(unused) = tuned.unused() {
        console.line(&format!("note   {unused}"));
    }
    Ok(Loaded {
        base: model.start()?.to_device(&compute.device)?,
        tuned: tuned.state.to_device(&compute.device)?,
        model,
    })
}

/// Shows both answers, each under its heading, and says what ended them. Returns the signal that
/// broke them off, if one came.
fn show_both(
    loaded: &Loaded,
    prompt: &Text,
    settings: &Settings,
    console: &Console,
) -> Result<Option<i32>> {
    if ends_in_blank(prompt) {
        console.line(&format!("note   {PROMPT} ends in a blank; {BLANK_ADVICE}"));
    }
    let prompt = prompt.encode(Tokenizer::world());
    // What was said so far is kept, and what ended it is told.
    let signals =
        Listener::new(|_| {}, Later::Ends(Box::new(|| {}))).context("cannot listen for signals")?;
    for (heading, state) in [
        ("== base model ==", &loaded.base),
        ("\n== tuned state ==", &loaded.tuned),
    ] {
        console.line(heading);
        let mut talk = Talk::new(&loaded.model, state, settings);
        let end = talk.answer(&prompt, |piece| {
            console.stream(piece)?;
            match signals.caught() {
                Some(_) => Err(io::ErrorKind::Interrupted.into()),
                None => Ok(()),
            }
        })?;
        console.line(&format!("\n[{}]", meaning(end, settings)));
        if end == FinishReason::Interrupted {
            return Ok(signals.caught());
        }
    }
    Ok(None)
}

/// What is said of a prompt that ends in a blank.
const BLANK_ADVICE: &str = "a token holds a word with the blank before it, so answers to such a \
                            prompt tend to be worse; leave the blank out";

/// Whether a space or a tab stands at the end. A newline there is common.
fn ends_in_blank(prompt: &Text) -> bool {
    prompt
        .parts()
        .last()
        .is_some_and(|last| last.ends_with([' ', '\t']))
}

/// What ended an answer, in words.
fn meaning(end: FinishReason, settings: &Settings) -> String {
    match end {
        FinishReason::BlankLine => "ended at a blank line".to_owned(),
        FinishReason::EndOfText => "ended at the end-of-text token".to_owned(),
        FinishReason::Limit => format!("stopped at {MAX_TOKENS} {}", settings.max_tokens),
        FinishReason::Stop => format!("ended at {RESPONSE_END}"),
        FinishReason::Interrupted => "stopped by a signal".to_owned(),
    }
}

/// Shows an answer as it comes, and says so if it was cut short.
fn show(
    talk: &mut Talk,
    prompt: &[u32],
    settings: &Settings,
    console: &Console,
) -> Result<FinishReason> {
    let reason = talk.answer(prompt, |piece| console.stream(piece))?;
    console.line("");
    if reason == FinishReason::Limit {
        console.line(&format!("[{}]", meaning(reason, settings)));
    }
    Ok(reason)
}
