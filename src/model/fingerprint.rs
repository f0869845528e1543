//! What tells a model from others of its shape. The tags of states name the model that they were
//! tuned on by it.

use anyhow::Result;
use sha2::{Digest, Sha256};

use super::config::SEVEN;
use super::{Config, Generation, ModelFile, State, Version};

/// The bonus's logarithm in the first layer.
const LOG_BONUS: &str = "blocks.0.att.time_first";

/// What stands in a fingerprint before the hash of the state that is merged into the model.
const STATE: &str = "+state-";

/// A hash, in hexadecimal, of the sizes and of every layer's decays and norms (and RWKV-7's bonus):
/// little to read, and training changes all of them. RWKV-7's begins with its generation. What else
/// a model computes with and others of its version do not stands behind it, each with a `+`.
pub fn fingerprint(file: &ModelFile, config: &Config, merged: Option<&State>) -> Result<String> {
    let (prefix, names): (_, &[_]) = match config.version.generation() {
        Generation::Five => ("", &["att.time_decay", "ln1.weight", "ln1.bias"]),
        Generation::Seven => (SEVEN, &["att.w0", "att.r_k", "ln1.weight", "ln1.bias"]),
    };
    let mut hasher = Sha256::new();
    hasher.update(config.to_string());
    for i in 0..config.n_layer {
        for name in names {
            let name = format!("blocks.{i}.{name}");
            for number in file.numbers(&name, file.shape(&name)?)? {
                hasher.update(number.to_le_bytes());
            }
        }
    }
    // Most checkpoints have the logarithm of the bonus before the gate came, and the bonus since.
    let bonus = match config.version {
        Version::V5_0 if !file.has(LOG_BONUS) => "+time_faaaa",
        Version::V5_1 | Version::V5_2 if file.has(LOG_BONUS) => "+time_first",
        _ => "",
    };
    let weights = format!("{prefix}{}{bonus}", hexadecimal(hasher));
    let Some(State { wkv, .. }) = merged else {
        return Ok(weights);
    };
    let mut hasher = Sha256::new();
    for number in wkv.flatten_all()?.to_vec1::<f32>()? {
        hasher.update(number.to_le_bytes());
    }
    Ok(format!("{weights}{STATE}{}", hexadecimal(hasher)))
}

/// The beginning of a hash.
fn hexadecimal(hasher: Sha256) -> String {
    let hash = hasher.finalize();
    hash[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether a state that was tuned on the model with the fingerprint `tuned_on` is one for the model
/// at hand: its weights must be the same. A state that is merged into either makes no difference,
/// since another takes its place. Earlier versions wrote the hash alone.
pub fn is_same_model(tuned_on: &str, fingerprint: &str) -> bool {
    let weights = |whole: &str| whole.split(STATE).next().unwrap_or_default().to_string();
    let (then, now) = (weights(tuned_on), weights(fingerprint));
    then == now || now.split('+').next() == Some(&then)
}
