//! PyTorch's `.pth` files: read without running anything they say, and written so that PyTorch
//! loads them safely.
//!
//! A `.pth` is a zip archive. One entry, `<prefix>/data.pkl`, is a pickle: a program for a small
//! stack machine that builds lists, dictionaries and tensors. The numbers themselves lie in
//! `<prefix>/data/<key>`, one entry a storage; a tensor is a window (offset, shape, strides) into a
//! storage, and several tensors may share one.
//!
//! Python runs a pickle by calling whatever functions it names, which is how a downloaded model can
//! take over a machine. Here the machine knows the few names that a file of tensors needs and
//! refuses every other. A file is taken to be hostile throughout: every count in it is checked
//! against the bytes that are there before memory is asked for.
//!
//! - `archive` finds entries: windows into the map where stored, owned memory where deflated
//! - `pickle` is the stack machine; `code` reads its program, `object` is what it builds, `opcode`
//!   the alphabet that the writer shares
//! - `value` is what a file holds
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
mod value;
mod write;

use std::path::Path;

use crate::files::Bytes;

pub use archive::{recognise, what_else};
pub use error::{Error, shown};
pub use value::Value;
pub use write::{write, write_with_note};

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

/// As [`parse`], with the entry `note`, if it is there: one of which `torch.load` takes no notice.
pub fn parse_with_note(file: &Bytes, note: Option<&str>) -> Result<(Value, Option<Bytes>), Error> {
    let mut archive = archive::Archive::open(file)?;
    let note = match note.map(|name| archive.note(name)) {
        None | Some(Err(Error::MissingEntry { .. })) => None,
        Some(note) => Some(note?),
    };
    let code = archive.pickle()?;
    let value = pickle::run(&code, tensor::Storages::new(archive))?;
    Ok((value, note))
}
