//! Tensors by the names, and in the shapes, that RWKV's own checkpoints give them.
//!
//! Everything that this program knows of other spellings stands here, so that whoever reads a file
//! finds the same tensors in it: what wrappers of PyTorch put before and into names, the names of
//! the Hugging Face hub (`hub`), and what web-rwkv's converter does to a checkpoint (`web_rwkv`).

mod hub;
mod web_rwkv;

use std::collections::{BTreeMap, BTreeSet};

use super::error::{Error, shown};
use super::stored::Stored;

/// What torch.compile, FSDP and activation checkpointing leave in the names of what they wrap, once
/// for each module.
const WRAPPERS: [&str; 3] = [
    "_orig_mod.",
    "_fsdp_wrapped_module.",
    "_checkpoint_wrapped_module.",
];

/// Bytes that tensors may come to however much of them they share, as those of a state of zeros may.
const SHARED: usize = 1 << 28;

/// The kind of file that names come from: some programs write one alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Container {
    /// PyTorch's.
    Pth,
    /// Safetensors.
    Safetensors,
}

/// Tensors as a checkpoint of RWKV's own would have them.
#[derive(Debug)]
pub struct Plain {
    /// In the order of the file.
    pub tensors: Vec<(String, Stored)>,
    /// What the file calls those that it calls otherwise.
    pub spelt: BTreeMap<String, String>,
}

/// The tensors as a checkpoint of RWKV's own would have them, in the same order. Names that belong
/// to no such checkpoint stay. Errors when two tensors would have one name, or when nothing shows
/// which way a file is to be understood.
pub fn plain(tensors: Vec<(String, Stored)>, container: Container) -> Result<Plain, Error> {
    check_shared(&tensors)?;
    let unwrapped: Vec<String> = tensors.iter().map(|(name, _)| unwrapped(name)).collect();
    let prefix = prefix(&unwrapped)?;
    let mut named = Vec::with_capacity(tensors.len());
    let mut names_in_file = Vec::with_capacity(tensors.len());
    for ((full, tensor), name) in tensors.iter().zip(&unwrapped) {
        let hub::Renamed {
            name,
            is_transposed,
        } = hub::renamed(without(name, &prefix));
        let tensor = match is_transposed {
            true => tensor.transposed(),
            false => tensor.clone(),
        };
        let parts = hub::mixes(&name, &tensor).unwrap_or_else(|| vec![(name, tensor)]);
        names_in_file.extend(parts.iter().map(|_| full));
        named.extend(parts);
    }
    web_rwkv::undo(&mut named, container)?;
    let mut firsts: BTreeMap<&str, &str> = BTreeMap::new();
    for ((name, _), full) in named.iter().zip(names_in_file) {
        if let Some(first) = firsts.insert(name, full) {
            return Err(Error::SameName {
                first: shown(first),
                second: shown(full),
                name: shown(name),
            });
        }
    }
    let spelt = firsts.into_iter().filter(|(name, full)| name != full);
    let spelt = spelt.map(|(name, full)| (name.to_string(), full.to_string()));
    Ok(Plain {
        spelt: spelt.collect(),
        tensors: named,
    })
}

/// Whether this is what a model's embedding is called, whatever stands before it.
pub fn is_embedding(name: &str) -> bool {
    before_embedding(&unwrapped(name)).is_some()
}

fn unwrapped(name: &str) -> String {
    let without = |name: String, wrapper: &&str| name.replace(wrapper, "");
    WRAPPERS.iter().fold(name.to_string(), without)
}

/// Errors when tensors share so much memory that a copy of each would take far more than all have: a
/// small file could ask for any amount.
fn check_shared(tensors: &[(String, Stored)]) -> Result<(), Error> {
    let windows = tensors
        .iter()
        .map(|(_, tensor)| tensor.bytes.as_ptr_range());
    let mut windows: Vec<_> = windows
        .map(|of| (of.start as usize, of.end as usize))
        .collect();
    windows.sort_unstable();
    let (mut bytes, mut held, mut end) = (0usize, 0usize, 0);
    for (start, stop) in windows {
        bytes = bytes.saturating_add(stop - start);
        held += stop.saturating_sub(start.max(end));
        end = end.max(stop);
    }
    match bytes > SHARED.max(held.saturating_mul(4)) {
        true => Err(Error::Shared { bytes, held }),
        false => Ok(()),
    }
}

/// What stands before the names of a model or a state: `module.` of DataParallel, `rwkv.` of
/// transformers, or whatever else. Errors when there are several models.
fn prefix(names: &[String]) -> Result<String, Error> {
    let embeddings: BTreeSet<&str> = names
        .iter()
        .filter_map(|name| before_embedding(name))
        .collect();
    // Sorted: what begins all others comes first.
    if let Some(first) = embeddings.first() {
        return match embeddings.iter().find(|other| !other.starts_with(first)) {
            Some(other) => Err(Error::ManyModels {
                first: shown(first),
                second: shown(other),
            }),
            None => Ok(first.to_string()),
        };
    }
    let layers: BTreeSet<&str> = names.iter().filter_map(|name| before_layer(name)).collect();
    Ok(match (layers.len(), layers.first()) {
        (1, Some(layer)) => layer.to_string(),
        _ => before_all(names).unwrap_or_default().to_string(),
    })
}

/// What stands before all names without a dot at its end, as nothing but a prefix does.
fn before_all(names: &[String]) -> Option<&str> {
    let of_model = |name: &String| {
        let mut ends = hub::EMBEDDINGS.iter();
        ends.find_map(|end| name.strip_suffix(end).map(str::len))
    };
    let mut found = names.iter().filter_map(|name| {
        let length = of_model(name).or_else(|| name.find("blocks.0."))?;
        Some(&name[..length])
    });
    let shared = shared_bytes(names);
    found.find(|start| start.len() <= shared)
}

/// With how many of their bytes all names begin alike: found once, since a file may hold so many
/// names that holding each against all others would not end.
fn shared_bytes(names: &[String]) -> usize {
    let Some((first, others)) = names.split_first() else {
        return 0;
    };
    let alike = |name: &String| {
        let pairs = first.bytes().zip(name.bytes());
        pairs.take_while(|(one, other)| one == other).count()
    };
    others.iter().map(alike).min().unwrap_or(first.len())
}

fn before_embedding(name: &str) -> Option<&str> {
    let before = hub::EMBEDDINGS
        .iter()
        .find_map(|end| name.strip_suffix(end));
    before.filter(|before| before.is_empty() || before.ends_with('.'))
}

/// What stands before `blocks.0.`, or another number.
fn before_layer(name: &str) -> Option<&str> {
    let starts = name.match_indices("blocks.").map(|(start, _)| start);
    let mut starts = starts.filter(|&start| start == 0 || name[..start].ends_with('.'));
    let is_layer =
        |start: &usize| name[start + "blocks.".len()..].starts_with(|c: char| c.is_ascii_digit());
    starts.find(is_layer).map(|start| &name[..start])
}

/// A name without the prefix, or without as many of its leading words as the name has: the head of
/// transformers' models stands beside what is in `rwkv.`.
fn without<'n>(name: &'n str, prefix: &str) -> &'n str {
    let ends = prefix.rmatch_indices('.').map(|(dot, _)| &prefix[..=dot]);
    let parts = [prefix].into_iter().chain(ends);
    let mut stripped = parts.filter_map(|part| name.strip_prefix(part));
    stripped.next().unwrap_or(name)
}

#[cfg(test)]
mod tests;
