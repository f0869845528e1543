//! What tells a model from others of its shape. The tags of states name the model that they were
//! tuned on by it.

use anyhow::Result;
use half::f16;
use sha2::{Digest, Sha256};

use super::config::SEVEN;
use super::other_models::{in_layer, is_of_layer};
use super::{Config, Generation, ModelFile, State, Version};

/// The bonus's logarithm in the first layer.
const LOG_BONUS: &str = "blocks.0.att.time_first";

/// What stands in a fingerprint before the hash of some numbers of the matrices.
const MATRICES: &str = "+matrices-";

/// What stands in a fingerprint before the hash of the vectors.
const VECTORS: &str = "+vectors-";

/// What stands in a fingerprint before the hash of the state that is merged into the model.
const STATE: &str = "+state-";

/// What some files of RWKV-7 have in the first layer, where nothing is computed with it: the same model
/// with and without is the same.
const UNUSED: [&str; 3] = ["blocks.0.att.v0", "blocks.0.att.v1", "blocks.0.att.v2"];

/// A matrix is looked at in so many places, this many numbers in each: little to read of a model
/// that is on a slow disk, and some of any layer that was trained.
const PLACES: usize = 4;
const NUMBERS: usize = 64;

/// A hash, in hexadecimal, of the sizes and of every layer's decays and norms (and RWKV-7's bonus):
/// little to read, and training changes most of them. RWKV-7's begins with its generation. Behind it
/// stand, each with a `+`: what a model computes with and others of its version do not; a hash of
/// samples of the matrices; one of all vectors; one of the state that is merged in.
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
    // Most checkpoints of 5.0 have the logarithm of the bonus, and all later ones the bonus.
    let bonus = match config.version {
        Version::V5_0 if !file.has(LOG_BONUS) => "+time_faaaa",
        _ => "",
    };
    let weights = format!(
        "{prefix}{}{bonus}{MATRICES}{}{VECTORS}{}",
        hexadecimal(hasher),
        hexadecimal(of_matrices(file)?),
        hexadecimal(of_vectors(file)?)
    );
    let Some(State { wkv, .. }) = merged else {
        return Ok(weights);
    };
    let mut hasher = Sha256::new();
    for number in wkv.flatten_all()?.to_vec1::<f32>()? {
        hasher.update(number.to_le_bytes());
    }
    Ok(format!("{weights}{STATE}{}", hexadecimal(hasher)))
}

/// A hash of samples of every matrix that RWKV models are made of. The rest of a file may change
/// without making another model.
fn of_matrices(file: &ModelFile) -> Result<Sha256> {
    let mut hasher = Sha256::new();
    let names = used(file).filter(|name| is_matrix(name));
    for name in names {
        let Ok([rows, columns]) = file.matrix_shape(name) else {
            continue;
        };
        let count = rows * columns;
        hasher.update(name);
        for place in 0..PLACES {
            let start = count / PLACES * place;
            let end = count.min(start + NUMBERS);
            // As a copy of the model in f16 has them.
            for number in file.part(name, start..end)? {
                hasher.update(f16::from_f32(number).to_le_bytes());
            }
        }
    }
    Ok(hasher)
}

/// A hash of all that layers are made of beside matrices, and of the last norm.
fn of_vectors(file: &ModelFile) -> Result<Sha256> {
    let mut hasher = Sha256::new();
    for name in used(file).filter(|name| is_vector(name)) {
        hasher.update(name);
        for number in file.numbers(name, file.shape(name)?)? {
            hasher.update(f16::from_f32(number).to_le_bytes());
        }
    }
    Ok(hasher)
}

/// The names of what models compute with, among others.
fn used(file: &ModelFile) -> impl Iterator<Item = &str> {
    file.names().filter(|name| !UNUSED.contains(name))
}

/// Whether a tensor of this name is one of the model's vectors.
fn is_vector(name: &str) -> bool {
    let of_layer = in_layer(name).is_some_and(|part| is_of_layer(part) && !part.ends_with("state"));
    (of_layer || name.starts_with("ln_out.")) && !is_matrix(name)
}

/// Whether a tensor of this name is one of the model's matrices.
fn is_matrix(name: &str) -> bool {
    let Some(inside) = name.strip_prefix("blocks.") else {
        return matches!(name, "emb.weight" | "head.weight");
    };
    let part = inside.split_once('.').map_or("", |(_, part)| part);
    let of_time_mix = |name: &str| {
        let is_low_rank =
            name.len() == 2 && name.ends_with(['1', '2']) && name.starts_with(['w', 'a', 'v', 'g']);
        is_low_rank
            || matches!(
                name,
                "receptance.weight"
                    | "key.weight"
                    | "value.weight"
                    | "gate.weight"
                    | "output.weight"
            )
    };
    match part.split_once('.') {
        Some(("att", name)) => of_time_mix(name),
        Some(("ffn", name)) => matches!(name, "receptance.weight" | "key.weight" | "value.weight"),
        _ => false,
    }
}

/// The beginning of a hash.
fn hexadecimal(hasher: Sha256) -> String {
    let hash = hasher.finalize();
    hash[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether it is the fingerprint of a model that this version knows, by its prefix and its hash.
pub fn is_fingerprint(text: &str) -> bool {
    let hash = text.strip_prefix(SEVEN).unwrap_or(text);
    let hash = hash.split('+').next().unwrap_or_default();
    !hash.is_empty() && hash.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Whether a state that was tuned on the model with the fingerprint `tuned_on` is one for the model
/// at hand: its weights must be the same. A state that is merged into either makes no difference,
/// since another takes its place. Earlier versions wrote no hash of the vectors, ones before them
/// none of the matrices, and the first nothing behind the hash at all.
pub fn is_same_model(tuned_on: &str, fingerprint: &str) -> bool {
    let before = |whole: &str, what: &str| whole.split(what).next().unwrap_or_default().to_string();
    let (then, now) = (before(tuned_on, STATE), before(fingerprint, STATE));
    let [vectors, matrices, plus] = [VECTORS, MATRICES, "+"].map(|what| before(&now, what));
    [now, vectors, matrices, plus].contains(&then)
}
