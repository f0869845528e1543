//! The table of formats.

use super::format::Format;

/// All formats, in the order in which they are tried and listed.
pub const FORMATS: [Format; 6] = [
    Format::STATE,
    Format::ORIGINAL,
    Format::TIME_STATE,
    Format::WEB_RWKV,
    Format::RWKV_LIVE,
    Format::MODEL,
];

impl Format {
    /// The format called `name`.
    pub fn named(name: &str) -> Option<Self> {
        FORMATS.into_iter().find(|format| format.name() == name)
    }
}
