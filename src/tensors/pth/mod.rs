//! PyTorch's `.pth` files: read without running anything they say, and written so that PyTorch
//! loads them safely.
//!
//! A `.pth` is a zip archive. One entry, `<prefix>/data.pkl`, is a pickle: a program for a small
//! stack machine that builds lists, dictionaries and tensors. The numbers themselves lie in
//! `<prefix>/data/<key>`, one entry a storage; a tensor is a window (offset, shape, strides) into a
//! storage, and several tensors may share one.
//!
//! Python runs a pickle by calling whatever functions it names, which is how a downloaded model can
//! take over a machine. Here the machine knows the few names that a file of tensors needs and refuses
//! every other. A file is taken to be hostile throughout: every count in it is checked against the
//! bytes that are there before memory is asked for.
//!
//! - `archive` finds entries: windows into the map where stored, owned memory where deflated
//! - `pickle` is the stack machine; `code` reads its program, `object` is what it builds, `opcode`
//!   the alphabet that the writer shares
//! - `tensor` turns storage, offset, shape and strides into contiguous bytes
//! - `write` makes files for `torch.load(path, weights_only=True)` and for readers simpler than
//!   that

mod archive;
mod code;
mod error;
mod object;
mod opcode;
mod pickle;
mod tensor;
#[cfg(test)]
mod tests;
mod write;

use std::path::Path;

use safetensors::Dtype;

use super::Stored;
use crate::files::Bytes;

pub use archive::{recognise, what_else};
pub use error::Error;
pub use write::{write, write_with_note};

/// How deep lists, tuples and dictionaries may lie in each other. Files of tensors stay below ten. The
/// limit keeps recursion over a value, its drop included, well inside a thread's stack.
const MOST_DEEP: usize = 64;

/// The storages PyTorch names that the rest of this program has a dtype for.
const STORAGES: [(&str, Dtype); 10] = [
    ("BFloat16Storage", Dtype::BF16),
    ("HalfStorage", Dtype::F16),
    ("FloatStorage", Dtype::F32),
    ("DoubleStorage", Dtype::F64),
    ("BoolStorage", Dtype::BOOL),
    ("ByteStorage", Dtype::U8),
    ("CharStorage", Dtype::I8),
    ("ShortStorage", Dtype::I16),
    ("IntStorage", Dtype::I32),
    ("LongStorage", Dtype::I64),
];

/// What a `.pth` file holds. An OrderedDict is read as a [`Value::Dict`], a Parameter as its
/// tensor.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Tensor(Stored),
    List(Vec<Value>),
    Tuple(Vec<Value>),
    /// Pairs in the order of the file. No string stands twice as a key of what [`read`] returns.
    Dict(Vec<(Value, Value)>),
    Str(String),
    Int(i64),
    Float(f64),
    Bool(bool),
    None,
}

/// Reads a `.pth` file, mapping it: tensors point into the map wherever the file stores them
/// plainly and without gaps, so that reading costs memory only for deflated entries and for views
/// such as transposes.
///
/// Nothing the file says is run. Every malformed file ends in an [`Error`], within time and memory
/// in proportion to what its bytes can hold unpacked.
pub fn read(path: &Path) -> Result<Value, Error> {
    parse(&Bytes::map(path)?)
}

/// As [`read`], from a file that is mapped already.
pub fn parse(file: &Bytes) -> Result<Value, Error> {
    parse_with_note(file, None).map(|(value, _)| value)
}

/// As [`parse`], with the entry `note`, if it is there and can be read: one of which `torch.load`
/// takes no notice.
pub fn parse_with_note(file: &Bytes, note: Option<&str>) -> Result<(Value, Option<Bytes>), Error> {
    let mut archive = archive::Archive::open(file)?;
    // A value is as good without its note.
    let note = note.and_then(|name| archive.note(name).ok());
    let code = archive.pickle()?;
    let value = pickle::run(&code, tensor::Storages::new(archive))?;
    Ok((value, note))
}
