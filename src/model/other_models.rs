//! Models that look like those that can be used, and are not: told apart by the names of their
//! tensors, and refused by what they are.

use std::fmt;

use anyhow::{Result, bail, ensure};

use super::ModelFile;
use super::no_model::NoModel;
use crate::tensors::shown;

/// RWKV-7's bonus, `[H, K]`, which no other generation has by this name.
pub const BONUS_7: &str = "blocks.0.att.r_k";

/// Whether a file holds a model of RWKV-7, perhaps an incomplete one.
pub fn is_seven(file: &ModelFile) -> bool {
    let mut names = [BONUS_7, "blocks.0.att.x_r", "blocks.0.att.w0"].into_iter();
    names.any(|name| file.has(name))
}

/// The rest of `blocks.N.rest`.
pub fn in_layer(name: &str) -> Option<&str> {
    let (_, rest) = name.strip_prefix("blocks.")?.split_once('.')?;
    Some(rest)
}

/// Whether some tensors of a model, under RWKV's names as far as these go, may be of one of RWKV's:
/// none lies in a part of a layer that RWKV's have not, and one lies where they have some.
fn may_be_rwkvs(file: &ModelFile) -> bool {
    let is_outside = |name: &str| {
        let mut parts = ["emb.", "ln_out.", "head."].into_iter();
        parts.any(|part| name.starts_with(part))
    };
    let known = |name: &str| in_layer(name).is_some() || is_outside(name);
    file.names().filter_map(in_layer).all(is_of_layer) && file.names().any(known)
}

/// Whether a name, `rest` of `blocks.N.rest`, lies in one of the parts that RWKV's layers have.
pub fn is_of_layer(part: &str) -> bool {
    let mut parts = ["att.", "ffn.", "ln0.", "ln1.", "ln2."].into_iter();
    parts.any(|begin| part.starts_with(begin))
}

/// Whether a layer of RWKV-7 has no such tensor. A model may have a state merged into it.
fn is_unknown_to_seven(part: &str) -> bool {
    const VECTORS: [&str; 15] = [
        "x_r",
        "x_w",
        "x_k",
        "x_v",
        "x_a",
        "x_g",
        "w0",
        "a0",
        "v0",
        "k_k",
        "k_a",
        "r_k",
        "ln_x.weight",
        "ln_x.bias",
        "time_state",
    ];
    const MATRICES: [&str; 12] = [
        "w1",
        "w2",
        "a1",
        "a2",
        "v1",
        "v2",
        "g1",
        "g2",
        "receptance.weight",
        "key.weight",
        "value.weight",
        "output.weight",
    ];
    match part.split_once('.') {
        Some(("att", rest)) => !VECTORS.contains(&rest) && !MATRICES.contains(&rest),
        Some(("ffn", rest)) => !["x_k", "key.weight", "value.weight"].contains(&rest),
        Some(("ln0" | "ln1" | "ln2", "weight" | "bias")) => false,
        _ => true,
    }
}

/// Whether a tensor is one of LoRA's, as PEFT, RWKV-PEFT or web-rwkv's converter name it.
fn is_lora(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    name.split('.')
        .any(|word| word == "lora" || word.starts_with("lora_"))
}

/// The error for a model with a tensor in it that is not computed with.
pub fn no_model_has(name: &str, generation: impl fmt::Display) -> String {
    format!(
        "it has {}, which no {generation} model that state-tune knows has: its output would be wrong \
         without",
        shown(name)
    )
}

/// Errors when a file holds a model that this program does not know, or none, and says which.
pub fn refuse(file: &ModelFile) -> Result<()> {
    let other = |version: &str| -> Result<()> {
        bail!("this is an RWKV-{version} model; state-tune tunes RWKV-5 (5.0, 5.1, 5.2) and RWKV-7")
    };
    let has = |name: &str| file.has(&format!("blocks.0.att.{name}"));
    // Which RWKV model some tensors of one are of may not show; that they are of another family does.
    if file.is_part() && may_be_rwkvs(file) {
        for name in [
            "emb.weight",
            "blocks.0.att.ln_x.weight",
            "ln_out.weight",
            "head.weight",
        ] {
            file.shape(name)?;
        }
    }
    if let Some(name) = file.names().find(|name| is_lora(name)) {
        let name = shown(file.spelt(name));
        ensure!(
            file.has("emb.weight"),
            "it has {name}: it is a LoRA and no model; merge it into its model, and give the result"
        );
        bail!(
            "it has {name}: a LoRA that is not merged, without which the model computes something \
             else; merge it into the model's own tensors, and give the result"
        );
    }
    if is_seven(file) {
        file.shape("emb.weight")?;
        let parts = || file.names().filter_map(in_layer);
        if parts().any(|part| part.starts_with("qkv.")) {
            return other("7b (Deep Embedding Attention)");
        }
        if parts().any(|part| part.starts_with("ffn.s")) {
            return other("7a (DeepEmbed)");
        }
        let unknown = |name: &&str| in_layer(name).is_some_and(is_unknown_to_seven);
        return match file.names().find(unknown) {
            Some(name) => bail!(no_model_has(name, "RWKV-7")),
            None => Ok(()),
        };
    }
    let is_of_six =
        |part: &str| part.starts_with("att.time_maa_") || part.starts_with("ffn.time_maa_");
    // web-rwkv's converter calls a time_maa a time_mix.
    let mut named_otherwise = ["time_decay_w1", "time_mix_x", "time_mix_w1"].into_iter();
    if file.names().filter_map(in_layer).any(is_of_six) || named_otherwise.any(has) {
        return other("6");
    }
    if has("time_mix_k") && !has("ln_x.weight") {
        return other("4");
    }
    let of_states = ["att.time_state", "att.wkvstate"];
    let is_of_state = |name: &str| of_states.iter().any(|end| name.ends_with(end));
    if !file.has("emb.weight") && file.names().any(is_of_state) {
        bail!(NoModel("it holds a state and no model".to_owned()));
    }
    // Some of a model: what it lacks is told.
    if file
        .names()
        .filter_map(in_layer)
        .any(|part| part == "att.time_decay")
    {
        file.shape("emb.weight")?;
        file.shape("blocks.0.att.time_decay")?;
        file.shape("blocks.0.att.ln_x.weight")?;
    }
    if !file.has("emb.weight") || !has("time_decay") || !has("ln_x.weight") {
        let some: Vec<String> = file.names().take(3).map(shown).collect();
        bail!(
            "this is not an RWKV model: it has {} tensors, but no emb.weight and blocks.0.att.* among them{}",
            file.names().count(),
            if some.is_empty() {
                String::new()
            } else {
                format!(" (there are {}, ...)", some.join(", "))
            }
        );
    }
    Ok(())
}
