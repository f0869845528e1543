//! What this program writes beside a state's numbers: the format, and the model that it was tuned
//! on. It is an entry of the zip archive that `torch.load` does not look at, or safetensors'
//! metadata.

use serde::{Deserialize, Serialize};

use super::format::Format;

/// The name of the tag in a file.
pub const NAME: &str = "state-tune.json";

/// The tag of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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

    /// The tag in a file, if it is one that this version understands.
    pub fn parse(text: &[u8]) -> Option<Self> {
        serde_json::from_slice(text).ok()
    }
}
