//! `state-tune convert`: writes a state in another format. On the way the state can be mixed with a
//! second one, scaled, and folded: run over its soft prompt, so that it needs none.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use crate::console::Console;
use crate::data::typed::AROUND_DATA;
use crate::data::{Example, Formats, dataset};
use crate::evaluate;
use crate::files::{self, Lock, Taken};
use crate::model::{Generation, Rwkv, State, with_way_out};
use crate::ops::linear::ProductType;
use crate::setting::{
    DATA_PATH, FOLD, MODEL, RESPONSE_END, STATE_SCALE, Setting, TO, TRANSPOSE, TUNE,
};
use crate::state_file::{self, Format, Origin, OtherModel, StateFile, Texts};
use crate::tensors::Element;

/// What to convert, and to what.
#[derive(Clone, Debug)]
pub struct Options {
    /// The state that is converted.
    pub input: PathBuf,
    /// A second state, and its share in the result: 0 is none of it, 1 is nothing else.
    pub mix: Option<(PathBuf, f64)>,
    /// The file to write. Nothing may be there yet.
    pub output: PathBuf,
    /// The format to write.
    pub to: Format,
    /// The inputs' format, where the files do not show it.
    pub from: Option<Format>,
    /// The model that the state belongs to.
    pub model: Option<PathBuf>,
    /// Turn every matrix of the input round: a file whose matrices stand the other way than its
    /// format has them.
    pub transpose: bool,
    /// Run the model over the soft prompt and write the state after it.
    pub fold: bool,
    /// Shifts and matrices are multiplied by this.
    pub scale: f64,
    /// Examples on which to measure what a format loses.
    pub data: Option<PathBuf>,
    /// How the examples become text, unless the state says it.
    pub formats: Formats,
    /// The texts of the formats that hold whatever the state says.
    pub typed: Vec<Setting>,
    /// Whether the states may have been tuned on another model of the same shape.
    pub other_model: OtherModel,
}

