//! Why a file of tensors could not be read or written.

use std::io;

pub use super::pth::shown;
use super::{pth, safetensors};

/// Why a file of tensors could not be read or written. The path is the caller's to add.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file could not be opened, mapped or written.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// What is wrong with a file that is not in the safetensors format.
    #[error(transparent)]
    Pth(#[from] pth::Error),
    /// What is wrong with a file that begins as a safetensors file does.
    #[error(transparent)]
    Safetensors(#[from] safetensors::Error),
    /// A `.pth` file holds something else at its top, for instance the list that is a state.
    #[error("it holds no dictionary of named tensors")]
    NoDictionary,
    /// A dictionary has something else beside its tensors.
    #[error(
        "it holds {what} under {key}, not a tensor under a name; save the tensors themselves, as \
         model.state_dict() has them"
    )]
    NotATensor {
        /// The kind of value that stands there.
        what: &'static str,
        /// Its key, made fit for a message.
        key: String,
    },
    /// The `rwkv` package transposes and rescales what it converts.
    #[error(
        "it has {key}: the rwkv package converted it, whose matrices are transposed and rescaled; \
         give the .pth that it was made from"
    )]
    Converted {
        /// What shows it.
        key: String,
    },
    /// A file that should hold tensors alone has something else beside the dictionary of them.
    #[error("it holds {} beside its tensors; save the tensors alone", beside.join(", "))]
    Beside {
        /// The keys of what lies there, made fit for a message.
        beside: Vec<String>,
    },
    /// Of several dictionaries of tensors, any could be meant.
    #[error(
        "it holds several dictionaries of tensors, {}; save the one that is wanted by itself",
        keys.join(", ")
    )]
    ManyDictionaries {
        /// Their keys, made fit for a message.
        keys: Vec<String>,
    },
    /// There are several models under names that begin differently.
    #[error(
        "it holds several models, of names that begin with \"{first}\" and \"{second}\"; save the \
         one that is wanted by itself"
    )]
    ManyModels {
        /// What stands before the names of one.
        first: String,
        /// What stands before the names of another.
        second: String,
    },
    /// Other spellings come to one name.
    #[error("{first} and {second} are both the tensor {name}; save the one that is wanted")]
    SameName {
        /// A name in the file.
        first: String,
        /// Another name in the file.
        second: String,
        /// What RWKV's own files call it.
        name: String,
    },
    /// Tensors are views of the same memory, over and over.
    #[error(
        "its tensors have {bytes} bytes together, and share {held}; save a copy of each \
         (tensor.clone())"
    )]
    Shared {
        /// Their sizes, added.
        bytes: usize,
        /// What they take.
        held: usize,
    },
    /// A tensor that web-rwkv's converter changes, in a file that may be its or not.
    #[error(
        "{name} {what}: web-rwkv's converter (convert_safetensors) changes it so, and nothing in \
         the file tells; give the .pth that RWKV's own trainer wrote, from which it was made"
    )]
    Unclear {
        /// The tensor.
        name: String,
        /// What cannot be told of it.
        what: &'static str,
    },
    /// A directory has no model under the names that the Hugging Face hub gives it.
    #[error(
        "it is a directory without {}; name a file in it",
        names.join(" or ")
    )]
    Directory {
        /// What was looked for.
        names: &'static [&'static str],
    },
    /// A directory has some of a model's parts, and no list of them.
    #[error(
        "it is a directory with {part}, which is one of a model's parts, but without the list of \
         them; fetch {list} into it, too"
    )]
    NoList {
        /// The file's name.
        part: String,
        /// What the list would be called.
        list: String,
    },
    /// The list of the files that a model is spread over is wrong.
    #[error("{0}")]
    Index(String),
    /// One of the files that a model is spread over cannot be read.
    #[error("its part {file}")]
    Part {
        /// The file's name.
        file: String,
        /// Why not.
        source: Box<Error>,
    },
}
