//! What a user should know of a model's file once the model is loaded from it: what of it is not
//! used, and a vocabulary that is not the tokenizer's.

use std::ops::RangeInclusive;

use anyhow::{Result, ensure};

use super::other_models::{in_layer, no_model_has};
use super::{Config, Generation, ModelFile};
use crate::tensors::shown;

/// What a model computes with outside its layers: its parts, whatever more lies in them, and what
/// RWKV's own trainer can add.
const OUTSIDE: [&str; 7] = [
    "emb.",
    "ln_out.",
    "head.",
    "head_q.",
    "head_k.",
    "copy_mask",
    "pos_emb",
];

/// The tokens of the World tokenizer, and as many as its models are padded to.
const WORLD: RangeInclusive<usize> = 65_529..=65_536;

/// Names of unused tensors in one message; the rest are counted.
const MOST_NAMED: usize = 3;

/// Whether a model of this kind may have a tensor that it does not compute with: RWKV-7's first
/// layer has no layer before it whose value it could mix in.
fn is_idle(name: &str, config: &Config) -> bool {
    let first = ["blocks.0.att.v0", "blocks.0.att.v1", "blocks.0.att.v2"];
    config.version.generation() == Generation::Seven && first.contains(&name)
}

/// What to know of a vocabulary that is not World's, whose tokenizer reads every text here.
pub fn foreign_vocabulary(size: usize) -> Option<String> {
    (!WORLD.contains(&size)).then(|| {
        format!(
            "the model's vocabulary has {size} tokens, and the World tokenizer, by which texts are \
             read here, {}; a model of another tokenizer (those of the Pile have 50277) learns and \
             answers nonsense",
            WORLD.start()
        )
    })
}

/// What a file holds that a model loaded from it did not use, in words, if there is any. Errors
/// when it shows that the model is meant to compute something else.
pub fn unused(file: &ModelFile, config: &Config) -> Result<Option<String>> {
    let unused = file.unused().filter(|name| !is_idle(name, config));
    let mut names: Vec<String> = file.beside().to_vec();
    for name in unused {
        let is_outside = OUTSIDE.iter().any(|part| name.starts_with(part));
        ensure!(
            in_layer(name).is_none() && !is_outside,
            no_model_has(file.spelt(name), config.version.generation())
        );
        names.push(shown(file.spelt(name)));
    }
    Ok(also_holds("model", names))
}

/// What a file of `what` holds beside it, in words, if there is any.
pub fn also_holds(what: &str, mut names: Vec<String>) -> Option<String> {
    let (count, more) = (names.len(), names.len().saturating_sub(MOST_NAMED));
    names.truncate(MOST_NAMED);
    let named = names.join(", ");
    match (count, more) {
        (0, _) => None,
        (_, 0) => Some(format!(
            "the {what}'s file also holds {named}, of which nothing is used"
        )),
        _ => Some(format!(
            "the {what}'s file also holds {count} other things, {named} and {more} more, of which \
             nothing is used"
        )),
    }
}
