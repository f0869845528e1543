//! Files of tensors: models, states and checkpoints are all read through [`TensorFile`], and
//! written by [`write()`].
//!
//! A file is recognised by what it contains, not by what it is called, and is mapped once: its
//! tensors ([`Stored`]) point into the map wherever the file stores them plainly. The formats stand
//! in one table; each has a file of its own.
//!
//! - `file` has the table of formats
//! - `element` has the types of number that are computed with, and their way to and from bytes
//! - `names` gives tensors the names and shapes of RWKV's own files, whoever spelt them otherwise
//! - `shards` puts a model together that is spread over several files
//! - `pth` and `safetensors` are the formats

mod content;
mod element;
mod error;
mod file;
mod names;
pub mod pth;
pub mod safetensors;
mod shards;
mod stored;

pub use self::content::{Content, Named};
pub use self::element::Element;
pub use self::error::{Error, shown};
pub use self::file::{TensorFile, write};
pub use self::shards::{files_of, list_of, missing_parts};
pub use self::stored::Stored;
pub use ::safetensors::Dtype;
