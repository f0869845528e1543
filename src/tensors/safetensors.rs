//! Safetensors files: the length of a JSON header, the header itself, and the bytes of the tensors
//! that it names. Beside the names the header may hold texts; one of them is used here as a note on
//! the file.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Write};
use std::path::Path;

use safetensors::tensor::TensorView;
use safetensors::{SafeTensorError, SafeTensors};

use super::stored::Stored;
use crate::files::{self, Bytes};

/// Why a safetensors file could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The header does not parse, or does not agree with itself.
    #[error("not a whole safetensors file; download or export it again")]
    Broken(#[source] SafeTensorError),
    /// The file ends before a tensor does: a download that was cut short.
    #[error(
        "{name} lies outside the file: not a whole safetensors file; download or export it again"
    )]
    Outside {
        /// The tensor's name.
        name: String,
    },
    /// The crate refuses the tensors: one has bytes that do not suit its shape.
    #[error("cannot be written: {0}")]
    Write(SafeTensorError),
    /// The file could not be written.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Whether a file is one, by where its header begins. A zip archive may have the same byte there.
pub fn recognise(file: &[u8]) -> bool {
    file.get(8) == Some(&b'{') && !file.starts_with(b"PK")
}

/// The tensors of a file by name, left where they lie.
pub fn read(file: &Bytes) -> Result<BTreeMap<String, Stored>, Error> {
    let (header, metadata) = SafeTensors::read_metadata(file).map_err(Error::Broken)?;
    // `read_metadata` looks at the header alone; that every tensor lies inside the file is checked
    // by `slice`.
    let start = 8 + header;
    let mut tensors = BTreeMap::new();
    for (name, info) in metadata.tensors() {
        let (first, end) = info.data_offsets;
        let Some(bytes) = file.slice(start + first..start + end) else {
            return Err(Error::Outside { name });
        };
        let tensor = Stored {
            dtype: info.dtype,
            shape: info.shape.clone(),
            bytes,
        };
        tensors.insert(name, tensor);
    }
    Ok(tensors)
}

/// The text that a file's header has under `name` beside its tensors, if there is one.
pub fn note(file: &[u8], name: &str) -> Option<String> {
    let (_, metadata) = SafeTensors::read_metadata(file).ok()?;
    metadata.metadata().as_ref()?.get(name).cloned()
}

/// Writes tensors by name, and a text under a name of its own. The file appears whole or not at
/// all.
pub fn write(
    path: &Path,
    tensors: &BTreeMap<String, Stored>,
    (name, text): (&str, &str),
) -> Result<(), Error> {
    let views = tensors.iter().map(|(name, tensor)| {
        let view = TensorView::new(tensor.dtype, tensor.shape.clone(), &tensor.bytes);
        view.map(|view| (name, view))
    });
    let views: Vec<_> = views.collect::<Result<_, _>>().map_err(Error::Write)?;
    let notes = HashMap::from([(name.to_string(), text.to_string())]);
    let bytes = safetensors::serialize(views, Some(notes)).map_err(Error::Write)?;
    files::replace(path, |file| file.write_all(&bytes))?;
    Ok(())
}
