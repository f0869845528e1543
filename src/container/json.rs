//! JSON that is no sequence of lines: objects one after another over several lines, the elements of
//! an array, and those of an array in an object. None is ever held as a whole.

use std::io::{BufReader, Read};

use serde::Deserializer as _;
use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};
use serde_json::de::IoRead;
use serde_json::value::RawValue;

use super::Take;
use super::bounded::{Bounded, Budget};
use super::error::ContainerError;
use super::scan;

/// The most keys beside the rows that are remembered.
const MOST_KEYS: usize = 20;

/// Gives each of the objects to `take` that stand one after another, as `jq .` writes them.
pub fn each_document<E: From<ContainerError>>(
    text: Box<dyn Read>,
    take: Take<'_, E>,
) -> Result<(), E> {
    let (text, budget) = Bounded::new(text);
    let mut rows = Rows::new(take, budget);
    for document in serde_json::Deserializer::from_reader(text).into_iter::<Box<RawValue>>() {
        let document = document.map_err(|error| rows.not_json(error))?;
        rows.add(&document)?;
    }
    Ok(())
}

/// Gives each element of an array to `take`.
pub fn each_element<E: From<ContainerError>>(
    text: Box<dyn Read>,
    take: Take<'_, E>,
) -> Result<(), E> {
    read(text, take, |rows, json| rows.deserialize(json))
}

/// Gives each element of the array under `key` of an object to `take`. Returns the other keys.
pub fn each_element_under<E: From<ContainerError>>(
    text: Box<dyn Read>,
    key: &str,
    take: Take<'_, E>,
) -> Result<Vec<String>, E> {
    let mut keys = Vec::new();
    read(text, take, |rows, json| {
        json.deserialize_map(Around {
            rows,
            key,
            keys: &mut keys,
        })
    })?;
    Ok(keys)
}

type Json = serde_json::Deserializer<IoRead<BufReader<Bounded>>>;

/// Reads one JSON value, and the file's end behind it.
fn read<E: From<ContainerError>>(
    text: Box<dyn Read>,
    take: Take<'_, E>,
    value: impl FnOnce(&mut Rows<'_, E>, &mut Json) -> serde_json::Result<()>,
) -> Result<(), E> {
    let (text, budget) = Bounded::new(text);
    let mut rows = Rows::new(take, budget);
    let mut json = serde_json::Deserializer::from_reader(text);
    let done = value(&mut rows, &mut json).and_then(|()| json.end());
    match rows.fault.take() {
        Some(fault) => Err(fault),
        None => Ok(done.map_err(|error| rows.not_json(error))?),
    }
}

/// The elements of an array, handed on one by one.
struct Rows<'a, E> {
    take: Take<'a, E>,
    count: usize,
    budget: Budget,
    /// Why reading was ended, if it is not for the JSON: serde's errors hold text alone.
    fault: Option<E>,
    /// The key whose value is read, if it is not that of the rows.
    beside: Option<String>,
}

impl<'a, E: From<ContainerError>> Rows<'a, E> {
    fn new(take: Take<'a, E>, budget: Budget) -> Self {
        Self {
            take,
            count: 0,
            budget,
            fault: None,
            beside: None,
        }
    }

    fn add(&mut self, row: &RawValue) -> Result<(), E> {
        self.budget.renew();
        self.count += 1;
        // Inside a string a newline is escaped, so every newline here lies between values.
        if row.get().contains(['\n', '\r']) {
            let row = row.get().replace(['\n', '\r'], " ");
            return (self.take)(self.count, Ok(row.as_bytes()));
        }
        (self.take)(self.count, Ok(row.get().as_bytes()))
    }

    fn not_json(&self, error: serde_json::Error) -> ContainerError {
        let (row, line, column) = (self.count + 1, error.line(), error.column());
        if error.is_io() {
            return match (ContainerError::reading(error.into(), row), &self.beside) {
                (ContainerError::TooLong { .. }, Some(key)) => {
                    ContainerError::LongValue { key: key.clone() }
                }
                (error, _) => error,
            };
        }
        let reason = error.to_string();
        let place = format!(" at line {line} column {column}");
        ContainerError::NotJson {
            row,
            line,
            column,
            reason: reason.strip_suffix(&place).unwrap_or(&reason).to_owned(),
        }
    }
}

impl<'de, E: From<ContainerError>> DeserializeSeed<'de> for &mut Rows<'_, E> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_seq(self)
    }
}

impl<'de, E: From<ContainerError>> Visitor<'de> for &mut Rows<'_, E> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an array of objects")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<(), A::Error> {
        while let Some(row) = array.next_element::<Box<RawValue>>()? {
            if let Err(fault) = self.add(&row) {
                self.fault = Some(fault);
                return Err(A::Error::custom("not read further"));
            }
        }
        Ok(())
    }
}

/// An object around the rows.
struct Around<'a, 'b, E> {
    rows: &'a mut Rows<'b, E>,
    key: &'a str,
    keys: &'a mut Vec<String>,
}

impl<'de, E: From<ContainerError>> Visitor<'de> for Around<'_, '_, E> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<(), A::Error> {
        let mut is_read = false;
        while let Some(key) = object.next_key::<String>()? {
            if key == self.key && !is_read {
                is_read = true;
                object.next_value_seed(&mut *self.rows)?;
                continue;
            }
            self.rows.beside = Some(key.clone());
            let value: Box<RawValue> = object.next_value()?;
            self.rows.beside = None;
            self.rows.budget.renew();
            if scan::is_array_of_rows(value.get().as_bytes()) {
                let (first, second) = (self.key.to_owned(), key);
                let fault = ContainerError::SeveralArrays { first, second };
                self.rows.fault = Some(fault.into());
                return Err(A::Error::custom("not read further"));
            }
            if self.keys.len() < MOST_KEYS {
                self.keys.push(key);
            }
        }
        Ok(())
    }
}
