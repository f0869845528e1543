//! What frozen matrices are held as.

use std::fmt;

use crate::setting;

/// What frozen matrices are held as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weights {
    /// As the file has them, where the file has them.
    File,
    /// Rounded to bf16 in memory; a file that has bf16 is used as it is.
    Bf16,
    /// Quantised to eight bits in memory.
    Int8,
    /// Quantised to four bits in memory.
    Nf4,
}

impl Weights {
    /// Each with its word.
    pub const NAMES: [(&'static str, Self); 4] = [
        ("file", Self::File),
        ("bf16", Self::Bf16),
        ("int8", Self::Int8),
        ("nf4", Self::Nf4),
    ];
}

impl fmt::Display for Weights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(setting::word(&Self::NAMES, self))
    }
}