/// Converts, and says on `console` what the format has no place for.
pub fn run(options: &Options, console: &Console) -> Result<()> {
    let target = check_output(options)?;
    let model = options.model.as_ref();
    let model = model.map(|path| Rwkv::open(path, ProductType::F32));
    let model = model.map(|model| model.map_err(|error| with_way_out(error, "IN")));
    let model = model.transpose()?;
    if let Some(model) = &model {
        for note in model.notes() {
            console.line(&format!("note   {note}"));
        }
        if model.has_state() {
            console.line(
                "note   the model has a state of its own (time_state), whose place this one takes",
            );
        }
    }
    let generation = generation(options, model.as_ref())?;
    let open = |path: &Path| open(path, options, model.as_ref(), generation, console);
    let first = open(&options.input)?;
    let (input, n_layer) = (options.input.display(), first.state.wkv.dim(0)?);
    console.line(&format!(
        "from   {input} ({}, {n_layer} layers)",
        first.format
    ));
    let mut tuned_on = first.model().map(str::to_string);
    let mut texts = first.texts().cloned();
    let state = match &options.mix {
        Some((path, share)) => {
            let other = open(path)?;
            let what = || format!("cannot mix {input} with {}", path.display());
            let mixed = first.state.mixed(&other.state, *share).with_context(what)?;
            if let (Some(model), OtherModel::Refuse) = (&tuned_on, options.other_model) {
                other.check_model(model).with_context(what)?;
            }
            // A mixture is tagged with a model only if both states were.
            tuned_on = tuned_on.filter(|model| other.model() == Some(model));
            if texts.as_ref() != other.texts() {
                texts = None;
                console.line(&format!(
                    "note   {input} and {} do not name the same formatters and {RESPONSE_END}: {} \
                     names none",
                    path.display(),
                    options.output.display()
                ));
            }
            mixed
        }
        None if options.transpose => {
            if first.tag.is_some() {
                console.line(&format!(
                    "note   {input} was written by state-tune, which says in it how its matrices stand; \
                     {TRANSPOSE} turns them away from that"
                ));
            }
            first.state.transposed()?
        }
        None => first.state.clone(),
    };
    let state = state.scaled(options.scale)?;
    if options.scale != 1.0 && state.soft_prompt.is_some() && !options.fold {
        console.line(&format!(
            "note   {STATE_SCALE} {} has no effect on the soft prompt: the norm behind it would undo any \
             factor",
            options.scale
        ));
    }
    let state = match &model {
        Some(model) if options.fold => model.fold(&state)?,
        None if options.fold => {
            bail!("{FOLD} runs the model over the soft prompt; name the model with {MODEL}")
        }
        _ => state,
    };

    tell_losses(options, model.as_ref(), &state, texts.as_ref(), console)?;
    // The model that the user names, or that the files name.
    let fingerprint = model
        .as_ref()
        .map(Rwkv::fingerprint)
        .or(tuned_on.as_deref());
    ensure!(
        !options.to.depends_on_generation() || fingerprint.is_some(),
        "{TO} {}: its matrices stand as [key, value] for RWKV-5 and as [value, key] for RWKV-7, and \
         nothing says which model the result is of (a mixture's two states must name the same one); \
         name the model with {MODEL}",
        options.to
    );
    let is_computed = options.fold || options.mix.is_some() || options.scale != 1.0;
    // A run may have begun meanwhile.
    let _lock = lock(options, &target)?;
    check_free(options, &target)?;
    let element = if is_computed {
        Element::F32
    } else {
        first.element
    };
    let output = options.output.display();
    let origin = Origin {
        model: fingerprint,
        texts: texts.as_ref(),
    };
    if options.to == Format::MODEL {
        let Some(path) = &options.model else {
            bail!("{TO} model puts the state into a copy of a model; name the model with {MODEL}")
        };
        state_file::write_into_model(&target, &state, path, origin)
    } else {
        state_file::write_with_origin(&target, &state, element, options.to, origin)
    }
    .with_context(|| match options.scale {
        1.0 => format!("cannot write {output}"),
        scale => format!("cannot write {output}, scaled by {STATE_SCALE} {scale}"),
    })?;
    console.line(&format!("to     {output} ({})", options.to));
    if let Some(belied) = options.to.belied_by(&options.output) {
        console.line(&format!("note   {belied}"));
    }
    let generation = fingerprint.map(Generation::of_fingerprint);
    if options.to == Format::MODEL && generation == Some(Generation::Seven) {
        console.line(&format!(
            "note   the rwkv package ignores a state in an RWKV-7 model; hand it one of {TO} {}",
            Format::RWKV_LIVE
        ));
    }
    Ok(())
}

/// The generation of what has no tag: the model's, or that of the other state, by its tag.
fn generation(options: &Options, model: Option<&Rwkv>) -> Result<Option<Generation>> {
    if let Some(model) = model {
        return Ok(Some(model.config().version.generation()));
    }
    let inputs = [&options.input]
        .into_iter()
        .chain(options.mix.as_ref().map(|(other, _)| other));
    for path in inputs {
        let tag = state_file::tag_of(path).with_context(|| cannot_use(path))?;
        if let Some(tuned_on) = tag.and_then(|tag| tag.model) {
            return Ok(Some(Generation::of_fingerprint(&tuned_on)));
        }
    }
    Ok(None)
}

fn cannot_use(path: &Path) -> String {
    format!("cannot use the state {}", path.display())
}

/// Where the output goes, links followed. Errors when it is an input, is there already, or cannot
/// be written.
fn check_output(options: &Options) -> Result<PathBuf> {
    let output = options.output.display();
    let target = files::resolved(&options.output);
    let inputs = [&options.input]
        .into_iter()
        .chain(options.mix.as_ref().map(|(other, _)| other))
        .chain(&options.model)
        .chain(&options.data);
    for input in inputs {
        ensure!(
            files::resolved(input) != target,
            "{output} is also an input; give another name"
        );
    }
    check_free(options, &target)?;
    files::check_writable(&target).with_context(|| format!("cannot write {output}"))?;
    // Given back: whoever breaks the work off leaves no lock.
    lock(options, &target)?;
    Ok(target)
}

fn check_free(options: &Options, target: &Path) -> Result<()> {
    ensure!(
        fs::symlink_metadata(target).is_err(),
        "{} is there already; move it away or give another name",
        options.output.display()
    );
    Ok(())
}

