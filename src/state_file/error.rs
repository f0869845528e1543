//! Why a state could not be read or written.

use crate::model::Generation;
use crate::setting;
use crate::tensors::{self, Dtype};

/// Why a state could not be read or written. The path is the caller's to add.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file is not one of tensors, or could not be read or written.
    #[error(transparent)]
    File(#[from] tensors::Error),
    /// What this program wrote beside the numbers was changed, or a later version wrote it.
    #[error(
        "its tag, state-tune.json, is damaged, or of a later version of this program ({reason}); \
         use a copy of the file, or that version"
    )]
    Tag {
        /// What is wrong with it, fit for a message.
        reason: String,
    },
    /// A later version of this program wrote it, which may mean something else by what it holds.
    #[error("{program} wrote it, and this is {this}; use that version, or tune the state again")]
    LaterVersion {
        /// The program and its version, fit for a message.
        program: String,
        /// This program and its version.
        this: &'static str,
    },
    /// No format recognises what the file holds.
    #[error(
        "it is not a state: expected [softprompt, (time_shifts, time_mix)] or another format that \
         `state-tune convert` knows, found {found}"
    )]
    NotAState {
        /// What it holds instead.
        found: String,
    },
    /// Views of a small storage unfold to far more than the file holds.
    #[error(
        "its tensors come to {bytes} bytes, out of a file of {file}; save it again with torch.save"
    )]
    Swollen {
        /// The bytes that all tensors would take.
        bytes: usize,
        /// The file's length in bytes.
        file: usize,
    },
    /// The user named a format, and the file is clearly of another.
    #[error("it is of the format {found}, not {wanted}")]
    OtherFormat {
        /// The format that the file is of.
        found: &'static str,
        /// The format that was named.
        wanted: &'static str,
    },
    /// Two formats that differ only in which way the matrices stand are possible.
    #[error(
        "its matrices are of type {dtype:?}, which web-rwkv's files are not: they may stand as \
         [key, value] or as [value, key], and nothing in the file tells; say which by `state-tune \
         convert` with {FROM} web-rwkv or {FROM} time_state; `state-tune inspect` with {MODEL} and \
         {DATA_PATH} finds out",
        FROM = setting::FROM,
        MODEL = setting::MODEL,
        DATA_PATH = setting::DATA_PATH
    )]
    Unclear {
        /// The type of the matrices.
        dtype: Dtype,
    },
    /// A dictionary lacks a part of a layer's state.
    #[error(
        "it has {found}, but no {missing}: the state is incomplete, or its layers go by other \
         names; save all of them by such names"
    )]
    Layers {
        /// A tensor that shows it.
        found: String,
        /// One that should be there.
        missing: String,
    },
    /// A dictionary holds other tensors as well.
    #[error("it has {name} beside a state's tensors, which no state has; save the state's alone")]
    More {
        /// The name of one.
        name: String,
    },
    /// A tensor has a type of number that states never have.
    #[error("its {part} is of type {dtype:?}; bf16, f16 and f32 can be used")]
    Type {
        /// Which tensor, as the original format calls it.
        part: &'static str,
        /// The type it has.
        dtype: Dtype,
    },
    /// A tensor's shape could belong to no model.
    #[error("its {part} is {found:?}, where {expected} is needed")]
    Shape {
        /// Which tensor, as the original format calls it.
        part: &'static str,
        /// The shape it has.
        found: Vec<usize>,
        /// The dimensions that it should have, in words.
        expected: &'static str,
    },
    /// The state is for a model of another size.
    #[error(
        "it does not fit the model: its {part} is {found:?}, the model's would be {expected:?}"
    )]
    Misfit {
        /// Which tensor, as the original format calls it.
        part: &'static str,
        /// The shape it has.
        found: Vec<usize>,
        /// The shape that the model needs.
        expected: Vec<usize>,
    },
    /// The state is for a model with another number of layers.
    #[error("it does not fit the model: it has {found} layers, the model {expected}")]
    Depth {
        /// How many layers the state has.
        found: usize,
        /// How many the model has.
        expected: usize,
    },
    /// The shapes fit, but the tag names another model.
    #[error(
        "it was tuned on another model of this shape (its tag says {found}, this model is \
         {expected}); give that model, or {FORCE} to use it all the same",
        FORCE = setting::FORCE
    )]
    OtherModel {
        /// The fingerprint in the tag.
        found: String,
        /// The fingerprint of the model at hand.
        expected: String,
    },
    /// The matrices of one generation of RWKV mean nothing to another, though shapes may agree.
    #[error(
        "it was tuned on an {found} model, and this is an {expected} model, whose matrices mean \
         something else; give a state of this model, or {FORCE} to use it all the same",
        FORCE = setting::FORCE
    )]
    OtherGeneration {
        /// The generation that the state was tuned on.
        found: Generation,
        /// The model's.
        expected: Generation,
    },
    /// The state is for a model of another size, and of another generation, which says more.
    #[error("it was tuned on an {found} model, and this is an {expected} model: {misfit}")]
    OtherKind {
        /// The generation that the state was tuned on.
        found: Generation,
        /// The model's.
        expected: Generation,
        /// How it does not fit.
        misfit: Box<Error>,
    },
    /// Training has diverged, or a number is beyond what the type of the file can hold.
    #[error(
        "its {part} holds a number that is not finite, or too large for the file's type; tune it \
         with a lower {LEARNING_RATE}",
        LEARNING_RATE = setting::LEARNING_RATE
    )]
    NotFinite {
        /// Which tensor, as the original format calls it.
        part: &'static str,
    },
    /// The format is a whole model with the state in it, and there is no model to copy.
    #[error("it is written into a copy of a model, and no model is given")]
    NoModel,
    /// Computing with the state failed, as when the GPU has no memory left.
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
