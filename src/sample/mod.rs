//! Test mode: answers of the base model and from the tuned state, to one prompt, to a file of
//! prompts, or in a conversation.

mod interactive;
mod prompts;

use std::io;
use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};

use crate::console::{self, Console};
use crate::data::Formats;
use crate::data::template::Template;
use crate::data::typed::{self, AROUND_DATA};
use crate::data::words;
use crate::distributed::{Ranks, Role};
use crate::fetch::Remote;
use crate::generate::{FinishReason, Settings, Talk};
use crate::model::{self, Rwkv, State};
use crate::ops::Compute;
use crate::ops::cpu::Processor;
use crate::ops::device::{DeviceChoice, Opened};
use crate::ops::linear::{ProductType, Weights};
use crate::setting::{
    INIT, INTERACTIVE, MAX_TOKENS, PROMPT, PROMPT_FORMATTER, PROMPTS, RESPONSE_END, SAVE_FILENAME,
    Setting,
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
    /// What is typed for where training starts, if anything is.
    pub init: Option<String>,
    /// What is answered.
    pub ask: Ask,
    /// The texts round what is asked, and the text at which answers end.
    pub formats: Formats,
    /// Which of them were typed; the state says the others, if it knows with which it was tuned.
    pub typed: Vec<Setting>,
    /// Flags that were typed and have no effect on answers.
    pub unused: Vec<String>,
    /// How a token is drawn.
    pub settings: Settings,
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
    ///
    /// The JSONL file; a line is an object, or a string that stands as it is.
    Prompts(PathBuf),
    /// Lines typed one after another; each stands under the only key of the prompts' formatter.
    Interactive,
}

impl Ask {
    /// Which of the texts round it are used.
    pub fn used(&self) -> &'static [Setting] {
        match self {
            Self::Prompt(_) => &[RESPONSE_END],
            Self::Prompts(_) => &AROUND_DATA,
            Self::Interactive => &[PROMPT_FORMATTER, RESPONSE_END],
        }
    }
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
        (Ask::Prompts(_), _) => ranks.agree(run_rank(ranks, options, console)),
        (Ask::Prompt(_) | Ask::Interactive, Role::First) => {
            run_rank(&Ranks::one(), options, console)
        }
        (Ask::Prompt(_) | Ask::Interactive, Role::Other) => Ok(None),
    }
}

fn run_rank(ranks: &Ranks, options: &Options, console: &Console) -> Result<Option<i32>> {
    let (console, own) = (&ranks.shared(console), &ranks.own(console));
    let state = &options.state;
    ensure!(
        state.exists(),
        "{SAVE_FILENAME} {} does not exist; tune a state first, or name another with {SAVE_FILENAME}",
        state.display()
    );
    // Lines about the prompts, or a model that is fetched, are no JSON.
    let beside = match options.ask {
        Ask::Prompts(_) => &console.beside_output(),
        Ask::Prompt(_) | Ask::Interactive => console,
    };
    if !options.unused.is_empty() {
        let unused = words::joined(&options.unused);
        beside.line(&format!("note   not used for answers: {unused}"));
    }
    for line in options.formats.told(options.ask.used()) {
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
            let is_changed = options.formats.line_ends.apply(&mut prompt);
            let prompt = Text::typed(&prompt);
            let new_line_ends = is_changed.then(|| typed::new_line_ends(&[PROMPT]));
            let new_line_ends = new_line_ends.flatten();
            for line in new_line_ends
                .into_iter()
                .chain(typed::signs([(PROMPT, &prompt)]))
            {
                console.line(&format!("note   {line}"));
            }
            let loaded = load(ranks, options, console, own)?;
            return show_both(&loaded, &prompt, settings, console);
        }
        Ask::Prompts(path) => {
            ranks.check_rows(PROMPTS, path)?;
            let prompts = prompts::read(path, &options.formats, beside)?;
            let loaded = load(ranks, options, beside, &own.beside_output())?;
            prompts::answer(ranks, &loaded, &prompts, settings, console)
                .with_context(|| format!("cannot answer {PROMPTS} {}", path.display()))?;
        }
        Ask::Interactive => {
            let key = typed_key(&options.formats.prompt)?;
            let loaded = load(ranks, options, console, own)?;
            interactive::run(&loaded, &key, options, console)?;
        }
    }
    Ok(None)
}

