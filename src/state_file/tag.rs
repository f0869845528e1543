//! What this program writes beside a state's numbers: the format, and the model that it was tuned
//! on. It is an entry of the zip archive that `torch.load` does not look at, or safetensors'
//! metadata.

use serde::{Deserialize, Serialize};

use super::error::Error;
use super::format::Format;
use crate::tensors::shown;

/// The name of the tag in a file.
pub const NAME: &str = "state-tune.json";

/// The tag of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)] // a later version means something by them
pub struct Tag {
    /// The program that wrote the file.
    pub program: String,
    /// The format's name.
    pub format: String,
    /// The fingerprint of the model that the state was tuned on, where it was known.
    pub model: Option<String>,
}

impl Tag {
    /// The tag of a state that is written now; `model` is the fingerprint of the model it belongs
    /// to.
    pub fn new(format: Format, model: Option<&str>) -> Self {
        Self {
            program: concat!("state-tune ", env!("CARGO_PKG_VERSION")).to_string(),
            format: format.to_string(),
            model: model.map(str::to_string),
        }
    }

    /// The tag as a file holds it: one JSON object.
    pub fn text(&self) -> String {
        // Three texts cannot fail to become JSON.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// The tag in a file. Errors when it is none that this version understands.
    pub fn parse(text: &[u8]) -> Result<Self, Error> {
        let broken = |reason: String| Error::Tag {
            reason: shown(&reason),
        };
        let tag: Self = serde_json::from_slice(text).map_err(|error| broken(error.to_string()))?;
        match Format::named(&tag.format) {
            Some(_) => Ok(tag),
            None => Err(broken(format!("it names the format {}", tag.format))),
        }
    }
}
