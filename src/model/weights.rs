//! The tensors of a model file by name, whichever format the file has, still in the file's memory
//! map; and which of them nobody asked for. What a file holds and the model does not compute with is
//! never passed over in silence.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Weak;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, bail, ensure};
use candle_core::Tensor;

use super::no_model::NoModel;
use crate::files::Mapping;
use crate::ops::Compute;
use crate::ops::linear::Matrix;
use crate::tensors::{self, Element, Error, Named, Stored, TensorFile};

/// A `.pth` or `.safetensors` file of named tensors, or several that make up one model.
pub struct ModelFile {
    tensors: BTreeMap<String, Entry>,
    /// The keys of what else the file holds.
    beside: Vec<String>,
    /// What it calls the tensors that it calls otherwise.
    spelt: BTreeMap<String, String>,
    /// What the list of parts would be called of which the file is one, by its own name.
    list: Option<String>,
}

struct Entry {
    stored: Stored,
    /// Whether its numbers were asked for.
    is_used: AtomicBool,
}

impl ModelFile {
    /// Opens a file by what it contains, not by what it is called.
    pub fn open(path: &Path) -> Result<Self> {
        let read = || match TensorFile::open(path)?.content.named() {
            Ok(Named {
                tensors,
                beside,
                spelt,
            }) => {
                let entry = |(name, stored)| {
                    let is_used = AtomicBool::new(false);
                    (name, Entry { stored, is_used })
                };
                let tensors = tensors.into_iter().map(entry).collect();
                Ok(Self {
                    tensors,
                    beside,
                    spelt,
                    list: tensors::list_of(path),
                })
            }
            Err(error @ Error::NoDictionary) => {
                bail!(NoModel(format!("{error}, and may be a state")))
            }
            Err(error) => Err(error.into()),
        };
        read().with_context(|| format!("cannot read the model {}", path.display()))
    }

    /// The mapped files that tensors lie in, one for each tensor.
    pub fn mappings(&self) -> impl Iterator<Item = Weak<Mapping>> {
        let stored = self.tensors.values().map(|entry| &entry.stored);
        stored.filter_map(|tensor| tensor.bytes.mapping())
    }

    /// All names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// Whether the file has a tensor of this name, whatever its shape.
    pub fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// The names of the tensors whose numbers were not asked for.
    pub fn unused(&self) -> impl Iterator<Item = &str> {
        let tensors = self.tensors.iter();
        let unused = tensors.filter(|(_, entry)| !entry.is_used.load(Ordering::Relaxed));
        unused.map(|(name, _)| name.as_str())
    }

    /// What the file itself calls a tensor.
    pub fn spelt<'f>(&'f self, name: &'f str) -> &'f str {
        self.spelt.get(name).map_or(name, String::as_str)
    }

    /// Whether it is one of the parts of a model, by its own name.
    pub fn is_part(&self) -> bool {
        self.list.is_some()
    }

    /// The keys of what the file holds beside the dictionary of the model's tensors.
    pub fn beside(&self) -> &[String] {
        &self.beside
    }

    /// The shape of a tensor that must be there.
    pub fn shape(&self, name: &str) -> Result<&[usize]> {
        Ok(&self.get(name)?.shape)
    }

    /// The shape of a tensor that must be there and have two dimensions.
    pub fn matrix_shape(&self, name: &str) -> Result<[usize; 2]> {
        match self.shape(name)? {
            &[rows, columns] if rows > 0 && columns > 0 => Ok([rows, columns]),
            shape => bail!("{name} is {shape:?}, not a matrix"),
        }
    }

    /// A frozen matrix of exactly this shape. It stays in the mapped file, or is copied: to another
    /// type, or to a GPU.
    pub fn matrix(&self, name: &str, shape: [usize; 2], compute: &Compute) -> Result<Matrix> {
        let found = self.matrix_shape(name)?;
        ensure!(
            found == shape,
            "{name} is {found:?}, but the rest of the model needs {shape:?}"
        );
        let (tensor, element) = self.floating(name)?;
        Matrix::new(tensor.bytes.clone(), element, shape, compute.product)
            .and_then(|matrix| matrix.held_as(compute.weights))
            .and_then(|matrix| matrix.on(&compute.device))
            .with_context(|| name.to_string())
    }

    /// A small frozen tensor of this shape as f32. Dimensions of 1 may be more or fewer: a vector
    /// is `[C]` or `[1, 1, C]`.
    pub fn numbers(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        let (tensor, element) = self.floating(name)?;
        let without_ones = |shape: &[usize]| -> Vec<usize> {
            shape.iter().copied().filter(|&size| size != 1).collect()
        };
        ensure!(
            without_ones(&tensor.shape) == without_ones(shape),
            "{name} is {:?}, but the rest of the model needs {shape:?}",
            tensor.shape
        );
        Ok(element.decode(&tensor.bytes))
    }

    /// Some numbers of a tensor, by their places in it, as f32. They do not count as used.
    pub fn part(&self, name: &str, places: Range<usize>) -> Result<Vec<f32>> {
        let stored = self.get(name)?;
        let element = element(name, stored)?;
        let size = element.size();
        let bytes = stored.bytes.get(places.start * size..places.end * size);
        Ok(element.decode(bytes.with_context(|| name.to_string())?))
    }

    /// The same as a tensor where the model computes.
    pub fn tensor(&self, name: &str, shape: &[usize], compute: &Compute) -> Result<Tensor> {
        let numbers = self.numbers(name, shape)?;
        Ok(Tensor::from_vec(numbers, shape, &compute.device)?)
    }

    /// A tensor `[count]` where the model computes.
    pub fn vector(&self, name: &str, count: usize, compute: &Compute) -> Result<Tensor> {
        self.tensor(name, &[count], compute)
    }

    fn get(&self, name: &str) -> Result<&Stored> {
        Ok(&self.entry(name)?.stored)
    }

    fn entry(&self, name: &str) -> Result<&Entry> {
        let found = self.tensors.get(name);
        found.with_context(|| match &self.list {
            Some(list) => format!(
                "the model lacks the tensor {name}: the file is one of the parts of a model; name \
                 their list, {}, or the directory that holds it and all of them",
                tensors::shown(list)
            ),
            None => format!("the model lacks the tensor {name}: the checkpoint is incomplete"),
        })
    }

    fn floating(&self, name: &str) -> Result<(&Stored, Element)> {
        let Entry { stored, is_used } = self.entry(name)?;
        let tensor = stored;
        is_used.store(true, Ordering::Relaxed);
        Ok((tensor, element(name, tensor)?))
    }
}

fn element(name: &str, tensor: &Stored) -> Result<Element> {
    Element::of(tensor.dtype).with_context(|| {
        format!(
            "{name} is of type {:?}; bf16, f16 and f32 models can be used",
            tensor.dtype
        )
    })
}
