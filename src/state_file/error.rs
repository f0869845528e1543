//! Why a state could not be read or written.

use crate::setting;
use crate::tensors::{self, Dtype};

/// Why a state could not be read or written. The path is the caller's to add.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    File(#[from] tensors::Error),
    #[error(
        "it is not a state: expected [softprompt, (time_shifts, time_mix)] or another format that \
         `state-tune convert` knows, found {found}"
    )]
    NotAState { found: String },
    #[error(
        "its tensors come to {bytes} bytes, out of a file of {file}; save it again with torch.save"
    )]
    Swollen { bytes: usize, file: usize },
    #[error("it is of the format {found}, not {wanted}")]
    OtherFormat {
        found: &'static str,
        wanted: &'static str,
    },
    #[error(
        "its matrices are of type {dtype:?}, which web-rwkv's files are not: they may stand as \
         [key, value] or as [value, key], and nothing in the file tells; say which by `state-tune \
         convert` with {FROM} web-rwkv or {FROM} time_state",
        FROM = setting::FROM
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
        "it was tuned on another model of this shape (its tag says {found}, this model is \
         {expected}); give that model, or {FORCE} to use it all the same",
        FORCE = setting::FORCE
    )]
    OtherModel { found: String, expected: String },
    #[error(
        "its {part} holds a number that is not finite, or too large for the file's type; tune it \
         with a lower {LEARNING_RATE}",
        LEARNING_RATE = setting::LEARNING_RATE
    )]
    NotFinite { part: &'static str },
    #[error("it is written into a copy of a model, and no model is given")]
    NoModel,
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
}

impl Error {
    pub(super) fn not_a_state(found: &str) -> Self {
        Self::NotAState {
            found: found.to_string(),
        }
    }
}
