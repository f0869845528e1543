//! `state-tune inspect`: what a file is.

use std::path::Path;

use anyhow::{Context, Result, bail};
use candle_core::Tensor;

use crate::console::print;
use crate::model::{Config, ModelFile, Rwkv};
use crate::ops::linear::Product;
use crate::state_file::{self, Format, Found};

/// Says what a state or a model is. Errors when it is neither, with both reasons.
pub fn run(path: &Path) -> Result<()> {
    let shown = path.display();
    let why_no_state = match state_file::open(path, None) {
        Ok(found) => {
            if found.format == Format::Model {
                let checkpoint = ModelFile::open(path)?;
                model(&Config::of(&checkpoint)?, &checkpoint, path)?;
            }
            return state(&found).with_context(|| format!("cannot read {shown}"));
        }
        Err(error @ state_file::Error::Unclear { .. }) => bail!("{shown}: {error}"),
        Err(error) => error,
    };
    match ModelFile::open(path).and_then(|model| Ok((Config::of(&model)?, model))) {
        Ok((config, checkpoint)) => model(&config, &checkpoint, path),
        Err(why_no_model) => bail!(
            "{shown} can be used neither as a state ({why_no_state}) nor as a model ({why_no_model:#})"
        ),
    }
}

fn model(config: &Config, checkpoint: &ModelFile, path: &Path) -> Result<()> {
    let model = Rwkv::load(checkpoint, Product::F32)
        .with_context(|| format!("cannot use the model {}", path.display()))?;
    print(&format!("model        {config}"));
    print(&format!("type         {}", model.element()));
    print(&format!("tensors      {}", checkpoint.names().count()));
    print(&format!("fingerprint  {}", model.fingerprint()));
    Ok(())
}

fn state(found: &Found) -> Result<()> {
    let Found {
        format,
        state,
        element,
        tag,
    } = found;
    let (n_layer, n_head, head_size, _) = state.wkv.dims4()?;
    print(&format!("state        {format}"));
    match tag {
        Some(tag) => {
            let model = tag.model.as_deref().unwrap_or("unknown");
            print(&format!("written by   {}", printable(&tag.program)));
            print(&format!(
                "tuned on     the model with the fingerprint {}",
                printable(model)
            ));
        }
        None => print("written by   another program, or an earlier state-tune: it has no tag"),
    }
    print(&format!(
        "sizes        {n_layer} layers, n_embd {}, {n_head} heads of {head_size}",
        n_head * head_size
    ));
    print(&format!("type         {}", element));
    match &state.soft_prompt {
        Some(soft_prompt) => print(&format!("soft prompt  norm {:.4}", norm(soft_prompt)?)),
        None => print("soft prompt  none"),
    }
    print("norms        layer  att shift  ffn shift        wkv");
    for i in 0..n_layer {
        let layer = state.layer(i)?;
        print(&format!(
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

/// A tag is a stranger's text.
fn printable(text: &str) -> String {
    text.replace(char::is_control, "?")
}
