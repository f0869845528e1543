//! The types of number that models and states are computed from, and their way to and from a file's
//! bytes.

use std::fmt;

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};
use safetensors::Dtype;

/// A type of floating-point number. Files hold others too ([`Dtype`] names them all), which nothing
/// is computed from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Element {
    /// The upper half of an f32: 8 bits of exponent, 8 of precision. What models are published in.
    Bf16,
    /// IEEE half precision: 5 bits of exponent, 11 of precision, at most 65504.
    F16,
    /// IEEE single precision.
    F32,
}

/// As PyTorch's users call them.
impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bf16 => "bf16",
            Self::F16 => "f16",
            Self::F32 => "f32",
        })
    }
}

impl Element {
    /// The element for a file's type, or `None` for one that no RWKV model uses.
    pub fn of(dtype: Dtype) -> Option<Self> {
        match dtype {
            Dtype::BF16 => Some(Self::Bf16),
            Dtype::F16 => Some(Self::F16),
            Dtype::F32 => Some(Self::F32),
            _ => None,
        }
    }

    /// The file's type for this element.
    pub fn dtype(self) -> Dtype {
        match self {
            Self::Bf16 => Dtype::BF16,
            Self::F16 => Dtype::F16,
            Self::F32 => Dtype::F32,
        }
    }

    /// Bytes of one number.
    pub fn size(self) -> usize {
        match self {
            Self::Bf16 | Self::F16 => 2,
            Self::F32 => 4,
        }
    }

    /// The numbers as little-endian bytes, each rounded to the nearest that the type has.
    pub fn encode(self, numbers: &[f32]) -> Vec<u8> {
        let mut bytes = vec![0; numbers.len() * self.size()];
        self.encode_into(numbers, &mut bytes);
        bytes
    }

    /// As [`Self::encode`], into as many bytes as the numbers need.
    pub fn encode_into(self, numbers: &[f32], bytes: &mut [u8]) {
        match self {
            Self::Bf16 => {
                for (bytes, &number) in bytes.as_chunks_mut().0.iter_mut().zip(numbers) {
                    *bytes = bf16::from_f32(number).to_le_bytes();
                }
            }
            Self::F16 => {
                for (bytes, &number) in bytes.as_chunks_mut().0.iter_mut().zip(numbers) {
                    *bytes = f16::from_f32(number).to_le_bytes();
                }
            }
            Self::F32 => {
                for (bytes, &number) in bytes.as_chunks_mut().0.iter_mut().zip(numbers) {
                    *bytes = number.to_le_bytes();
                }
            }
        }
    }

    /// All numbers of some little-endian bytes.
    pub fn decode(self, bytes: &[u8]) -> Vec<f32> {
        let mut numbers = vec![0.0; bytes.len() / self.size()];
        self.decode_into(bytes, &mut numbers);
        numbers
    }

    /// As [`Self::decode`], into as many numbers as the bytes hold. Any alignment will do: products
    /// with frozen matrices read the mapped file through this, and compile it for each level of
    /// vector instructions.
    #[inline(always)]
    pub fn decode_into(self, bytes: &[u8], numbers: &mut [f32]) {
        match self {
            Self::Bf16 => {
                for (number, b) in numbers.iter_mut().zip(bytes.chunks_exact(2)) {
                    *number = f32::from_bits(u32::from(u16::from_le_bytes([b[0], b[1]])) << 16);
                }
            }
            // `half` converts f16 by the processor's own instruction where there is one, which is
            // only worth it in bulk.
            Self::F16 => {
                const STRIP: usize = 256;
                let mut strip = [f16::ZERO; STRIP];
                for (numbers, bytes) in numbers.chunks_mut(STRIP).zip(bytes.chunks(STRIP * 2)) {
                    let strip = &mut strip[..numbers.len()];
                    for (half, b) in strip.iter_mut().zip(bytes.chunks_exact(2)) {
                        *half = f16::from_le_bytes([b[0], b[1]]);
                    }
                    strip.convert_to_f32_slice(numbers);
                }
            }
            Self::F32 => {
                for (number, b) in numbers.iter_mut().zip(bytes.chunks_exact(4)) {
                    *number = f32::from_le_bytes([b[0], b[1], b[2], b[3]]);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_decodes_to_the_nearest_number() {
        // More than a strip of f16, and no multiple of one.
        let numbers: Vec<f32> = (0..600).map(|i| (i as f32 - 300.0) / 7.0).collect();
        for (element, error) in [
            (Element::Bf16, 1.0 / 256.0),
            (Element::F16, 1.0 / 2048.0),
            (Element::F32, 0.0),
        ] {
            let bytes = element.encode(&numbers);
            assert_eq!(bytes.len(), numbers.len() * element.size());
            let again = element.decode(&bytes);
            for (a, b) in again.iter().zip(&numbers) {
                assert!((a - b).abs() <= error * b.abs(), "{element}: {a} for {b}");
            }
            assert_eq!(element.encode(&again), bytes, "{element}");
            assert_eq!(Element::of(element.dtype()), Some(element));
        }
    }
}
