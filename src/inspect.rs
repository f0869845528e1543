//! `state-tune inspect`: what a file is.

use std::path::Path;

use anyhow::{Context, Result, bail};
use candle_core::Tensor;

use crate::console::Console;
use crate::model::{Config, ModelFile, Rwkv};
use crate::ops::linear::ProductType;
use crate::state_file::{self, Format, StateFile};

/// Says on `console` what a state or a model is. Errors when it is neither, with both reasons.
pub fn run(path: &Path, console: &Console) -> Result<()> {
    let shown = path.display();
    let why_no_state = match state_file::open(path, None) {
        Ok(found) => {
            if found.format == Format::MODEL {
                let file = ModelFile::open(path)?;
                model(&Config::of(&file)?, &file, path, console)?;
            }
            return state(&found, console).with_context(|| format!("cannot read {shown}"));
        }
        Err(error @ state_file::Error::Unclear { .. }) => bail!("{shown}: {error}"),
        Err(error) => error,
    };
    match ModelFile::open(path).and_then(|model| Ok((Config::of(&model)?, model))) {
        Ok((config, file)) => model(&config, &file, path, console),
        Err(why_no_model) => bail!(
            "{shown} can be used neither as a state ({why_no_state}) nor as a model \
             ({why_no_model:#})"
        ),
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
    } = found;
    let (n_layer, n_head, head_size, _) = state.wkv.dims4()?;
    console.line(&format!("state        {format}"));
    match tag {
        Some(tag) => {
            let model = tag.model.as_deref().unwrap_or("unknown");
            console.line(&format!("written by   {}", printable(&tag.program)));
            console.line(&format!(
                "tuned on     the model with the fingerprint {}",
                printable(model)
            ));
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

fn norm(tensor: &Tensor) -> Result<f32> {
    Ok(tensor.sqr()?.sum_all()?.sqrt()?.to_scalar()?)
}

/// The text of a tag, which may hold anything, fit for a terminal.
fn printable(text: &str) -> String {
    text.replace(char::is_control, "?")
}
