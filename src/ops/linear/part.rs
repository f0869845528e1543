//! A run of a frozen matrix's numbers, however they are held, on their way to f32.

use half::f16;
use half::slice::HalfFloatSliceExt;

use super::Element;
use crate::ops::cpu::vector::Vector;
use crate::ops::linear::quantised;

/// Neighbouring numbers of one row.
#[derive(Clone, Copy)]
pub enum Part<'a> {
    /// Little-endian, at any alignment.
    Stored(Element, &'a [u8]),
    Quantised(quantised::Part<'a>),
}

impl Part<'_> {
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
            Self::Stored(element, bytes) => widen(element, bytes, out),
            Self::Quantised(numbers) => numbers.widen::<V>(out),
        }
    }
}

/// Little-endian numbers, at any alignment, as f32.
#[inline(always)]
pub fn widen(element: Element, bytes: &[u8], out: &mut [f32]) {
    match element {
        Element::Bf16 => {
            for (out, b) in out.iter_mut().zip(bytes.chunks_exact(2)) {
                *out = f32::from_bits(u32::from(u16::from_le_bytes([b[0], b[1]])) << 16);
            }
        }
        // `half` converts f16 by the processor's own instruction where there is one, which is only worth it in bulk.
        Element::F16 => {
            const STRIP: usize = 256;
            let mut strip = [f16::ZERO; STRIP];
            for (out, bytes) in out.chunks_mut(STRIP).zip(bytes.chunks(STRIP * 2)) {
                let strip = &mut strip[..out.len()];
                for (half, b) in strip.iter_mut().zip(bytes.chunks_exact(2)) {
                    *half = f16::from_le_bytes([b[0], b[1]]);
                }
                strip.convert_to_f32_slice(out);
            }
        }
        Element::F32 => {
            for (out, b) in out.iter_mut().zip(bytes.chunks_exact(4)) {
                *out = f32::from_le_bytes([b[0], b[1], b[2], b[3]]);
            }
        }
    }
}
