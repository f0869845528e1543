//! Test mode: answers by the base model and from the tuned state, to one prompt, to a file of them, or in a talk.

mod interactive;
mod prompts;

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

pub use self::interactive::KEY;

use crate::console::{self, print};
use crate::data::Formats;
use crate::data::template::Template;
use crate::fetch::{self, Patience, Remote};
use crate::generate::{End, Settings, Talk};
use crate::model::{Rwkv, State};
use crate::ops::Compute;
use crate::ops::device::Choice;
use crate::ops::linear::{Product, Weights};
use crate::state_file;
use crate::tokenizer::Tokenizer;

/// What to answer, and by what.
#[derive(Clone, Debug)]
pub struct Options {
    pub model: PathBuf,
    pub model_remote: Option<Remote>,
    /// The tuned state.
    pub state: PathBuf,
    pub ask: Ask,
    pub settings: Settings,
    /// Take a state that was tuned on another model of the same shape.
    pub force: bool,
    pub device: Choice,
    /// `None` is f32.
    pub product: Option<Product>,
    /// What the frozen matrices are held as.
    pub weights: Weights,
}

/// Where the prompts come from.
#[derive(Clone, Debug, PartialEq)]
pub enum Ask {
    /// One, as it stands.
    Prompt(String),
    /// Each line of a file.
    Prompts { path: PathBuf, formats: Formats },
    /// Lines typed one after another; each is the formatter's [`KEY`].
    Interactive { formatter: Template },
}

/// The model and the states that answer.
struct Sides {
    model: Rwkv,
    base: State,
    tuned: State,
}

/// Answers what is asked for.
pub fn run(options: &Options) -> Result<()> {
    let state = &options.state;
    ensure!(
        state.exists(),
        "--save_filename {} does not exist; tune a state first, or name another with --save_filename",
        state.display()
    );
    let settings = &options.settings;
    match &options.ask {
        Ask::Prompt(prompt) => {
            ensure!(
                !prompt.is_empty(),
                "--prompt is empty; give the model something to answer"
            );
            show_both(&load(options)?, prompt, settings)
        }
        Ask::Prompts { path, formats } => {
            let prompts = prompts::read(path, formats)?;
            // What fetching a model says is no JSON.
            console::leave_output_to_data();
            prompts::answer(&load(options)?, &prompts, settings)
                .with_context(|| format!("cannot answer --prompts {}", path.display()))
        }
        Ask::Interactive { formatter } => interactive::run(&load(options)?, formatter, settings),
    }
}

fn load(options: &Options) -> Result<Sides> {
    fetch::ensure(
        &options.model,
        "--model_location",
        options.model_remote.as_ref(),
        &Patience::default(),
    )?;
    let compute = Compute::exact(options.device, options.product, options.weights)?;
    let model = Rwkv::open(&options.model, &compute)?;
    let state = &options.state;
    let read = || -> Result<State, state_file::Error> {
        let found = state_file::open(state, None)?;
        if !options.force {
            found.check_model(model.fingerprint())?;
        }
        found.fit(model.config())
    };
    let tuned = read()
        .with_context(|| format!("cannot use the state --save_filename {}", state.display()))?;
    Ok(Sides {
        base: State::zeros(model.config())?.to_device(&compute.device)?,
        tuned: tuned.to_device(&compute.device)?,
        model,
    })
}

/// Shows both answers, each under its heading.
fn show_both(sides: &Sides, prompt: &str, settings: &Settings) -> Result<()> {
    let prompt = Tokenizer::world().encode(prompt);
    print("== base model ==");
    show(
        &mut Talk::new(&sides.model, &sides.base, settings),
        &prompt,
        settings,
    )?;
    print("");
    print("== tuned state ==");
    show(
        &mut Talk::new(&sides.model, &sides.tuned, settings),
        &prompt,
        settings,
    )?;
    Ok(())
}

/// Shows an answer as it comes, and says how it ended.
fn show(talk: &mut Talk, prompt: &[u32], settings: &Settings) -> Result<End> {
    let end = talk.answer(prompt, console::stream)?;
    print("");
    if end == End::Limit {
        print(&format!(
            "[stopped at --max_tokens {}]",
            settings.max_tokens
        ));
    }
    Ok(end)
}
