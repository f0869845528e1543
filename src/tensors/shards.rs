//! A model that is spread over several files, as the Hugging Face hub has large ones: a list
//! (`*.index.json`) says which tensor lies in which file. Each file is mapped as one alone would be.
//!
//! The list is taken to be hostile: what it names must lie beside it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Component, Path, PathBuf};

use serde::Deserialize;

use super::content::Content;
use super::error::{Error, shown};
use super::pth::Value;
use crate::files::{self, Bytes};

/// What the hub calls a model in a directory: the list of its parts, or all of it in one file.
const NAMES: [&str; 4] = [
    "model.safetensors.index.json",
    "model.safetensors",
    "pytorch_model.bin.index.json",
    "pytorch_model.bin",
];

/// Far more than the largest models have.
const MOST_PARTS: usize = 1000;
/// The lists of large models have some hundred kilobytes.
const LONGEST_LIST: usize = 16 << 20;

/// What the list says. Its file has other keys as well.
#[derive(Deserialize)]
struct List {
    /// The file of each tensor.
    weight_map: BTreeMap<String, String>,
}

/// The file in a directory that leads to all of a model.
pub fn in_directory(directory: &Path) -> Result<PathBuf, Error> {
    let mut paths = NAMES.iter().map(|name| directory.join(name));
    if let Some(found) = paths.find(|path| path.exists()) {
        return Ok(found);
    }
    let files = fs::read_dir(directory).into_iter().flatten().flatten();
    let parts = files.filter(|file| list_of(Path::new(&file.file_name())).is_some());
    let first = parts.map(|file| file.path()).min();
    Err(
        match first.and_then(|first| Some((list_of(&first)?, first))) {
            Some((list, first)) => Error::NoList {
                part: shown(&first.file_name().unwrap_or_default().to_string_lossy()),
                list: shown(&list),
            },
            None => Error::Directory { names: &NAMES },
        },
    )
}

/// What the hub calls the list of a model's parts, of which a file is one by its own name:
/// `model-00001-of-00002.safetensors`.
pub fn list_of(part: &Path) -> Option<String> {
    let name = part.file_name()?.to_str()?;
    let (start, count) = name.rsplit_once("-of-")?;
    let (model, number) = start.rsplit_once('-')?;
    let (count, end) = count.split_once('.')?;
    let are_numbers = [number, count]
        .iter()
        .all(|digits| digits.len() >= 3 && digits.bytes().all(|digit| digit.is_ascii_digit()));
    are_numbers.then(|| format!("{model}.{end}.index.json"))
}

/// The files that a list names and that do not lie beside it; none where `path` is no list, nor a
/// directory with one. What these files hold is not looked at.
pub fn missing_parts(path: &Path) -> Result<Vec<PathBuf>, Error> {
    let files = files_of(path)?.into_iter().skip(1);
    Ok(files.filter(|part| !part.exists()).collect())
}

/// The files that a model is read from: the one that leads to all of it, and those that it names,
/// whether or not they are there.
pub fn files_of(path: &Path) -> Result<Vec<PathBuf>, Error> {
    let first = match path.is_dir() {
        true => in_directory(path)?,
        false => path.to_path_buf(),
    };
    let text = Bytes::map(&first)?;
    let mut files = vec![first.clone()];
    if recognise(&text) {
        let map = weight_map(&text)?;
        let parts = by_file(&map)?.into_keys();
        files.extend(parts.map(|file| files::directory_of(&first).join(file)));
    }
    Ok(files)
}

/// Whether a file is such a list, by how it begins: other files that begin with this letter have a
/// zero soon after.
pub fn recognise(file: &[u8]) -> bool {
    let start = &file[..file.len().min(8)];
    start.trim_ascii_start().starts_with(b"{") && !start.contains(&0)
}

/// What a file holds, and its length in bytes.
pub type Found = (Content, usize);

/// All that a list leads to, and the bytes that it takes; `read` reads one file.
pub fn read(
    list: &Path,
    text: &[u8],
    read: &dyn Fn(&Path) -> Result<Found, Error>,
) -> Result<Found, Error> {
    let map = weight_map(text)?;
    let (mut all, mut is_safetensors, mut size) = (BTreeMap::new(), true, text.len());
    let mut others = Vec::new();
    for (file, names) in by_file(&map)? {
        let part = |source| Error::Part {
            file: shown(file),
            source: Box::new(source),
        };
        let path = files::directory_of(list).join(file);
        let (content, bytes) = read(&path).map_err(part)?;
        size = size.saturating_add(bytes);
        is_safetensors &= matches!(content, Content::Safetensors(_));
        let (held, beside) = content.into_stored().map_err(part)?;
        others.extend(beside.into_iter().map(|key| format!("{key} (in {file})")));
        if let Some(name) = names.iter().find(|name| !held.contains_key(**name)) {
            return Err(Error::Index(format!(
                "{} is not in {}, where its list of parts has it; download both again",
                shown(name),
                shown(file)
            )));
        }
        for (name, tensor) in held {
            if all.contains_key(&name) {
                return Err(Error::Index(format!(
                    "{} lies in several of its parts; download them again",
                    shown(&name)
                )));
            }
            all.insert(name, tensor);
        }
    }
    let content = match is_safetensors {
        true => Content::Safetensors(all),
        false => {
            let pairs = all.into_iter();
            let pairs = pairs.map(|(name, tensor)| (Value::Str(name), Value::Tensor(tensor)));
            // They lie beside the tensors here, too.
            let others = others.into_iter().map(|key| (Value::Str(key), Value::None));
            Content::Pth(Value::Dict(pairs.chain(others).collect()))
        }
    };
    Ok((content, size))
}

/// The file of each tensor.
fn weight_map(text: &[u8]) -> Result<BTreeMap<String, String>, Error> {
    let no_list = |why: &str| {
        Error::Index(format!(
            "it is JSON, but no list of a model's parts (*.index.json): {why}; name the file of a model or a state"
        ))
    };
    if text.len() > LONGEST_LIST {
        return Err(no_list("it is too long"));
    }
    let List { weight_map } =
        serde_json::from_slice(text).map_err(|error| no_list(&shown(&error.to_string())))?;
    Ok(weight_map)
}

/// The tensors of each file. Errors for a file that does not lie beside the list.
fn by_file(map: &BTreeMap<String, String>) -> Result<BTreeMap<&str, Vec<&str>>, Error> {
    let mut files: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (name, file) in map {
        files.entry(file).or_default().push(name);
    }
    if files.len() > MOST_PARTS {
        let count = files.len();
        return Err(Error::Index(format!(
            "its list names {count} parts, where at most {MOST_PARTS} make sense"
        )));
    }
    let is_name = |file: &str| {
        let mut parts = Path::new(file).components();
        matches!((parts.next(), parts.next()), (Some(Component::Normal(name)), None) if name == file)
    };
    match files.keys().find(|file| !is_name(file)) {
        Some(file) => Err(Error::Index(format!(
            "its list names the part \"{}\", which does not lie beside it",
            shown(file)
        ))),
        None => Ok(files),
    }
}
