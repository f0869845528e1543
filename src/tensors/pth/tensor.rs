//! Storages, and the tensors that are windows into them.
//!
//! A tensor's element `(i, j, ...)` lies at `offset + i * stride_i + j * stride_j + ...` of its
//! storage. When that is row-major without gaps the tensor is a slice of the storage's bytes,
//! whatever its offset. A transposed, strided or expanded tensor is laid out anew; since strides of
//! 0 turn one number into any amount, the bytes that are laid out are limited.

use std::collections::HashMap;

use safetensors::Dtype;

use super::archive::Archive;
use super::error::{Error, shown};
use crate::files::Bytes;
use crate::tensors::stored::Stored;

/// PyTorch's own limit on dimensions.
const MOST_DIMENSIONS: usize = 64;
/// How many bytes may be laid out anew beyond as many as the storages hold.
const SPREAD: usize = 64 << 20;

/// What the pickle says of a storage. Its bytes are looked at when a tensor needs them.
#[derive(Clone, Copy)]
pub struct Storage<'p> {
    pub key: &'p str,
    pub dtype: Dtype,
    /// Number of elements.
    pub count: i64,
}

impl Storage<'_> {
    /// The same bytes as a storage of another type; `None` if they are no whole number of elements.
    pub fn of_type(self, dtype: Dtype) -> Option<Self> {
        let (from, to) = (item_size(self.dtype) as i64, item_size(dtype) as i64);
        let bytes = self.count.checked_mul(from)?;
        (bytes % to == 0).then_some(Self {
            dtype,
            count: bytes / to,
            ..self
        })
    }
}

/// What the pickle says of a tensor's place in its storage, in elements; unchecked.
pub struct Window {
    pub offset: i64,
    pub shape: Vec<i64>,
    pub strides: Vec<i64>,
}

/// The storages of an archive, each unpacked at most once.
pub struct Storages<'a> {
    archive: Archive<'a>,
    seen: HashMap<String, Bytes>,
    /// Bytes that may still be laid out anew.
    spread_left: usize,
}

impl<'a> Storages<'a> {
    pub fn new(archive: Archive<'a>) -> Self {
        Self {
            archive,
            seen: HashMap::new(),
            spread_left: SPREAD,
        }
    }

    /// The tensor that `window` shows of `storage`.
    pub fn tensor(&mut self, storage: Storage, window: Window) -> Result<Stored, Error> {
        let bytes = self.bytes(storage)?;
        let rank = window.shape.len().max(window.strides.len());
        if rank > MOST_DIMENSIONS {
            return Err(Error::Rank {
                key: shown(storage.key),
                rank,
                most: MOST_DIMENSIONS,
            });
        }
        let item = item_size(storage.dtype);
        let Some(place) = ValidWindow::of(&window, bytes.len() / item, item) else {
            return Err(Error::Outside {
                key: shown(storage.key),
                shape: window.shape,
                strides: window.strides,
                offset: window.offset,
                count: storage.count,
            });
        };
        let ValidWindow {
            shape,
            axes,
            start,
            size,
        } = place;
        let data = if is_contiguous(&axes) {
            bytes.slice(start * item..start * item + size)
        } else if size <= self.spread_left {
            self.spread_left -= size;
            let mut laid_out = Vec::with_capacity(size);
            lay_out(&mut laid_out, &bytes, start, &axes, item);
            Some(Bytes::from(laid_out))
        } else {
            None
        };
        match data {
            Some(bytes) => Ok(Stored {
                dtype: storage.dtype,
                shape,
                bytes,
            }),
            None => Err(Error::Spread {
                key: shown(storage.key),
                shape,
                bytes: size,
            }),
        }
    }

    fn bytes(&mut self, storage: Storage) -> Result<Bytes, Error> {
        let bytes = match self.seen.get(storage.key) {
            Some(bytes) => bytes.clone(),
            None => {
                let bytes = self.archive.storage(storage.key)?;
                self.spread_left = self.spread_left.saturating_add(bytes.len());
                self.seen.insert(storage.key.to_owned(), bytes.clone());
                bytes
            }
        };
        let size = usize::try_from(storage.count).ok();
        if size.and_then(|count| count.checked_mul(item_size(storage.dtype))) != Some(bytes.len()) {
            let (key, size) = (shown(storage.key), bytes.len());
            return Err(Error::StorageSize {
                key,
                count: storage.count,
                dtype: storage.dtype,
                size,
            });
        }
        Ok(bytes)
    }
}

/// Bytes per element; every dtype in `STORAGES` has whole ones.
pub fn item_size(dtype: Dtype) -> usize {
    dtype.bitsize() / 8
}

/// A window that lies inside its storage.
struct ValidWindow {
    shape: Vec<usize>,
    /// Length and stride of the axes longer than 1, outermost first; none when the tensor has no
    /// elements.
    axes: Vec<(usize, usize)>,
    /// The first element.
    start: usize,
    /// Bytes of the tensor laid out.
    size: usize,
}

impl ValidWindow {
    /// Checks `window` against a storage of `count` elements of `item` bytes; `None` when it does
    /// not fit.
    fn of(window: &Window, count: usize, item: usize) -> Option<Self> {
        let natural = |numbers: &[i64]| -> Option<Vec<usize>> {
            numbers.iter().map(|&n| usize::try_from(n).ok()).collect()
        };
        let shape = natural(&window.shape)?;
        let strides = natural(&window.strides)?;
        let start = usize::try_from(window.offset).ok()?;
        if shape.len() != strides.len() {
            return None;
        }
        // Even where a zero makes the product zero, the other lengths must multiply without
        // overflow, so that whoever uses the tensor may multiply any of them.
        let most = shape
            .iter()
            .try_fold(item, |size, &length| size.checked_mul(length.max(1)))?;
        if shape.contains(&0) {
            return Some(Self {
                shape,
                axes: Vec::new(),
                start: 0,
                size: 0,
            });
        }
        let axes: Vec<_> = shape
            .iter()
            .copied()
            .zip(strides)
            .filter(|&(length, _)| length > 1)
            .collect();
        let last = axes.iter().try_fold(start, |last, &(length, stride)| {
            last.checked_add((length - 1).checked_mul(stride)?)
        })?;
        (last < count).then_some(Self {
            shape,
            axes,
            start,
            size: most,
        })
    }
}

fn is_contiguous(axes: &[(usize, usize)]) -> bool {
    let mut expected = 1;
    axes.iter().rev().all(|&(length, stride)| {
        let fits = stride == expected;
        expected *= length; // at most the element count, which was checked
        fits
    })
}

/// Appends the elements of `axes`, the first of which is `at`, in row-major order.
fn lay_out(out: &mut Vec<u8>, storage: &[u8], at: usize, axes: &[(usize, usize)], item: usize) {
    match *axes {
        [] => out.extend_from_slice(&storage[at * item..(at + 1) * item]),
        [(length, 1)] => out.extend_from_slice(&storage[at * item..(at + length) * item]),
        [(length, stride), ref inner @ ..] => {
            for i in 0..length {
                lay_out(out, storage, at + i * stride, inner, item);
            }
        }
    }
}
