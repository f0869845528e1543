//! The tensors of a model file by name, whichever format the file has, still in the file's memory map.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use candle_core::Tensor;
use safetensors::SafeTensors;

use crate::files::Bytes;
use crate::ops::Compute;
use crate::ops::linear::{self, Element, Matrix};
use crate::tensors::pth;

/// A `.pth` or `.safetensors` file of named tensors.
pub struct ModelFile {
    tensors: BTreeMap<String, pth::Tensor>,
}

impl ModelFile {
    /// Opens a file by what it contains, not by what it is called. `_orig_mod.` (left by torch.compile) is taken off
    /// the names.
    pub fn open(path: &Path) -> Result<Self> {
        let read = || -> Result<Self> {
            let bytes = Bytes::map(path)?;
            let tensors = if looks_like_safetensors(&bytes) {
                safetensors(&bytes)?
            } else {
                pth(path)?
            };
            let tensors = tensors
                .into_iter()
                .map(|(name, tensor)| (name.replace("_orig_mod.", ""), tensor))
                .collect();
            Ok(Self { tensors })
        };
        read().with_context(|| format!("cannot read the model {}", path.display()))
    }

    /// All names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    pub fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
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

    /// A frozen matrix of exactly this shape, left where it lies, or copied: in another type, or to a card.
    pub fn matrix(&self, name: &str, shape: [usize; 2], compute: &Compute) -> Result<Matrix> {
        let found = self.matrix_shape(name)?;
        ensure!(
            found == shape,
            "{name} is {found:?}, but the rest of the model needs {shape:?}"
        );
        let (tensor, element) = self.floating(name)?;
        Matrix::new(tensor.data.clone(), element, shape, compute.product)
            .and_then(|matrix| matrix.held_as(compute.weights))
            .and_then(|matrix| matrix.on(&compute.device))
            .with_context(|| name.to_string())
    }

    /// A small frozen tensor of `count` numbers, in whatever shape (`[C]` or `[1, 1, C]`), as f32.
    pub fn numbers(&self, name: &str, count: usize) -> Result<Vec<f32>> {
        let (tensor, element) = self.floating(name)?;
        let values = linear::widen(element, &tensor.data);
        ensure!(
            values.len() == count,
            "{name} is {:?}, but the rest of the model needs {count} numbers",
            tensor.shape
        );
        Ok(values)
    }

    /// The same as a tensor `[count]` where the model computes.
    pub fn vector(&self, name: &str, count: usize, compute: &Compute) -> Result<Tensor> {
        let numbers = self.numbers(name, count)?;
        Ok(Tensor::from_vec(numbers, count, &compute.device)?)
    }

    fn get(&self, name: &str) -> Result<&pth::Tensor> {
        self.tensors.get(name).with_context(|| {
            format!("the model lacks the tensor {name}: the checkpoint is incomplete")
        })
    }

    fn floating(&self, name: &str) -> Result<(&pth::Tensor, Element)> {
        let tensor = self.get(name)?;
        match Element::of(tensor.dtype) {
            Some(element) => Ok((tensor, element)),
            None => bail!(
                "{name} is of type {:?}; bf16, f16 and f32 models can be used",
                tensor.dtype
            ),
        }
    }
}

/// A safetensors file begins with the length of a JSON object, which follows.
pub fn looks_like_safetensors(bytes: &[u8]) -> bool {
    bytes.get(8) == Some(&b'{') && !bytes.starts_with(b"PK")
}

/// The tensors of a safetensors file by name, left where they lie.
pub fn safetensors(bytes: &Bytes) -> Result<BTreeMap<String, pth::Tensor>> {
    let broken = "not a whole safetensors file; download or export it again";
    let (header, metadata) = SafeTensors::read_metadata(bytes).context(broken)?;
    // `read_metadata` looks at the header alone; that every tensor lies inside the file is checked by `slice`.
    let data = 8 + header;
    let mut tensors = BTreeMap::new();
    for (name, info) in metadata.tensors() {
        let (start, end) = info.data_offsets;
        let window = bytes
            .slice(data + start..data + end)
            .with_context(|| format!("{name} lies outside the file: {broken}"))?;
        let tensor = pth::Tensor {
            dtype: info.dtype,
            shape: info.shape.clone(),
            data: window,
        };
        tensors.insert(name, tensor);
    }
    Ok(tensors)
}

fn pth(path: &Path) -> Result<BTreeMap<String, pth::Tensor>> {
    let pth::Value::Dict(entries) = pth::read(path)? else {
        bail!("it holds no dictionary of named tensors; is it a state instead of a model?");
    };
    let mut tensors = BTreeMap::new();
    for (key, value) in entries {
        match (key, value) {
            (pth::Value::Str(name), pth::Value::Tensor(tensor)) => tensors.insert(name, tensor),
            (key, value) => bail!(
                "it holds {} under {}, not a tensor under a name",
                kind(&value),
                named(&key)
            ),
        };
    }
    Ok(tensors)
}

/// A dictionary's key in words.
fn named(key: &pth::Value) -> String {
    match key {
        pth::Value::Str(name) => format!("the name {name:?}"),
        pth::Value::Int(number) => format!("the number {number}"),
        other => kind(other).to_string(),
    }
}

fn kind(value: &pth::Value) -> &'static str {
    match value {
        pth::Value::Tensor(_) => "a tensor",
        pth::Value::List(_) => "a list",
        pth::Value::Tuple(_) => "a tuple",
        pth::Value::Dict(_) => "a dictionary (is the model nested inside it?)",
        pth::Value::Str(_) => "a text",
        pth::Value::Int(_) | pth::Value::Float(_) | pth::Value::Bool(_) => "a number",
        pth::Value::None => "nothing",
    }
}
