//! The learnt state on disk, in the formats that programs of this field read and write.
//!
//! What training writes is `state.pth`, which `torch.load(path, weights_only=True)` gives back as
//!
//! ```text
//! [softprompt (1,1,C), (time_shifts (2L,1,1,C), time_mix (L,1,H,K,K))]
//! ```
//!
//! Soft prompt and shifts have the model's own type, time_mix is f32 and stands as \[value, key\] (in memory it is
//! [key, value]). A state without a soft prompt holds an empty one, (1,0,C): joined to a text's embeddings it changes
//! nothing, and no reader can feed a vector of zeros by mistake.
//!
//! The other formats are those of [`Format`]. A file is recognised by what it holds; where two formats look alike, by
//! its tag ([`Tag`]), or by what the user says it is, and otherwise not at all.

mod format;
mod read;
mod tag;
mod write;

use std::path::Path;

pub use format::{FORMATS, Format};
pub use read::{Found, open};
pub use tag::Tag;
pub use write::{check, write, write_into_model};

use crate::model::{Config, State};
use crate::tensors::{self, Dtype};

/// Why a state could not be read or written. The path is the caller's to add.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    File(#[from] tensors::Error),
    #[error(
        "it is not a state: expected [softprompt, (time_shifts, time_mix)] or another format that `state-tune convert` \
         knows, found {found}"
    )]
    NotAState { found: String },
    #[error(
        "its tensors come to {bytes} bytes, out of a file of {file}; save it again with torch.save"
    )]
    Swollen { bytes: usize, file: usize },
    #[error("it is of the format {found}, not {wanted}")]
    OtherFormat { found: Format, wanted: Format },
    #[error(
        "its matrices are of type {dtype:?}, which web-rwkv's files are not: they may stand as [key, value] or as \
         [value, key], and nothing in the file tells; say which by `state-tune convert` with --from web-rwkv or --from time_state"
    )]
    Unclear { dtype: Dtype },
    #[error("it has {name}, but not one of every layer before it, or something else beside them")]
    Layers { name: String },
    #[error("its {part} is of type {dtype:?}; bf16, f16 and f32 can be used")]
    Type { part: &'static str, dtype: Dtype },
    #[error("its {part} is {found:?}, where {expected} is needed")]
    Shape {
        part: &'static str,
        found: Vec<usize>,
        expected: &'static str,
    },
    #[error(
        "it does not fit the model: its {part} is {found:?}, the model's would be {expected:?}"
    )]
    Misfit {
        part: &'static str,
        found: Vec<usize>,
        expected: Vec<usize>,
    },
    #[error(
        "it was tuned on another model of this shape (its tag says {found}, this model is {expected}); give that model, \
         or --force to use it all the same"
    )]
    OtherModel { found: String, expected: String },
    #[error(
        "its {part} holds a number that is not finite, or too large for the file's type; tune it with a lower \
         --learningrate"
    )]
    NotFinite { part: &'static str },
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
}

/// Reads a state of any format and holds it against the model's shapes.
pub fn read(path: &Path, config: &Config) -> Result<State, Error> {
    open(path, None)?.fit(config)
}

#[cfg(test)]
mod tests;