/// The options, with the texts that the state was tuned with where others were not typed. What that
/// changes is said on `console`.
fn as_tuned(options: &Options, console: &Console) -> Result<Options> {
    let mut options = options.clone();
    let cannot_use = || {
        format!(
            "cannot use the state {SAVE_FILENAME} {}",
            options.state.display()
        )
    };
    let tag = state_file::tag_of(&options.state).with_context(cannot_use)?;
    if let Some(texts) = tag.and_then(|tag| tag.texts) {
        let (used, typed) = (options.ask.used(), &options.typed);
        let told = texts.put_into(&mut options.formats, used, typed);
        for line in told.with_context(cannot_use)? {
            console.line(&format!("note   {line}"));
        }
    }
    options.settings.stop = Some(options.formats.end.clone()).filter(|end| !end.is_empty());
    Ok(options)
}

/// The key under which what is typed in a talk stands: the formatter's only one.
pub fn typed_key(formatter: &Template) -> Result<String> {
    match formatter.only_key() {
        Some(key) => Ok(key.to_owned()),
        None => bail!(
            "{INTERACTIVE} puts each line that is typed into {PROMPT_FORMATTER}, where one key must stand, \
             such as {{input}}, and no other; give another {PROMPT_FORMATTER}"
        ),
    }
}

fn load(ranks: &Ranks, options: &Options, console: &Console, own: &Console) -> Result<Loaded> {
    ranks.fetch_once(|| model::obtain(&options.model, options.model_remote.as_ref(), own))?;
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
    // With zeros in its place, or nothing to be in place of.
    let is_bare = !model.has_state() || options.init.as_deref() == Some("zeros");
    if !is_bare {
        console.line(&format!(
            "note   the model has a state of its own (time_state), from which its base answers start; {INIT} zeros \
             has them start without"
        ));
    }
    if let Some(init) = &options.init
        && !["zeros", "model"].contains(&init.as_str())
    {
        console.line(&format!(
            "note   {INIT} {init} is not used: answers start from the model and from {SAVE_FILENAME}"
        ));
    }
    let state = &options.state;
    let tuned = state_file::open_for(&model, state, None, options.other_model)
        .with_context(|| format!("cannot use the state {SAVE_FILENAME} {}", state.display()))?;
    if let Some(unused) = tuned.unused() {
        console.line(&format!("note   {unused}"));
    }
    Ok(Loaded {
        base: match is_bare {
            true => State::zeros(model.config())?,
            false => model.start()?,
        }
        .to_device(&compute.device)?,
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
    loaded.model.check_files()?;
    // What was said so far is kept, and what ended it is told.
    let signals = console::write_aside()
        .and_then(|()| Listener::new(|_| console::hurry(), Later::Ends(Box::new(|| {}))))
        .context("cannot listen for signals")?;
    for (heading, state) in [
        ("== base model ==", &loaded.base),
        ("\n== tuned state ==", &loaded.tuned),
    ] {
        console.line(heading);
        let mut talk = Talk::new(&loaded.model, state, settings)?;
        let end = talk.answer(&prompt, |piece| {
            console.stream(piece)?;
            match signals.caught() {
                Some(_) => Err(io::ErrorKind::Interrupted.into()),
                None => Ok(()),
            }
        })?;
        loaded.model.check_files()?;
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

/// Shows an answer as it comes, and says so if it was cut short. Errors when the model has changed
/// by then, or had before.
fn show(
    model: &Rwkv,
    talk: &mut Talk,
    prompt: &[u32],
    settings: &Settings,
    console: &Console,
) -> Result<FinishReason> {
    model.check_files()?;
    let reason = talk.answer(prompt, |piece| console.stream(piece))?;
    console.line("");
    model.check_files()?;
    if reason == FinishReason::Limit {
        console.line(&format!("[{}]", meaning(reason, settings)));
    }
    Ok(reason)
}
