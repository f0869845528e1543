//! Files of tensors of every format: recognised, read and written.

use std::path::Path;

use super::content::Content;
use super::error::Error;
use super::{pth, safetensors, shards};
use crate::files::Bytes;

/// A file of tensors that was read.
#[derive(Clone, Debug)]
pub struct TensorFile {
    /// Its tensors, as its format arranges them.
    pub content: Content,
    /// The note that was asked for.
    pub note: Option<Bytes>,
    /// The file's length in bytes, or that of all its parts together.
    pub size: usize,
}

impl TensorFile {
    /// Reads a file, mapping it; or all files that a model is spread over, by the list of them
    /// (`*.index.json`) or the directory.
    pub fn open(path: &Path) -> Result<Self, Error> {
        Self::read(path, None)
    }

    /// As [`Self::open`], with the note that lies under `name` beside the tensors, if there is one:
    /// what other programs take no notice of.
    pub fn open_with_note(path: &Path, name: &str) -> Result<Self, Error> {
        Self::read(path, Some(name))
    }

    fn read(path: &Path, note: Option<&str>) -> Result<Self, Error> {
        let inside;
        let path = match path.is_dir() {
            true => {
                inside = shards::in_directory(path)?;
                &inside
            }
            false => path,
        };
        let file = Bytes::map(path)?;
        if !shards::recognise(&file) {
            return read_bytes(&file, note);
        }
        let (content, size) = shards::read(path, &file, &|part| {
            let TensorFile { content, size, .. } = read_bytes(&Bytes::map(part)?, None)?;
            Ok((content, size))
        })?;
        Ok(Self {
            content,
            note: None,
            size,
        })
    }
}

fn read_bytes(file: &Bytes, note: Option<&str>) -> Result<TensorFile, Error> {
    let container = CONTAINERS
        .iter()
        .find(|container| (container.recognise)(file));
    let container = container.ok_or_else(|| pth::what_else(file))?;
    (container.read)(file, note)
}

/// A format of files: how one is told from the others, and how one is read, with the note of a name
/// if there is one.
struct Container {
    recognise: fn(&[u8]) -> bool,
    read: fn(&Bytes, note: Option<&str>) -> Result<TensorFile, Error>,
}

/// All of them, in the order in which they are tried.
const CONTAINERS: [Container; 2] = [
    Container {
        recognise: safetensors::recognise,
        read: |file, note| {
            let note = note.and_then(|name| safetensors::note(file, name));
            Ok(TensorFile {
                content: Content::Safetensors(safetensors::read(file)?),
                note: note.map(|text| text.into_bytes().into()),
                size: file.len(),
            })
        },
    },
    Container {
        recognise: pth::recognise,
        read: |file, note| {
            let (value, note) = pth::parse_with_note(file, note)?;
            Ok(TensorFile {
                content: Content::Pth(value),
                note,
                size: file.len(),
            })
        },
    },
];

/// Writes a file with a note, a name and its text. The file appears whole or not at all.
pub fn write(path: &Path, content: &Content, note: (&str, &str)) -> Result<(), Error> {
    match content {
        Content::Pth(value) => Ok(pth::write_with_note(path, value, note)?),
        Content::Safetensors(tensors) => Ok(safetensors::write(path, tensors, note)?),
    }
}
