//! A run of a frozen matrix's numbers, however they are held, on their way to f32.

use crate::ops::cpu::vector::Vector;
use crate::ops::linear::quantised;
use crate::tensors::Element;

/// Neighbouring numbers of one row.
#[derive(Clone, Copy)]
pub enum RowPart<'a> {
    /// Little-endian, at any alignment.
    Stored(Element, &'a [u8]),
    Quantised(quantised::QuantisedPart<'a>),
}

impl RowPart<'_> {
    /// How many numbers.
    pub fn len(self) -> usize {
        match self {
            Self::Stored(element, bytes) => bytes.len() / element.size(),
            Self::Quantised(numbers) => numbers.len(),
        }
    }

    /// The numbers as f32.
    #[inline(always)]
    pub fn widen<V: Vector>(self, out: &mut [f32]) {
        match self {
            Self::Stored(element, bytes) => element.decode_into(bytes, out),
            Self::Quantised(numbers) => numbers.widen::<V>(out),
        }
    }
}
