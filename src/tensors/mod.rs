//! Files of tensors: models, states and checkpoints are all read through [`TensorFile`], and
//! written by [`write()`].
//!
//! A file is recognised by what it contains, not by what it is called, and is mapped once: its
//! tensors ([`Stored`]) point into the map wherever the file stores them plainly. The formats stand
//! in one table; each has a file of its own.
//!
//! - `file` has the table of formats
//! - `element` has the types of number that are computed with, and their way to and from bytes
//! - `names` takes off what other programs put before the names of tensors
//! - `pth` and `safetensors` are the formats

mod content;
mod element;
mod error;
mod file;
pub mod names;
pub mod pth;
pub mod safetensors;
mod stored;

pub use self::content::Content;
pub use self::element::Element;
pub use self::error::Error;
pub use self::file::{TensorFile, write};
pub use self::stored::Stored;
pub use ::safetensors::Dtype;
