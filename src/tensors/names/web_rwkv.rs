//! What the converter of web-rwkv (`convert_safetensors.py`; RWKV-Runner and Ai00 have it too, and
//! one in Rust) makes of a checkpoint, undone.
//!
//! It writes safetensors in f16. `time_faaaa` becomes `time_first`, the name under which 5.0
//! checkpoints have the logarithm of the same number; newer ones widen RWKV-5.1's decay and bonus to
//! a number a channel, as 5.2 has them, and transpose RWKV-7's matrices of low rank, and a
//! `time_state`. An older one of an RWKV-5 model leaves a `time_state` as it is, and nothing else
//! differs: which of them wrote a file with one cannot be told.

use super::super::error::{Error, shown};
use super::super::stored::Stored;
use super::Container;
use crate::tensors::Dtype;

const FIRST: &str = ".att.time_first";
const BONUS: &str = ".att.time_faaaa";
const DECAY: &str = ".att.time_decay";
const STATE: &str = ".att.time_state";
const GATE: &str = ".att.gate.weight";
/// RWKV-7's matrices of low rank, `[C, rank]` and `[rank, C]`.
const DOWN: [&str; 4] = [".att.w1", ".att.a1", ".att.g1", ".att.v1"];
const UP: [&str; 4] = [".att.w2", ".att.a2", ".att.g2", ".att.v2"];

/// Gives tensors the names and shapes that the converter was given. Others stay as they are. Errors
/// when a file may be the converter's and may be not, and that makes a difference.
pub fn undo(tensors: &mut [(String, Stored)], container: Container) -> Result<(), Error> {
    let Some(embedding) = find(tensors, "emb.weight") else {
        return Ok(()); // a state
    };
    let is_its_type = container == Container::Safetensors && embedding.dtype == Dtype::F16;
    let [_, n_embd] = embedding.shape[..] else {
        return Ok(());
    };
    undo_of_five(tensors, is_its_type)?;
    undo_in_rwkv7(tensors, n_embd, is_its_type)
}

fn find<'t>(tensors: &'t [(String, Stored)], name: &str) -> Option<&'t Stored> {
    let found = tensors.iter().find(|(found, _)| found == name);
    found.map(|(_, tensor)| tensor)
}

fn ends_with(name: &str, ends: &[&str]) -> bool {
    ends.iter().any(|end| name.ends_with(end))
}

fn transpose(tensors: &mut [(String, Stored)], ends: &[&str]) {
    let named = |(name, _): &&mut (String, Stored)| ends_with(name, ends);
    for (_, tensor) in tensors.iter_mut().filter(named) {
        *tensor = tensor.transposed();
    }
}

fn unclear(name: &str, what: &'static str) -> Error {
    Error::Unclear {
        name: shown(name),
        what,
    }
}

fn undo_of_five(tensors: &mut [(String, Stored)], is_its_type: bool) -> Result<(), Error> {
    let first_with = |end: &str| tensors.iter().find(|(name, _)| name.ends_with(end));
    let Some((first, _)) = first_with(FIRST) else {
        return Ok(());
    };
    let is_per_channel = |(name, tensor): &(String, Stored)| {
        name.ends_with(DECAY) && matches!(tensor.shape[..], [_, per_head] if per_head > 1)
    };
    if !tensors.iter().any(is_per_channel) {
        // 5.0: the logarithm, as its checkpoints have it, unless the converter renamed it, to whose
        // f16 alone that could happen. The gated 5.1 has the number, by its own name.
        return match is_its_type || first_with(GATE).is_some() {
            true => Err(unclear(first, "may be a number or its logarithm")),
            false => Ok(()),
        };
    }
    if let Some((state, _)) = first_with(STATE) {
        return Err(unclear(
            state,
            "may be transposed (by older versions it is not)",
        ));
    }
    for (name, _) in tensors.iter_mut() {
        if let Some(layer) = name.strip_suffix(FIRST) {
            *name = format!("{layer}{BONUS}");
        }
    }
    // 5.1 again, where all of a head's numbers are one.
    let named = |(name, _): &&(String, Stored)| ends_with(name, &[DECAY, BONUS]);
    let narrow = tensors.iter().filter(named);
    let narrow: Option<Vec<Stored>> = narrow.map(|(_, tensor)| narrowed(tensor)).collect();
    if let Some(narrow) = narrow {
        let named = |(name, _): &&mut (String, Stored)| ends_with(name, &[DECAY, BONUS]);
        for ((_, tensor), narrow) in tensors.iter_mut().filter(named).zip(narrow) {
            *tensor = narrow;
        }
    }
    Ok(())
}

/// `[heads]` of `[heads, size]`, where all numbers of a head are the same.
fn narrowed(tensor: &Stored) -> Option<Stored> {
    let &[heads, size] = &tensor.shape[..] else {
        return None;
    };
    let item = tensor.dtype.bitsize() / 8;
    if heads == 0 || size == 0 || item == 0 {
        return None;
    }
    let mut numbers = Vec::with_capacity(heads * item);
    for head in tensor.bytes.chunks(size * item) {
        let first = &head[..item];
        if head.chunks(item).any(|number| number != first) {
            return None;
        }
        numbers.extend_from_slice(first);
    }
    Some(Stored {
        dtype: tensor.dtype,
        shape: vec![heads],
        bytes: numbers.into(),
    })
}

fn undo_in_rwkv7(
    tensors: &mut [(String, Stored)],
    n_embd: usize,
    is_its_type: bool,
) -> Result<(), Error> {
    let down = tensors.iter().filter(|(name, _)| ends_with(name, &DOWN));
    let shapes: Vec<(&str, [usize; 2])> = down
        .filter_map(|(name, tensor)| Some((name.as_str(), tensor.shape[..].try_into().ok()?)))
        .collect();
    let Some(&(first, _)) = shapes.first() else {
        return Ok(());
    };
    let stands = |row: usize, column: usize| {
        let mut shapes = shapes.iter().map(|(_, shape)| shape);
        shapes.any(|shape| shape[row] == n_embd && shape[column] != n_embd)
    };
    match (stands(0, 1), stands(1, 0)) {
        (false, true) => {}
        (false, false) if is_its_type => {
            return Err(unclear(first, "is square and may be transposed"));
        }
        _ => return Ok(()),
    }
    for ends in [&DOWN[..], &UP[..], &[STATE]] {
        transpose(tensors, ends);
    }
    Ok(())
}
