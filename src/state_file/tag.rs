//! What this program writes beside a state's numbers: the format, the model that it was tuned on, and
//! the texts round what it was tuned on. It is an entry of the zip archive that `torch.load` does not
//! look at, or safetensors' metadata.

use serde::{Deserialize, Serialize};

use super::error::Error;
use super::format::Format;
use crate::data::Formats;
use crate::model::is_fingerprint;
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
    /// The texts that it was tuned with, where they were known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub texts: Option<Texts>,
}

/// The texts that stood round what a state was tuned on, under the names of their settings. Line ends
/// are line ends; the end-of-text token stands as it is typed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Texts {
    /// A prompt's.
    pub prompt_formatter: String,
    /// An answer's.
    pub response_formatter: String,
    /// A system message's.
    pub system_formatter: String,
    /// What ended every answer; may be empty.
    pub response_end: String,
}

impl Texts {
    /// Those of a run.
    pub fn of(formats: &Formats) -> Self {
        Self {
            prompt_formatter: formats.prompt.to_string(),
            response_formatter: formats.response.to_string(),
            system_formatter: formats.system.to_string(),
            response_end: formats.end.to_string(),
        }
    }
}

/// Where a state comes from, as far as it is known: what its tag says beside the format.
#[derive(Clone, Copy, Debug, Default)]
pub struct Origin<'a> {
    /// The fingerprint of the model that it belongs to.
    pub model: Option<&'a str>,
    /// The texts that it was tuned with.
    pub texts: Option<&'a Texts>,
}

impl Tag {
    /// The tag of a state that is written now.
    pub fn new(format: Format, Origin { model, texts }: Origin) -> Self {
        Self {
            program: concat!("state-tune ", env!("CARGO_PKG_VERSION")).to_string(),
            format: format.to_string(),
            model: model.map(str::to_string),
            texts: texts.cloned(),
        }
    }

    /// The tag as a file holds it: one JSON object.
    pub fn text(&self) -> String {
        // Texts cannot fail to become JSON.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// The tag in a file. Errors when it is none that this version understands.
    pub fn parse(text: &[u8]) -> Result<Self, Error> {
        let broken = |reason: String| Error::Tag {
            reason: shown(&reason),
        };
        let tag: Self = serde_json::from_slice(text).map_err(|error| broken(error.to_string()))?;
        if Format::named(&tag.format).is_none() {
            return Err(broken(format!("it names the format {}", tag.format)));
        }
        match &tag.model {
            Some(model) if !is_fingerprint(model) => {
                Err(broken(format!("it names the model {model}")))
            }
            _ => Ok(tag),
        }
    }
}
