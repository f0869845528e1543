//! Safetensors files: the length of a JSON header, the header itself, and the bytes of the tensors
//! that it names. Beside the names the header may hold texts; one of them is used here as a note on
//! the file.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Write};
use std::path::Path;

use safetensors::tensor::TensorView;
use safetensors::{SafeTensorError, SafeTensors};
use sha2::{Digest, Sha256};

use super::stored::Stored;
use crate::files::{self, Bytes};

/// The name of the checksum among a file's notes. Other programs write none.
const CHECKSUM: &str = "state-tune-sha256";

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
    /// The file is not as this program wrote it.
    #[error(
        "its checksum does not agree with what it holds: the file is damaged; use a copy of it"
    )]
    Damaged,
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
    if let Some(notes) = metadata.metadata()
        && let Some(stated) = notes.get(CHECKSUM)
        && *stated != checksum(&tensors, notes)
    {
        return Err(Error::Damaged);
    }
    Ok(tensors)
}

/// A hash of all that a file holds, in hexadecimal.
fn checksum(tensors: &BTreeMap<String, Stored>, notes: &HashMap<String, String>) -> String {
    let mut hasher = Sha256::new();
    let mut add = |part: &[u8]| {
        hasher.update(part.len().to_le_bytes());
        hasher.update(part);
    };
    let notes: BTreeMap<_, _> = notes.iter().collect();
    for (name, text) in notes.into_iter().filter(|(name, _)| *name != CHECKSUM) {
        add(name.as_bytes());
        add(text.as_bytes());
    }
    for (name, tensor) in tensors {
        let Stored {
            dtype,
            shape,
            bytes,
        } = tensor;
        add(name.as_bytes());
        add(format!("{dtype:?} {shape:?}").as_bytes());
        add(bytes);
    }
    let hash = hasher.finalize();
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The text that a file's header has under `name` beside its tensors, if there is one.
pub fn note(file: &[u8], name: &str) -> Option<String> {
    let (_, metadata) = SafeTensors::read_metadata(file).ok()?;
    metadata.metadata().as_ref()?.get(name).cloned()
}

/// Whether a file has a checksum, which [`read`] then compares.
pub fn has_checksum(file: &[u8]) -> bool {
    note(file, CHECKSUM).is_some()
}

/// Writes tensors by name, and a text under a name of its own. The file appears whole or not at
/// all.
pub fn write(
    path: &Path,
    tensors: &BTreeMap<String, Stored>,
    (name, text): (&str, &str),
) -> Result<(), Error> {
    let notes = HashMap::from([(name.to_string(), text.to_string())]);
    write_with(path, tensors, notes)
}

/// The same with a checksum of it all among the texts, for a file that no other program reads.
pub fn write_with_checksum(
    path: &Path,
    tensors: &BTreeMap<String, Stored>,
    (name, text): (&str, &str),
) -> Result<(), Error> {
    let mut notes = HashMap::from([(name.to_string(), text.to_string())]);
    notes.insert(CHECKSUM.to_string(), checksum(tensors, &notes));
    write_with(path, tensors, notes)
}

fn write_with(
    path: &Path,
    tensors: &BTreeMap<String, Stored>,
    notes: HashMap<String, String>,
) -> Result<(), Error> {
    let views = tensors.iter().map(|(name, tensor)| {
        let view = TensorView::new(tensor.dtype, tensor.shape.clone(), &tensor.bytes);
        view.map(|view| (name, view))
    });
    let views: Vec<_> = views.collect::<Result<_, _>>().map_err(Error::Write)?;
    let bytes = safetensors::serialize(views, Some(notes)).map_err(Error::Write)?;
    files::replace(path, |file| file.write_all(&bytes))?;
    Ok(())
}
