//! What frozen matrices are held as.

use std::fmt;

/// What frozen matrices are held as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weights {
    /// As the file has them, where the file has them.
    File,
    Bf16,
    Int8,
    Nf4,
}

impl fmt::Display for Weights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::File => "file",
            Self::Bf16 => "bf16",
            Self::Int8 => "int8",
            Self::Nf4 => "nf4",
        })
    }
}
