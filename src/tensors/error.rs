//! Why a file of tensors could not be read or written.

use std::io;

use super::{pth, safetensors};

/// Why a file of tensors could not be read or written. The path is the caller's to add.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Pth(#[from] pth::Error),
    #[error(transparent)]
    Safetensors(#[from] safetensors::Error),
    #[error("it holds no dictionary of named tensors")]
    NoDictionary,
    #[error("it holds {what} under {key}, not a tensor under a name")]
    NotATensor { what: &'static str, key: String },
}
