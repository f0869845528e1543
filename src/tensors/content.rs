//! What a file of tensors holds, as its format gives it, and its tensors by name.

use std::collections::BTreeMap;

use super::error::{Error, shown};
use super::names::{self, Container, Plain};
use super::pth::Value;
use super::stored::Stored;

/// What a file of tensors holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    /// Of a `.pth`: whatever was saved, most often a dictionary of tensors.
    Pth(Value),
    /// Of a safetensors file: tensors by name.
    Safetensors(BTreeMap<String, Stored>),
}

/// A file's tensors by the names that RWKV's own files have.
#[derive(Debug)]
pub struct Named {
    /// In the order of the file.
    pub tensors: Vec<(String, Stored)>,
    /// The keys of what lies beside the dictionary of tensors, fit for a message: a trainer's
    /// counters, its optimiser.
    pub beside: Vec<String>,
    /// What the file calls the tensors that it calls otherwise.
    pub spelt: BTreeMap<String, String>,
}

impl Content {
    /// The tensors by their [plain](names::plain) names, out of one dictionary around them if there
    /// is one. Errors when there is something else among them, or no name.
    pub fn named(self) -> Result<Named, Error> {
        let (tensors, beside, container) = match self {
            Self::Safetensors(tensors) => {
                let tensors = tensors.into_iter().collect();
                (tensors, Vec::new(), Container::Safetensors)
            }
            Self::Pth(value) => {
                let (tensors, beside) = of_dictionary(value)?;
                (tensors, beside, Container::Pth)
            }
        };
        let Plain { tensors, spelt } = names::plain(tensors, container)?;
        Ok(Named {
            tensors,
            beside,
            spelt,
        })
    }

    /// As [`Self::named`], of a file that has nothing beside its tensors.
    pub fn into_tensors(self) -> Result<BTreeMap<String, Stored>, Error> {
        let Named {
            tensors, beside, ..
        } = self.named()?;
        match beside.is_empty() {
            true => Ok(tensors.into_iter().collect()),
            false => Err(Error::Beside { beside }),
        }
    }

    /// The tensors by the names that the file has, and the keys of what lies beside them.
    pub(super) fn into_stored(self) -> Result<(BTreeMap<String, Stored>, Vec<String>), Error> {
        match self {
            Self::Safetensors(tensors) => Ok((tensors, Vec::new())),
            Self::Pth(value) => {
                let (tensors, beside) = of_dictionary(value)?;
                Ok((tensors.into_iter().collect(), beside))
            }
        }
    }
}

/// What the `rwkv` package puts beside tensors that it transposed and rescaled.
const CONVERTED: [&str; 3] = ["_strategy", "_rescale_layer", "_version"];

type Pairs = Vec<(Value, Value)>;
type Tensors = Vec<(String, Stored)>;

/// The tensors of a dictionary, or of the one dictionary in it that has some, and the keys of what
/// lies beside that.
fn of_dictionary(value: Value) -> Result<(Tensors, Vec<String>), Error> {
    let Value::Dict(pairs) = value else {
        return Err(Error::NoDictionary);
    };
    // A trainer's dictionaries beside the model's have other names in them.
    let is_model =
        |(_, value): &(Value, Value)| matches!(value, Value::Dict(pairs) if has_embedding(pairs));
    // Its loss and its random numbers are tensors, too, beside the dictionary of the model's.
    let is_round_a_model = !has_embedding(&pairs) && pairs.iter().any(is_model);
    if has_tensors(&pairs) && !is_round_a_model {
        return of_flat(pairs);
    }
    let is_wrapped =
        |(_, value): &(Value, Value)| matches!(value, Value::Dict(pairs) if has_tensors(pairs));
    let (wrapped, beside): (Pairs, Pairs) = pairs.into_iter().partition(is_wrapped);
    let models = wrapped.iter().filter(|wrapped| is_model(wrapped)).count();
    let is_chosen = |pair: &(Value, Value)| models == 0 || is_model(pair);
    let (mut chosen, others): (Pairs, Pairs) = wrapped.into_iter().partition(is_chosen);
    match (chosen.pop(), chosen.is_empty()) {
        (Some((_, Value::Dict(pairs))), true) => {
            let others: Pairs = others.into_iter().chain(beside).collect();
            let (tensors, within) = of_flat(pairs)?;
            Ok((
                tensors,
                keys_of(&others)?.into_iter().chain(within).collect(),
            ))
        }
        (Some(last), _) => {
            chosen.push(last);
            Err(Error::ManyDictionaries {
                keys: keys_of(&chosen)?,
            })
        }
        // Nothing is wrapped: what there is is told, or there is nothing at all.
        (None, _) => Ok((named_tensors(beside)?, Vec::new())),
    }
}

/// The tensors of a dictionary, and the keys of what else is in it: as a trainer's counters lie
/// beside a dictionary, they may lie in it.
fn of_flat(pairs: Pairs) -> Result<(Tensors, Vec<String>), Error> {
    let is_tensor = |(_, value): &(Value, Value)| matches!(value, Value::Tensor(_));
    let (tensors, beside): (Pairs, Pairs) = pairs.into_iter().partition(is_tensor);
    Ok((named_tensors(tensors)?, keys_of(&beside)?))
}

fn has_tensors(pairs: &[(Value, Value)]) -> bool {
    let mut values = pairs.iter().map(|(_, value)| value);
    values.any(|value| matches!(value, Value::Tensor(_)))
}

fn has_embedding(pairs: &[(Value, Value)]) -> bool {
    let mut keys = pairs.iter().map(|(key, _)| key);
    keys.any(|key| matches!(key, Value::Str(name) if names::is_embedding(name)))
}

fn named_tensors(pairs: Pairs) -> Result<Tensors, Error> {
    pairs.into_iter().map(named_tensor).collect()
}

fn named_tensor(pair: (Value, Value)) -> Result<(String, Stored), Error> {
    match pair {
        (Value::Str(name), Value::Tensor(tensor)) => Ok((name, tensor)),
        (key, value) => Err(Error::NotATensor {
            what: kind(&value),
            key: in_words(&key),
        }),
    }
}

/// The keys of what is no tensor of the model's. Errors when one of them says that the tensors are
/// not as the model has them.
fn keys_of(pairs: &[(Value, Value)]) -> Result<Vec<String>, Error> {
    let keys: Vec<String> = pairs.iter().map(|(key, _)| key_of(key)).collect();
    match keys.iter().find(|key| CONVERTED.contains(&key.as_str())) {
        Some(key) => Err(Error::Converted { key: key.clone() }),
        None => Ok(keys),
    }
}

/// A dictionary's key as it is typed.
fn key_of(key: &Value) -> String {
    match key {
        Value::Str(name) => shown(name),
        other => in_words(other),
    }
}

/// A dictionary's key in words.
fn in_words(key: &Value) -> String {
    match key {
        Value::Str(name) => format!("the name \"{}\"", shown(name)),
        Value::Int(number) => format!("the number {number}"),
        other => kind(other).to_string(),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Tensor(_) => "a tensor",
        Value::List(_) => "a list",
        Value::Tuple(_) => "a tuple",
        Value::Dict(_) => "a dictionary (is the model nested inside it?)",
        Value::Str(_) => "a text",
        Value::Int(_) | Value::Float(_) | Value::Bool(_) => "a number",
        Value::None => "nothing",
    }
}
