//! A tensor as a file stores it.

use safetensors::Dtype;

use super::element::Element;
use crate::files::Bytes;

/// A tensor as a file stores it, whatever the file's format.
///
/// `bytes` holds exactly the product of `shape` elements of `dtype`, row-major without gaps,
/// little-endian. It need not be aligned to the dtype: PyTorch aligns to 64 bytes, but other
/// programs that pack zip files do not. An empty shape is a single number; a shape with a zero in
/// it has no bytes.
#[derive(Clone, Debug)]
pub struct Stored {
    /// The type of its elements, which need not be one that is computed with.
    pub dtype: Dtype,
    /// Its dimensions, the slowest first.
    pub shape: Vec<usize>,
    /// Its elements: a part of the mapped file, or memory of their own.
    pub bytes: Bytes,
}

impl Stored {
    /// `numbers`, as many as `shape` says, as a file stores them in the type `element`.
    pub fn new(element: Element, shape: Vec<usize>, numbers: &[f32]) -> Self {
        Self {
            dtype: element.dtype(),
            shape,
            bytes: element.encode(numbers).into(),
        }
    }

    /// A copy whose last two dimensions have changed places; of fewer dimensions, or of numbers of
    /// less than a byte, the same.
    pub fn transposed(&self) -> Self {
        let mut shape = self.shape.clone();
        let item = self.dtype.bitsize() / 8;
        let ([.., rows, columns], 1..) = (&mut shape[..], item) else {
            return self.clone();
        };
        let (r, c) = (*rows, *columns);
        (*rows, *columns) = (c, r);
        let mut bytes = Vec::with_capacity(self.bytes.len());
        // Where there are no bytes, the other dimensions may have any length.
        if !self.bytes.is_empty() {
            for matrix in self.bytes.chunks_exact(r * c * item) {
                for column in 0..c {
                    for row in 0..r {
                        let at = (row * c + column) * item;
                        bytes.extend_from_slice(&matrix[at..at + item]);
                    }
                }
            }
        }
        Self {
            dtype: self.dtype,
            shape,
            bytes: bytes.into(),
        }
    }
}

impl PartialEq for Stored {
    /// Equal in dtype, shape and bytes, wherever the bytes lie.
    fn eq(&self, other: &Self) -> bool {
        self.dtype == other.dtype && self.shape == other.shape && *self.bytes == *other.bytes
    }
}
