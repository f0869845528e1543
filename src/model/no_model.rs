//! A state in the model's place: each command takes its state by another name, and says so.

use std::fmt;

use anyhow::anyhow;

/// Why a file that was named as a model is none, where it is or may be a state.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct NoModel(pub(super) String);

/// An error with the way out, if a state was named as the model: `by` is how a state is named there.
pub fn with_way_out(error: anyhow::Error, by: impl fmt::Display) -> anyhow::Error {
    match error.chain().any(|cause| cause.is::<NoModel>()) {
        true => anyhow!("{error:#}; name the model that it belongs to, and the state by {by}"),
        false => error,
    }
}
