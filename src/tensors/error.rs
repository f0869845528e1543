//! Why a file of tensors could not be read or written.

use std::io;

use super::{pth, safetensors};

/// Why a file of tensors could not be read or written. The path is the caller's to add.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file could not be opened, mapped or written.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// What is wrong with a file that is not in the safetensors format.
    #[error(transparent)]
    Pth(#[from] pth::Error),
    /// What is wrong with a file that begins as a safetensors file does.
    #[error(transparent)]
    Safetensors(#[from] safetensors::Error),
    /// A `.pth` file holds something else at its top, for instance the list that is a state.
    #[error("it holds no dictionary of named tensors")]
    NoDictionary,
    /// A dictionary has something else beside its tensors.
    #[error("it holds {what} under {key}, not a tensor under a name")]
    NotATensor {
        /// The kind of value that stands there.
        what: &'static str,
        /// Its key, made fit for a message.
        key: String,
    },
}
