//! What a file of tensors holds, as its format gives it, and its tensors by name.

use std::collections::BTreeMap;

use super::error::Error;
use super::names;
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

impl Content {
    /// The tensors by their [plain](names::plain) names. Errors when there is something else among
    /// them, or no name.
    pub fn into_tensors(self) -> Result<BTreeMap<String, Stored>, Error> {
        let tensors = match self {
            Self::Safetensors(tensors) => tensors,
            Self::Pth(Value::Dict(pairs)) => pairs
                .into_iter()
                .map(named_tensor)
                .collect::<Result<_, _>>()?,
            Self::Pth(_) => return Err(Error::NoDictionary),
        };
        let tensors = tensors.into_iter();
        Ok(tensors
            .map(|(name, tensor)| (names::plain(&name), tensor))
            .collect())
    }
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

/// A dictionary's key in words.
fn in_words(key: &Value) -> String {
    match key {
        Value::Str(name) => format!("the name {name:?}"),
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
