//! `state-tune inspect`: what a file is, and whether a state suits a model.

mod orientation;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use candle_core::Tensor;

use crate::console::{Console, harmless};
use crate::data::Formats;
use crate::data::format::TextRows;
use crate::model::{Config, Generation, ModelFile, Rwkv};
use crate::ops::linear::ProductType;
use crate::setting::{
    MODEL, PROMPT_FORMATTER, RESPONSE_END, RESPONSE_FORMATTER, SYSTEM_FORMATTER, Setting, TO,
};
use crate::state_file::{self, Format, OtherModel, StateFile, Texts};

/// What to look at, and what to hold it against.
#[derive(Clone, Debug)]
pub struct Options {
    /// A state or a model.
    pub path: PathBuf,
    /// What a state is held against, if anything.
    pub against: Option<Against>,
}

/// What a state is held against.
#[derive(Clone, Debug)]
pub struct Against {
    /// The model that the state should belong to.
    pub model: PathBuf,
    /// Examples by whose loss to tell which way the state's matrices stand.
    pub data: Option<PathBuf>,
    /// How the examples become text, unless the state says it.
    pub formats: Formats,
    /// The texts of the formats that hold whatever the state says.
    pub typed: Vec<Setting>,
    /// Whether the state may have been tuned on another model of the same shape.
    pub other_model: OtherModel,
}

/// Says on `console` what a state or a model is, and whether a state suits the model that it is
/// held against. Errors when it is neither, with both reasons.
pub fn run(options: &Options, console: &Console) -> Result<()> {
    let Options { path, against } = options;
    let shown = path.display();
    let why_no_state = match (state_file::open(path, None), against) {
        (Ok(found), _) => {
            if found.format == Format::MODEL {
                let file = ModelFile::open(path)?;
                let config = Config::of(&file)?;
                model(&config, &file, path, console)?;
                if config.version.generation() == Generation::Seven {
                    console.line(&format!(
                        "note         the rwkv package ignores the state in an RWKV-7 model; convert \
                         it {TO} {}",
                        Format::RWKV_LIVE
                    ));
                }
            }
            state(&found, console).with_context(|| format!("cannot read {shown}"))?;
            return match against {
                Some(against) => orientation::tell(path, Some(found.format), against, console),
                None => Ok(()),
            };
        }
        (Err(state_file::Error::Unclear { .. }), Some(against)) if against.data.is_some() => {
            return orientation::tell(path, None, against, console);
        }
        (Err(error @ state_file::Error::Unclear { .. }), _) => bail!("{shown}: {error}"),
        (Err(error), _) => error,
    };
    match ModelFile::open(path).and_then(|model| Ok((Config::of(&model)?, model))) {
        Ok((config, file)) => {
            ensure!(
                against.is_none(),
                "{shown} is a model without a state; a state is what {MODEL} is for"
            );
            model(&config, &file, path, console)
        }
        Err(why_no_model) => {
            let why_no_state = why_no_state.to_string();
            match why_no_model
                .chain()
                .any(|cause| cause.to_string() == why_no_state)
            {
                // No file of tensors at all.
                true => {
                    bail!("{shown} can be used neither as a state nor as a model: {why_no_state}")
                }
                false => bail!(
                    "{shown} can be used neither as a state ({why_no_state}) nor as a model \
                     ({why_no_model:#})"
                ),
            }
        }
    }
}

fn model(config: &Config, file: &ModelFile, path: &Path, console: &Console) -> Result<()> {
    let model = Rwkv::load(file, ProductType::F32)
        .with_context(|| format!("cannot use the model {}", path.display()))?;
    console.line(&format!("model        {config}"));
    console.line(&format!("type         {}", model.element()));
    console.line(&format!("tensors      {}", file.names().count()));
    console.line(&format!("fingerprint  {}", model.fingerprint()));
    for note in model.notes() {
        console.line(&format!("note         {note}"));
    }
    Ok(())
}

fn state(found: &StateFile, console: &Console) -> Result<()> {
    let StateFile {
        format,
        state,
        element,
        tag,
        order: _,
        beside: _,
    } = found;
    let (n_layer, n_head, head_size, _) = state.wkv.dims4()?;
    console.line(&format!("state        {format}"));
    match tag {
        Some(tag) => {
            console.line(&format!("written by   {}", printable(&tag.program)));
            console.line(&match &tag.model {
                Some(model) => format!(
                    "tuned on     the {} model with the fingerprint {}",
                    Generation::of_fingerprint(model),
                    printable(model)
                ),
                None => "tuned on     a model that it does not name".to_string(),
            });
            if let Some(some) = tag.texts.as_ref().and_then(Texts::stood_alone) {
                console.line(&format!("tuned on     {some}"));
            }
            for (i, (setting, text)) in tag.texts.iter().flat_map(named).enumerate() {
                let heading = if i == 0 { "tuned with" } else { "" };
                let text = harmless(&format!("{text:?}"));
                console.line(&format!("{heading:12} {setting} {text}"));
            }
        }
        None => {
            console.line("written by   another program, or an earlier state-tune: it has no tag")
        }
    }
    console.line(&format!(
        "sizes        {n_layer} layers, n_embd {}, {n_head} heads of {head_size}",
        n_head * head_size
    ));
    console.line(&format!("type         {}", element));
    if let Some(unused) = found.unused() {
        console.line(&format!("note         {unused}"));
    }
    match &state.soft_prompt {
        Some(soft_prompt) => console.line(&format!("soft prompt  norm {:.4}", norm(soft_prompt)?)),
        None => console.line("soft prompt  none"),
    }
    console.line("norms        layer  att shift  ffn shift        wkv");
    for i in 0..n_layer {
        let layer = state.layer(i)?;
        console.line(&format!(
            "             {i:5}  {:9.4}  {:9.4}  {:9.4}",
            norm(&layer.att_shift)?,
            norm(&layer.ffn_shift)?,
            norm(&layer.wkv)?
        ));
    }
    Ok(())
}

/// Each of the texts with its setting.
fn named(texts: &Texts) -> Vec<(Setting, &str)> {
    let Texts {
        prompt_formatter,
        response_formatter,
        system_formatter,
        response_end,
        text_rows,
    } = texts;
    let mut named = vec![(RESPONSE_END, response_end.as_str())];
    if *text_rows != TextRows::All {
        let formatters = [
            (PROMPT_FORMATTER, prompt_formatter.as_str()),
            (RESPONSE_FORMATTER, response_formatter),
            (SYSTEM_FORMATTER, system_formatter),
        ];
        named.splice(0..0, formatters);
    }
    named
}

fn norm(tensor: &Tensor) -> Result<f32> {
    Ok(tensor.sqr()?.sum_all()?.sqrt()?.to_scalar()?)
}

/// The text of a tag, which may hold anything, fit for a terminal.
fn printable(text: &str) -> String {
    text.replace(char::is_control, "?")
}
