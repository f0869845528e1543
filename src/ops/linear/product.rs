//! The type that products compute in.

use std::fmt;

use candle_core::DType;

use crate::setting;

/// The type that the two sides of a product are rounded to before they are multiplied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProductType {
    /// Nothing is rounded. Where bf16 tiles multiply it, each number is the sum of a few bf16, and
    /// every sum has f32's digits.
    F32,
    /// Both sides are rounded to bf16.
    Bf16,
}

impl ProductType {
    /// The type that activations are stored in.
    pub fn dtype(self) -> DType {
        match self {
            Self::F32 => DType::F32,
            Self::Bf16 => DType::BF16,
        }
    }
}

impl ProductType {
    /// Each with its word.
    pub const NAMES: [(&'static str, Self); 2] = [("f32", Self::F32), ("bf16", Self::Bf16)];
}

impl fmt::Display for ProductType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(setting::word(&Self::NAMES, self))
    }
}
