//! What the pickle machine builds: objects in one flat list, which refer to each other by number.
//!
//! A pickle can refer to one object many times, change a list after other objects refer to it, and
//! make a list hold itself. Numbers into a flat list allow all of that at no cost. Only at the end
//! is the result turned into a [`Value`], a tree. There every repetition counts, so that a list
//! that is doubled thirty times cannot become a billion values.

use std::collections::HashSet;

use safetensors::Dtype;

use super::error::{Error, shown};
use super::tensor::{Storage, Storages, Window};
use super::value::{MOST_DEEP, STORAGES, Value};
use crate::tensors::stored::Stored;

/// How many objects a pickle may build, and how many values its result may have. A large model has
/// some ten thousand objects.
const MOST_VALUES: usize = 1 << 20;

/// The number of an object in [`Objects`].
pub type Id = u32;

/// One object. Text is borrowed from the pickle.
pub enum Object<'p> {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Str(&'p str),
    List(Vec<Id>),
    Tuple(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    /// A function or class by name.
    Global(Global),
    Storage(Storage<'p>),
    Tensor(Box<Stored>),
}

/// Everything that a pickle may name. Nothing here runs code of the file's choosing.
#[derive(Clone, Copy)]
pub enum Global {
    OrderedDict,
    RebuildTensor,
    RebuildParameter,
    /// Of the types that have no storage of their own.
    RebuildTensorOfType,
    Storage(Dtype),
    Type(Dtype),
}

/// The types that PyTorch keeps in a storage of bytes, and names in the tensor.
const UNTYPED: [(&str, Dtype); 8] = [
    ("float8_e4m3fn", Dtype::F8_E4M3),
    ("float8_e5m2", Dtype::F8_E5M2),
    ("float8_e4m3fnuz", Dtype::F8_E4M3FNUZ),
    ("float8_e5m2fnuz", Dtype::F8_E5M2FNUZ),
    ("float8_e8m0fnu", Dtype::F8_E8M0),
    ("uint16", Dtype::U16),
    ("uint32", Dtype::U32),
    ("uint64", Dtype::U64),
];

impl Global {
    /// The global of that name. Errors for every other.
    pub fn find(module: &str, name: &str) -> Result<Self, Error> {
        if matches!(module, "torch" | "torch.storage")
            && let Some(&(_, dtype)) = STORAGES.iter().find(|(storage, _)| *storage == name)
        {
            return Ok(Self::Storage(dtype));
        }
        if module == "torch"
            && let Some(&(_, dtype)) = UNTYPED.iter().find(|(known, _)| *known == name)
        {
            return Ok(Self::Type(dtype));
        }
        match (module, name) {
            ("torch.storage", "UntypedStorage") => Ok(Self::Storage(Dtype::U8)),
            ("torch._utils", "_rebuild_tensor_v3") => Ok(Self::RebuildTensorOfType),
            ("collections", "OrderedDict") => Ok(Self::OrderedDict),
            ("torch._utils", "_rebuild_tensor_v2") => Ok(Self::RebuildTensor),
            ("torch._utils", "_rebuild_parameter") => Ok(Self::RebuildParameter),
            _ => Err(Error::Global {
                name: shown(&format!("{module}.{name}")),
            }),
        }
    }
}

/// The objects built so far, and the storages their tensors come from.
pub struct Objects<'p, 'a> {
    objects: Vec<Object<'p>>,
    storages: Storages<'a>,
    /// How many more may be built.
    left: usize,
}

impl<'p, 'a> Objects<'p, 'a> {
    pub fn new(storages: Storages<'a>) -> Self {
        Self {
            objects: Vec::new(),
            storages,
            left: MOST_VALUES,
        }
    }

    pub fn add(&mut self, object: Object<'p>) -> Result<Id, Error> {
        spend(&mut self.left, 1)?;
        self.objects.push(object);
        Ok((self.objects.len() - 1) as Id)
    }

    pub fn get(&self, id: Id) -> &Object<'p> {
        &self.objects[id as usize]
    }

    pub fn get_mut(&mut self, id: Id) -> &mut Object<'p> {
        &mut self.objects[id as usize]
    }

    /// The storage that a persistent id stands for: `("storage", type, key, location, element
    /// count)`. The location, such as `cuda:0`, is the device that the numbers were saved from, and
    /// is not used.
    pub fn storage(&self, id: Id) -> Option<Object<'p>> {
        let Object::Tuple(fields) = self.get(id) else {
            return None;
        };
        let &[tag, kind, key, location, count] = &fields[..] else {
            return None;
        };
        match (
            self.get(tag),
            self.get(kind),
            self.get(key),
            self.get(location),
            self.get(count),
        ) {
            (
                Object::Str("storage"),
                &Object::Global(Global::Storage(dtype)),
                Object::Str(key),
                Object::Str(_),
                &Object::Int(count),
            ) => Some(Object::Storage(Storage { key, dtype, count })),
            _ => None,
        }
    }

    /// What calling `function` with the tuple `arguments` gives.
    pub fn call(&mut self, function: Global, arguments: Id) -> Result<Id, Error> {
        let wrong = |function, reason| Err(Error::Call { function, reason });
        let Object::Tuple(arguments) = self.get(arguments) else {
            return wrong("a function", "they are no tuple");
        };
        match (function, &arguments[..]) {
            (Global::OrderedDict, []) => self.add(Object::Dict(Vec::new())),
            (Global::OrderedDict, _) => {
                wrong("OrderedDict", "an empty one is made first and filled after")
            }
            // A trailing argument of metadata can mark the tensor as negated or conjugated.
            (
                Global::RebuildTensor,
                &[
                    storage,
                    offset,
                    shape,
                    strides,
                    _grad,
                    _hooks,
                    ref metadata @ ..,
                ],
            ) if metadata
                .iter()
                .all(|&id| matches!(self.get(id), Object::None)) =>
            {
                self.tensor(storage, offset, shape, strides)
            }
            (
                Global::RebuildTensorOfType,
                &[
                    storage,
                    offset,
                    shape,
                    strides,
                    _grad,
                    _hooks,
                    dtype,
                    ref metadata @ ..,
                ],
            ) if metadata
                .iter()
                .all(|&id| matches!(self.get(id), Object::None)) =>
            {
                let (&Object::Storage(bytes), &Object::Global(Global::Type(dtype))) =
                    (self.get(storage), self.get(dtype))
                else {
                    return wrong("_rebuild_tensor_v3", "a storage and a type are wanted");
                };
                let storage = bytes.of_type(dtype).map(Object::Storage);
                let Some(storage) = storage else {
                    return wrong("_rebuild_tensor_v3", "its storage holds no whole numbers");
                };
                let storage = self.add(storage)?;
                self.tensor(storage, offset, shape, strides)
            }
            (Global::RebuildTensorOfType, _) => wrong(
                "_rebuild_tensor_v3",
                "storage, offset, shape, strides, requires_grad, hooks and type are wanted",
            ),
            (Global::RebuildTensor, _) => wrong(
                "_rebuild_tensor_v2",
                "storage, offset, shape, strides, requires_grad and hooks are wanted",
            ),
            (Global::RebuildParameter, &[tensor, _grad, _hooks])
                if matches!(self.get(tensor), Object::Tensor(_)) =>
            {
                Ok(tensor)
            }
            (Global::RebuildParameter, _) => wrong(
                "_rebuild_parameter",
                "a tensor, requires_grad and hooks are wanted",
            ),
            (Global::Storage(_) | Global::Type(_), _) => wrong(
                "a type",
                "types are named, and storages entries of the archive, not calls",
            ),
        }
    }

    fn tensor(&mut self, storage: Id, offset: Id, shape: Id, strides: Id) -> Result<Id, Error> {
        let wrong = |reason| Error::Call {
            function: "_rebuild_tensor_v2",
            reason,
        };
        let &Object::Storage(storage) = self.get(storage) else {
            return Err(wrong("the first is no storage"));
        };
        let &Object::Int(offset) = self.get(offset) else {
            return Err(wrong("the offset is no integer"));
        };
        let integers = |id| match self.get(id) {
            Object::Tuple(items) => items
                .iter()
                .map(|&item| self.integer(item))
                .collect::<Option<Vec<i64>>>(),
            _ => None,
        };
        let (Some(shape), Some(strides)) = (integers(shape), integers(strides)) else {
            return Err(wrong("shape or strides are no tuple of integers"));
        };
        // A long name and a long shape count for more than one object: they take time and memory.
        spend(&mut self.left, storage.key.len() / 64 + shape.len() / 8)?;
        let tensor = self.storages.tensor(
            storage,
            Window {
                offset,
                shape,
                strides,
            },
        )?;
        self.add(Object::Tensor(Box::new(tensor)))
    }

    fn integer(&self, id: Id) -> Option<i64> {
        match *self.get(id) {
            Object::Int(integer) => Some(integer),
            _ => None,
        }
    }

    /// The tree that hangs from `id`.
    pub fn into_value(self, id: Id) -> Result<Value, Error> {
        let mut values_left = MOST_VALUES;
        self.value(id, MOST_DEEP, &mut values_left)
    }

    fn value(&self, id: Id, deep_left: usize, values_left: &mut usize) -> Result<Value, Error> {
        // Long texts and shapes are copied, and count for more than one value.
        let weight = match self.get(id) {
            Object::Str(text) => 1 + text.len() / 64,
            Object::Tensor(tensor) => 1 + tensor.shape.len() / 8,
            _ => 1,
        };
        spend(values_left, weight)?;
        let Some(deep_left) = deep_left.checked_sub(1) else {
            return Err(Error::TooDeep { most: MOST_DEEP });
        };
        let mut value = |&id: &Id| self.value(id, deep_left, values_left);
        Ok(match self.get(id) {
            Object::None => Value::None,
            Object::Bool(bool) => Value::Bool(*bool),
            Object::Int(int) => Value::Int(*int),
            Object::Float(float) => Value::Float(*float),
            Object::Str(text) => Value::Str((*text).to_owned()),
            Object::List(items) => Value::List(items.iter().map(value).collect::<Result<_, _>>()?),
            Object::Tuple(items) => {
                Value::Tuple(items.iter().map(value).collect::<Result<_, _>>()?)
            }
            Object::Dict(pairs) => {
                self.check_keys(pairs)?;
                let pairs = pairs
                    .iter()
                    .map(|(key, item)| Ok((value(key)?, value(item)?)));
                Value::Dict(pairs.collect::<Result<_, Error>>()?)
            }
            Object::Tensor(tensor) => Value::Tensor((**tensor).clone()),
            Object::Global(_) => {
                return Err(Error::NotAValue {
                    what: "a function or class",
                });
            }
            Object::Storage(_) => {
                return Err(Error::NotAValue {
                    what: "a bare storage",
                });
            }
        })
    }

    /// Python keeps the last of two equal keys, a search from the front finds the first: refuse to
    /// choose.
    fn check_keys(&self, pairs: &[(Id, Id)]) -> Result<(), Error> {
        let mut seen = HashSet::new();
        for &(key, _) in pairs {
            if let Object::Str(key) = self.get(key)
                && !seen.insert(*key)
            {
                return Err(Error::DuplicateKey { key: shown(key) });
            }
        }
        Ok(())
    }
}

fn spend(left: &mut usize, count: usize) -> Result<(), Error> {
    *left = left
        .checked_sub(count)
        .ok_or(Error::TooManyValues { most: MOST_VALUES })?;
    Ok(())
}
