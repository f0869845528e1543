//! What this program writes beside a state's numbers: the format, the model that it was tuned on, and
//! the texts round what it was tuned on. It is an entry of the zip archive that `torch.load` does not
//! look at, or safetensors' metadata.

use serde::{Deserialize, Serialize};

use super::error::Error;
use super::format::Format;
use crate::data::Formats;
use crate::data::format::{DataFormat, Shape, TextRows};
use crate::data::template::Template;
use crate::data::words::joined;
use crate::model::is_fingerprint;
use crate::setting::{
    DATA_FORMAT, PROMPT_FORMATTER, RESPONSE_END, RESPONSE_FORMATTER, SYSTEM_FORMATTER, Setting,
};
use crate::tensors::shown;
use crate::tokenizer::Text;

/// The name of the tag in a file.
pub const NAME: &str = "state-tune.json";

/// This program, as a tag names it.
const PROGRAM: &str = concat!("state-tune ", env!("CARGO_PKG_VERSION"));

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
    /// How many of the rows stood as they are instead, but for the end.
    #[serde(default, skip_serializing_if = "is_none")]
    pub text_rows: TextRows,
}

fn is_none(text_rows: &TextRows) -> bool {
    *text_rows == TextRows::None
}

impl Texts {
    /// Those of a run.
    pub fn of(formats: &Formats, text_rows: TextRows) -> Self {
        Self {
            prompt_formatter: formats.prompt.to_string(),
            response_formatter: formats.response.to_string(),
            system_formatter: formats.system.to_string(),
            response_end: formats.end.to_string(),
            text_rows,
        }
    }
}

impl Texts {
    /// Which rows stood as they are, in words, if any did.
    pub fn stood_alone(&self) -> Option<String> {
        let some = match self.text_rows {
            TextRows::None => return None,
            TextRows::Some => "some texts",
            TextRows::All => "texts",
        };
        let format = DataFormat::Shape(Shape::Text);
        Some(format!(
            "{some} that stood without formatters ({DATA_FORMAT} {format})"
        ))
    }

    /// Puts those into formats that are used and were not typed. Returns what to tell of that, a line
    /// each. Errors when one is no template.
    pub fn put_into(
        &self,
        formats: &mut Formats,
        used: &[Setting],
        typed: &[Setting],
    ) -> Result<Vec<String>, Error> {
        let Self {
            prompt_formatter,
            response_formatter,
            system_formatter,
            response_end,
            text_rows,
        } = self;
        let (mut taken, mut told) = (Vec::new(), Vec::new());
        let mut differs = |setting: Setting, now: String, own: &str| {
            let was_used = *text_rows != TextRows::All || setting == RESPONSE_END;
            if !used.contains(&setting) || !was_used {
                return false;
            }
            let is_typed = typed.contains(&setting);
            if now != own && is_typed {
                told.push(format!(
                    "the state was tuned with another {setting}, {own:?}"
                ));
            } else if now != own {
                taken.push(format!("{setting} {own:?}"));
            }
            now != own && !is_typed
        };
        for (setting, template, own) in [
            (PROMPT_FORMATTER, &mut formats.prompt, prompt_formatter),
            (
                RESPONSE_FORMATTER,
                &mut formats.response,
                response_formatter,
            ),
            (SYSTEM_FORMATTER, &mut formats.system, system_formatter),
        ] {
            if differs(setting, template.to_string(), own) {
                *template = Template::parse(own).map_err(|error| Error::Tag {
                    reason: shown(&format!("its {setting}: {error}")),
                })?;
            }
        }
        if differs(RESPONSE_END, formats.end.to_string(), response_end) {
            formats.end = Text::typed(response_end);
        }
        if let Some(texts) = self
            .stood_alone()
            .filter(|_| used.contains(&PROMPT_FORMATTER))
        {
            let formatter = formats.prompt.to_string();
            told.push(format!(
                "the state was tuned on {texts}; what is no such text stands in {PROMPT_FORMATTER} {formatter:?}"
            ));
        }
        if !taken.is_empty() {
            told.push(format!(
                "as the state was tuned, with {}; others that are typed take their place",
                joined(&taken)
            ));
        }
        Ok(told)
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
            program: PROGRAM.to_string(),
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
        // What else a later version writes may not be understood.
        if let Ok(Program { program }) = serde_json::from_slice(text)
            && is_later(&program)
        {
            return Err(Error::LaterVersion {
                program: shown(&program),
                this: PROGRAM,
            });
        }
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

/// Of a tag, the program that wrote it.
#[derive(Deserialize)]
struct Program {
    program: String,
}

/// Whether a program is a later version of this one that may mean something else by what it writes:
/// one of these two numbers is higher.
fn is_later(program: &str) -> bool {
    let numbers = |program: &str| -> Option<[u64; 2]> {
        let version = program.strip_prefix("state-tune ")?;
        let mut numbers = version.split(['.', '-', '+']).map(str::parse);
        Some([numbers.next()?.ok()?, numbers.next()?.ok()?])
    };
    numbers(program) > numbers(PROGRAM)
}
