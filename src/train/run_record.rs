//! What a checkpoint holds beside its tensors: what a run learns and from what ([`Identity`]), and
//! where it stands ([`RunRecord`]). What this version does not know of it is an error: to leave it
//! out would go on with another run than was meant.

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::memory_plan::Plan;
use super::prepare::TrainingData;
use super::settings::RunSettings;
use crate::data::Example;
use crate::model::Rwkv;
use crate::report::History;
use crate::setting::RESUME;
use crate::tensors::shown;

/// This program, as a checkpoint names it.
pub const PROGRAM: &str = concat!("state-tune ", env!("CARGO_PKG_VERSION"));

/// What the first version called the run's identity.
const IDENTITY_OF_FIRST: &str = "subject";

/// What a run learns, and from what: a checkpoint can be resumed only by a run that has the same.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Identity {
    /// The model's fingerprint.
    pub model: String,
    /// Hashes of the tokens that are learnt and of those held out.
    pub examples: String,
    pub held_out: String,
}

/// A checkpoint's numbers and texts.
#[derive(Debug, Serialize, Deserialize)]
pub struct RunRecord {
    // The first version called them by other names.
    #[serde(alias = "subject")]
    pub identity: Identity,
    #[serde(alias = "flags", deserialize_with = "RunSettings::read")]
    pub settings: RunSettings,
    pub steps: usize,
    /// Examples drawn from the walk.
    pub drawn: usize,
    pub seconds: f64,
    pub plan: Plan,
    /// What computed it, in words; earlier checkpoints do not say it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub computed_by: String,
    /// How many ranks computed it.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub ranks: usize,
    /// Step and held-out loss of the best state.
    pub best: Option<(usize, f64)>,
    pub history: History,
    /// Whether it was read from a checkpoint of the first version, which had no checksum.
    #[serde(skip)]
    pub is_of_first_version: bool,
}

fn one() -> usize {
    1
}

fn is_one(ranks: &usize) -> bool {
    *ranks == 1
}

impl Identity {
    pub fn new(model: &Rwkv, data: &TrainingData) -> Self {
        Self {
            model: model.fingerprint().to_string(),
            examples: hash(&data.examples),
            held_out: hash(&data.held_out),
        }
    }
}

fn hash(examples: &[Example]) -> String {
    let mut hasher = Sha256::new();
    for example in examples {
        hasher.update(example.tokens.len().to_le_bytes());
        for part in &example.learnt {
            hasher.update(part.start.to_le_bytes());
            hasher.update(part.end.to_le_bytes());
        }
        for token in &example.tokens {
            hasher.update(token.to_le_bytes());
        }
    }
    let hash = hasher.finalize();
    hash[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

impl RunRecord {
    /// Reads a record. Errors when it holds something that this version would leave out.
    pub fn read(json: &[u8]) -> Result<Self> {
        let damaged = "its record of the run is damaged";
        let mut record: Self = serde_json::from_slice(json).context(damaged)?;
        let found: Value = serde_json::from_slice(json).context(damaged)?;
        if let Some(name) = unknown(&found, &serde_json::to_value(&record)?) {
            bail!(
                "its record holds {}, which this version does not know; use the version that \
                 wrote it, or leave out {RESUME}",
                shown(&name)
            );
        }
        record.is_of_first_version = found.get(IDENTITY_OF_FIRST).is_some();
        Ok(record)
    }
}

/// A name in one JSON value that another does not have at its place.
fn unknown(found: &Value, known: &Value) -> Option<String> {
    match (found, known) {
        (Value::Object(found), Value::Object(known)) => found.iter().find_map(|(name, value)| {
            // The first version called two of them so, and had more in one.
            let is_of_first = [IDENTITY_OF_FIRST, "flags"].contains(&name.as_str());
            match known.get(name) {
                _ if is_of_first => None,
                Some(known) => unknown(value, known),
                None => Some(name.clone()),
            }
        }),
        (Value::Array(found), Value::Array(known)) => {
            let mut both = found.iter().zip(known);
            both.find_map(|(found, known)| unknown(found, known))
        }
        _ => None,
    }
}

/// Errors when a checkpoint was written by a later version of this program, which may mean something
/// else by it.
pub fn check_version(program: &str) -> Result<()> {
    let version = |program: &str| -> Option<Vec<u64>> {
        let numbers = program
            .strip_prefix("state-tune ")?
            .split(['-', '+'])
            .next()?;
        numbers
            .split('.')
            .map(|number| number.parse().ok())
            .collect()
    };
    let is_known = version(program).is_some_and(|written| Some(written) <= version(PROGRAM));
    ensure!(
        is_known,
        "{} wrote it, and this is {PROGRAM}; use that version, or leave out {RESUME}",
        shown(program)
    );
    Ok(())
}
