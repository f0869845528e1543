//! What can be wrong with a `.pth`, in words that name the entry or storage, the values, and
//! what to do next.
//!
//! The caller adds the path. Names that come from the file are passed through [`shown`], so that a
//! hostile file cannot fill the screen or send control codes to the terminal.

use std::io;

use safetensors::Dtype;
use zip::result::ZipError;

/// Why a `.pth` file could not be read or written.
#[derive(Debug, thiserror::Error)]
#[expect(
    missing_docs,
    reason = "each variant's message says what is wrong, and its fields are the values in it"
)]
pub enum Error {
    #[error(transparent)]
    Io(#[from] io::Error),

    // Files that are something else.
    #[error("the file is empty; save or download it again")]
    Empty,
    #[error(
        "the file is in PyTorch's old format, from before version 1.6; load it with torch.load \
         and save it again with torch.save of a current PyTorch"
    )]
    Legacy,
    #[error(
        "the file is in the safetensors format, not PyTorch's; name it .safetensors or .st and \
         give that instead"
    )]
    Safetensors,
    #[error(
        "the file is a Git LFS pointer, not the checkpoint it stands for; run `git lfs pull`, or \
         download it"
    )]
    LfsPointer,
    #[error(
        "the file is a web page, not a checkpoint; open the page in a browser and find the link \
         to the file itself"
    )]
    WebPage,
    #[error(
        "the file is {what}, which is not read; give the .pth or .safetensors file that it was made of"
    )]
    OtherFormat { what: &'static str },
    #[error(
        "the file is no PyTorch checkpoint: it begins with \"{start}\" where a zip archive begins \
         with \"PK\""
    )]
    NotZip { start: String },

    // The zip archive.
    #[error("the zip archive is damaged or cut short; download or save the file again")]
    Zip(#[from] ZipError),
    #[error(
        "entries of the zip archive share a name or bytes, or reach into its directory; save the \
         file again with torch.save"
    )]
    Overlap,
    #[error("no entry {entry} in the zip archive; save the file again with torch.save")]
    MissingEntry { entry: String },
    #[error("{count} entries of the zip archive are called data.pkl, where a checkpoint has one")]
    ManyPickles { count: usize },
    #[error("entry {entry} is encrypted; save the file again without a password")]
    Encrypted { entry: String },
    #[error(
        "entry {entry} is packed with {method}; only stored and deflated entries are read, so \
         pack it again"
    )]
    Packing { entry: String, method: String },
    #[error(
        "entry {entry} claims to unpack from {packed} to {size} bytes, more than deflate can; the \
         file is damaged"
    )]
    Inflation {
        entry: String,
        packed: u64,
        size: u64,
    },
    #[error(
        "entry {entry} of {size} bytes could not be unpacked ({reason}); download or save the \
         file again"
    )]
    Unpack {
        entry: String,
        size: u64,
        reason: String,
    },
    #[error(
        "entry {entry} has {size} bytes, where at most {most} make sense; this is no checkpoint \
         of tensors"
    )]
    EntryTooLong { entry: String, size: u64, most: u64 },
    #[error(
        "the tensors are stored with byte order \"{order}\"; save the file again on a \
         little-endian machine"
    )]
    ByteOrder { order: String },

    // The pickle.
    #[error(
        "the pickle ends at byte {at}, in the middle of an instruction; download or save the file \
         again"
    )]
    PickleCut { at: usize },
    #[error(
        "pickle protocol {0} is not known (0 to 5 are); save the file again with torch.save's \
         default"
    )]
    Protocol(u8),
    #[error(
        "unknown pickle opcode 0x{opcode:02x} at byte {at}; save plain tensors, lists, dicts and \
         numbers alone"
    )]
    Opcode { opcode: u8, at: usize },
    #[error(
        "the pickle instruction at byte {at} needs {wanted}; the file is damaged or made by hand"
    )]
    Stack { at: usize, wanted: &'static str },
    #[error(
        "the pickle instruction at byte {at} reads memo {index}, which was never stored; the file \
         is damaged"
    )]
    Memo { at: usize, index: u32 },
    #[error("the text at byte {at} of the pickle is not UTF-8; the file is damaged")]
    Text { at: usize },
    #[error(
        "the integer at byte {at} of the pickle does not fit into 64 bits; save it as a float or \
         a string"
    )]
    Integer { at: usize },
    #[error(
        "this file asks to call {name}; a checkpoint has no need of that, so it is refused; if \
         you trust the file, load it in Python and save its tensors alone, as in \
         torch.save(model.state_dict(), path)"
    )]
    Global { name: String },
    #[error(
        "the pickle calls {function} with arguments it does not take: {reason}; save the file \
         with torch.save"
    )]
    Call {
        function: &'static str,
        reason: &'static str,
    },
    #[error(
        "the pickle holds {what} where a value is wanted; save tensors, lists, dicts, numbers and \
         strings alone"
    )]
    NotAValue { what: &'static str },
    #[error(
        "the key \"{key}\" stands twice in one dictionary; save the file again with one value for \
         it"
    )]
    DuplicateKey { key: String },
    #[error(
        "lists, tuples and dictionaries are nested more than {most} deep, or hold themselves; \
         flatten them"
    )]
    TooDeep { most: usize },
    #[error("the pickle builds more than {most} values; this is no checkpoint of tensors")]
    TooManyValues { most: usize },

    // Tensors.
    #[error(
        "storage {key} should hold {count} elements of {dtype}, but its entry has {size} bytes; \
         save the file again"
    )]
    StorageSize {
        key: String,
        count: i64,
        dtype: Dtype,
        size: usize,
    },
    #[error(
        "a tensor of shape {shape:?}, strides {strides:?} and offset {offset} reaches outside \
         storage {key} of {count} elements; the file is damaged"
    )]
    Outside {
        key: String,
        shape: Vec<i64>,
        strides: Vec<i64>,
        offset: i64,
        count: i64,
    },
    #[error(
        "a tensor in storage {key} has {rank} dimensions, more than PyTorch's own limit of {most}"
    )]
    Rank {
        key: String,
        rank: usize,
        most: usize,
    },
    #[error(
        "a tensor of shape {shape:?} is a view of storage {key} that is too large to lay out \
         ({bytes} bytes); save tensor.contiguous() in its stead"
    )]
    Spread {
        key: String,
        shape: Vec<usize>,
        bytes: usize,
    },

    // Writing.
    #[error("a dictionary key is {key}; only strings can be keys in a file that is written")]
    WriteKey { key: String },
    #[error("a tensor of shape {shape:?} and dtype {dtype} cannot be written from {size} bytes")]
    WriteTensor {
        shape: Vec<usize>,
        dtype: Dtype,
        size: usize,
    },
    #[error("a text of {size} bytes is longer than the 4 GiB a .pth can hold; shorten it")]
    WriteText { size: usize },
    #[error(
        "tensors of dtype {dtype} have no storage type in a .pth file; convert the tensor first"
    )]
    WriteDtype { dtype: Dtype },
}

/// Text from a file, made fit for a message: at most 80 characters, control characters escaped.
pub fn shown(text: &str) -> String {
    const MOST: usize = 80;
    let mut shown: String = text
        .chars()
        .take(MOST)
        .flat_map(char::escape_debug)
        .collect();
    if text.chars().nth(MOST).is_some() {
        shown.push_str("...");
    }
    shown
}