/// Takes the right to write the output, which a run has that saves its state there.
fn lock(options: &Options, target: &Path) -> Result<Option<Lock>> {
    let output = options.output.display();
    match Lock::take(target).with_context(|| format!("cannot write {output}"))? {
        Taken::Held(lock) => Ok(Some(lock)),
        Taken::Unsupported => Ok(None),
        Taken::ByAnother(process) => bail!(
            "{output} is being written by a run{}; wait for it to end, or give another name",
            Taken::shown(process)
        ),
    }
}

fn open(
    path: &Path,
    options: &Options,
    model: Option<&Rwkv>,
    generation: Option<Generation>,
    console: &Console,
) -> Result<StateFile> {
    let found = match model {
        Some(model) => state_file::open_for(model, path, options.from, options.other_model),
        None => state_file::open_of(path, options.from, generation),
    }
    .with_context(|| cannot_use(path))?;
    let shown = path.display();
    if let Some(unused) = found.unused() {
        console.line(&format!("note   {shown}: {unused}"));
    }
    let is_model = options.model.as_deref().map(files::resolved) == Some(files::resolved(path));
    if model.is_some() && found.model().is_none() && !is_model {
        console.line(&format!(
            "note   {shown} does not name the model that it was tuned on; it is taken for {MODEL}'s"
        ));
    }
    if model.is_none() && found.tag.is_none() && found.format.depends_on_generation() {
        let taken_as = match generation {
            Some(generation) => format!("{generation}'s, as the other state is by its tag"),
            None => format!(
                "RWKV-5's, [key, value]; RWKV-7's are [value, key]: name the model with {MODEL}"
            ),
        };
        console.line(&format!(
            "note   the matrices of {shown} are taken as {taken_as}"
        ));
    }
    Ok(found)
}

/// Says what the format has no place for, and how much the loss rises by that on the examples, if
/// there are any.
fn tell_losses(
    options: &Options,
    model: Option<&Rwkv>,
    state: &State,
    texts: Option<&Texts>,
    console: &Console,
) -> Result<()> {
    let lost = options.to.loses(state)?;
    if lost.is_empty() {
        return Ok(());
    }
    let (to, what) = (options.to, lost.join(" and "));
    let advice = if state.soft_prompt.is_some() && !options.fold {
        format!("{FOLD} keeps what a soft prompt does; for such a format, train with {TUNE} wkv")
    } else {
        format!("for such a format, train with {TUNE} wkv")
    };
    let (Some(model), Some(data)) = (model, &options.data) else {
        console.line(&format!(
            "lost   {to} has no place for {what}: answers will differ ({advice}; {MODEL} and \
             {DATA_PATH} tell how much)"
        ));
        return Ok(());
    };
    let mut formats = options.formats.clone();
    let told = texts.map(|texts| texts.put_into(&mut formats, &AROUND_DATA, &options.typed));
    let told = told
        .transpose()
        .context("cannot use the state's formatters")?;
    let read = dataset::read(data, &formats)?;
    let told = told.unwrap_or_default().into_iter();
    for line in told.chain(formats.told(&AROUND_DATA)) {
        console.line(&format!("note   {line}"));
    }
    console.line(&read.notes.to_string());
    let mut examples = read.examples;
    // Behind an empty prompt, a soft prompt alone predicts the first token: there would be nothing
    // to compare it with.
    examples.retain(Example::has_lead);
    ensure!(
        !examples.is_empty(),
        "{} has no example with a prompt; the loss is told by such",
        data.display()
    );
    let left_out = evaluate::sift(&mut examples, model.config(), data, formats.on_bad_row)?;
    if let Some(left_out) = left_out {
        console.line(&format!("note   {left_out}"));
    }
    let left = to.kept(state)?;
    let (before, after) = (
        evaluate::score(model, &examples, state)?.loss(),
        evaluate::score(model, &examples, &left)?.loss(),
    );
    console.line(&format!(
        "lost   {to} has no place for {what}: on {} the loss goes from {before:.4} to {after:.4} \
         ({advice})",
        data.display()
    ));
    Ok(())
}
