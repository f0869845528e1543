//! `state-tune convert`: a state from one format to another, on the way folded, mixed or scaled.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use crate::console::Console;
use crate::data::{Example, Formats, example};
use crate::evaluate;
use crate::files;
use crate::model::{Rwkv, State};
use crate::ops::linear::Product;
use crate::state_file::{self, Format, Found};
use crate::tensors::{Element, pth};

/// What to convert, and to what.
#[derive(Clone, Debug)]
pub struct Options {
    pub input: PathBuf,
    /// A second state, and how far to go towards it.
    pub mix: Option<(PathBuf, f64)>,
    pub output: PathBuf,
    pub to: Format,
    /// What the inputs are, where they do not show it.
    pub from: Option<Format>,
    /// The model that the state belongs to.
    pub model: Option<PathBuf>,
    pub fold: bool,
    pub scale: f64,
    /// Data by which to tell what a format loses.
    pub data: Option<PathBuf>,
    pub formats: Formats,
    /// Take a state of another model.
    pub force: bool,
}

/// Converts, and says on `console` what was lost.
pub fn run(options: &Options, console: &Console) -> Result<()> {
    let output = options.output.display();
    let target = files::settled(&options.output);
    let inputs = [&options.input]
        .into_iter()
        .chain(options.mix.as_ref().map(|(other, _)| other))
        .chain(&options.model)
        .chain(&options.data);
    for input in inputs {
        ensure!(
            files::settled(input) != target,
            "{output} is also an input; give another name"
        );
    }
    ensure!(
        fs::symlink_metadata(&target).is_err(),
        "{output} is there already; move it away or give another name"
    );
    files::check_writable(&target).with_context(|| format!("cannot write {output}"))?;

    let model = match &options.model {
        Some(path) => Some(load(path)?),
        None => None,
    };
    let first = open(&options.input, options, model.as_ref())?;
    let (input, n_layer) = (options.input.display(), first.state.wkv.dim(0)?);
    console.line(&format!(
        "from   {input} ({}, {n_layer} layers)",
        first.format
    ));
    let mut tuned_on = first.model().map(str::to_string);
    let state = match &options.mix {
        Some((path, share)) => {
            let other = open(path, options, model.as_ref())?;
            let what = || format!("cannot mix {input} with {}", path.display());
            if let (Some(model), false) = (&tuned_on, options.force) {
                other.check_model(model).with_context(what)?;
            }
            // Of a mixture is known only what is known of both.
            tuned_on = tuned_on.filter(|model| other.model() == Some(model));
            first.state.mixed(&other.state, *share).with_context(what)?
        }
        None => first.state.clone(),
    };
    let state = state.scaled(options.scale)?;
    let state = match &model {
        Some(model) if options.fold => model.fold(&state)?,
        None if options.fold => {
            bail!("--fold runs the model over the soft prompt; name the model with --model")
        }
        _ => state,
    };

    tell_losses(options, model.as_ref(), &state, console)?;
    // The model that is named, or what the files say.
    let fingerprint = model
        .as_ref()
        .map(Rwkv::fingerprint)
        .or(tuned_on.as_deref());
    let is_computed = options.fold || options.mix.is_some() || options.scale != 1.0;
    let element = if is_computed {
        Element::F32
    } else {
        first.element
    };
    match (options.to, &options.model, fingerprint) {
        (Format::Model, Some(path), Some(fingerprint)) => {
            pth::read(path)
                .with_context(|| format!("--to model needs a .pth, not {}", path.display()))?;
            state_file::write_into_model(&target, &state, path, fingerprint)
        }
        (Format::Model, ..) => {
            bail!("--to model puts the state into a copy of a model; name the model with --model")
        }
        (to, ..) => state_file::write(&target, &state, element, to, fingerprint),
    }
    .with_context(|| format!("cannot write {output}"))?;
    console.line(&format!("to     {output} ({})", options.to));
    Ok(())
}

fn load(path: &Path) -> Result<Rwkv> {
    Rwkv::open(path, Product::F32)
}

fn open(path: &Path, options: &Options, model: Option<&Rwkv>) -> Result<Found> {
    let read = || -> Result<Found, state_file::Error> {
        let found = state_file::open(path, options.from)?;
        if let Some(model) = model {
            if !options.force {
                found.check_model(model.fingerprint())?;
            }
            found.clone().fit(model.config())?;
        }
        Ok(found)
    };
    read().with_context(|| format!("cannot use the state {}", path.display()))
}

/// Says what the format has no place for, and what that costs on the data, if there are any.
fn tell_losses(
    options: &Options,
    model: Option<&Rwkv>,
    state: &State,
    console: &Console,
) -> Result<()> {
    let lost = options.to.loses(state)?;
    if lost.is_empty() {
        return Ok(());
    }
    let (to, what) = (options.to, lost.join(" and "));
    let advice = if state.soft_prompt.is_some() && !options.fold {
        "--fold keeps what a soft prompt does; for such a format, train with --tune wkv"
    } else {
        "for such a format, train with --tune wkv"
    };
    let (Some(model), Some(data)) = (model, &options.data) else {
        console.line(&format!(
            "lost   {to} has no place for {what}: answers will differ ({advice}; --model and --data_path tell how much)"
        ));
        return Ok(());
    };
    let mut examples = example::read(data, &options.formats)?;
    // Behind an empty prompt, a soft prompt alone predicts the first token: there would be nothing to compare it with.
    examples.retain(Example::has_lead);
    ensure!(
        !examples.is_empty(),
        "{} has no example with a prompt; the loss is told by such",
        data.display()
    );
    let left = left_by(options.to, state)?;
    let (before, after) = (
        evaluate::score(model, &examples, state)?.loss(),
        evaluate::score(model, &examples, &left)?.loss(),
    );
    console.line(&format!(
        "lost   {to} has no place for {what}: on {} the loss goes from {before:.4} to {after:.4} ({advice})",
        data.display()
    ));
    Ok(())
}

/// What readers of the format start from.
fn left_by(to: Format, state: &State) -> Result<State> {
    let lost = to.loses(state)?;
    let keeps_shifts = !lost.contains(&"the token shifts");
    Ok(State {
        soft_prompt: None,
        shifts: if keeps_shifts {
            state.shifts.clone()
        } else {
            state.shifts.zeros_like()?
        },
        wkv: state.wkv.clone(),
    })
}
