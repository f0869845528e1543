//! Writing a `.pth`: a zip of stored entries around a pickle of protocol 2.
//!
//! The pickle is the plainest that says what is meant: no memo, no frames, nothing newer than
//! protocol 2, since many engines read `.pth` with a small reader of their own. Tensors begin at
//! multiples of 64 bytes, as PyTorch writes them, so that they can be used in a map of the file.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use zip::result::ZipError;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::error::{Error, shown};
use super::opcode;
use super::tensor::item_size;
use super::value::{MOST_DEEP, STORAGES, Value};
use crate::files;
use crate::tensors::stored::Stored;

/// Writes `value` so that `torch.load(path, weights_only=True)` returns it: tensors on the CPU
/// without gradient, a [`Value::Dict`] as an `OrderedDict`, as PyTorch saves a model's own. The
/// file appears whole or not at all.
///
/// Dictionary keys must be strings, tensors must have the bytes their shape says and one of
/// PyTorch's storage dtypes, and nothing may lie more than 64 deep.
pub fn write(path: &Path, value: &Value) -> Result<(), Error> {
    write_archive(path, value, None)
}

/// As [`write()`], with a further entry, a name and its text, of which `torch.load` takes no notice.
pub fn write_with_note(path: &Path, value: &Value, note: (&str, &str)) -> Result<(), Error> {
    write_archive(path, value, Some(note))
}

fn write_archive(path: &Path, value: &Value, note: Option<(&str, &str)>) -> Result<(), Error> {
    let mut pickle = Pickle {
        code: vec![opcode::PROTO, 2],
        tensors: Vec::new(),
    };
    pickle.value(value, MOST_DEEP)?;
    pickle.code.push(opcode::STOP);
    files::replace(path, |file| archive(file, &pickle, note))?;
    Ok(())
}

fn archive(file: &mut File, pickle: &Pickle, note: Option<(&str, &str)>) -> io::Result<()> {
    let mut zip = ZipWriter::new(file);
    match entries(&mut zip, pickle, note) {
        Ok(()) => zip.finish().map(drop).map_err(bare),
        Err(error) => {
            // Its `drop` would try to finish the archive, and print to standard error.
            std::mem::forget(zip);
            Err(error)
        }
    }
}

fn entries(
    zip: &mut ZipWriter<&mut File>,
    pickle: &Pickle,
    note: Option<(&str, &str)>,
) -> io::Result<()> {
    let plain = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    let mut entry = |name: &str, bytes: &[u8]| -> io::Result<()> {
        // Beyond 4 GiB (less the entry's header) an entry needs zip64 fields, which must be asked
        // for.
        let large = bytes.len() >= u32::MAX as usize;
        let begun = zip.start_file(
            format!("archive/{name}"),
            plain.with_alignment(64).large_file(large),
        );
        begun.map_err(bare)?;
        zip.write_all(bytes)
    };
    entry("data.pkl", &pickle.code)?;
    entry("byteorder", b"little")?;
    for (key, tensor) in pickle.tensors.iter().enumerate() {
        entry(&format!("data/{key}"), &tensor.bytes)?;
    }
    entry("version", b"3\n")?;
    if let Some((name, text)) = note {
        entry(name, text.as_bytes())?;
    }
    Ok(())
}

/// The system's own error, without the words that the archive's writer puts around it.
fn bare(error: ZipError) -> io::Error {
    match error {
        ZipError::Io(error) => error,
        error => error.into(),
    }
}

/// A pickle being written, and the tensors it refers to by their place in `tensors`.
struct Pickle<'v> {
    code: Vec<u8>,
    tensors: Vec<&'v Stored>,
}

impl<'v> Pickle<'v> {
    fn value(&mut self, value: &'v Value, deep_left: usize) -> Result<(), Error> {
        let Some(deep_left) = deep_left.checked_sub(1) else {
            return Err(Error::TooDeep { most: MOST_DEEP });
        };
        match value {
            Value::None => self.code.push(opcode::NONE),
            Value::Bool(true) => self.code.push(opcode::NEWTRUE),
            Value::Bool(false) => self.code.push(opcode::NEWFALSE),
            Value::Int(int) => self.int(*int),
            Value::Float(float) => {
                self.code.push(opcode::BINFLOAT);
                self.code.extend(float.to_be_bytes());
            }
            Value::Str(text) => self.text(text)?,
            Value::Tensor(tensor) => self.tensor(tensor)?,
            Value::List(items) => {
                self.code.extend([opcode::EMPTY_LIST, opcode::MARK]);
                for item in items {
                    self.value(item, deep_left)?;
                }
                self.code.push(opcode::APPENDS);
            }
            Value::Tuple(items) => {
                self.code.push(opcode::MARK);
                for item in items {
                    self.value(item, deep_left)?;
                }
                self.code.push(opcode::TUPLE);
            }
            Value::Dict(pairs) => {
                self.ordered_dict();
                self.code.push(opcode::MARK);
                for (key, item) in pairs {
                    let Value::Str(key) = key else {
                        return Err(Error::WriteKey {
                            key: shown(&format!("{key:?}")),
                        });
                    };
                    self.text(key)?;
                    self.value(item, deep_left)?;
                }
                self.code.push(opcode::SETITEMS);
            }
        }
        Ok(())
    }

    fn int(&mut self, int: i64) {
        if let Ok(int) = u8::try_from(int) {
            self.code.extend([opcode::BININT1, int]);
        } else if let Ok(int) = i32::try_from(int) {
            self.code.push(opcode::BININT);
            self.code.extend(int.to_le_bytes());
        } else {
            self.code.extend([opcode::LONG1, 8]);
            self.code.extend(int.to_le_bytes());
        }
    }

    fn text(&mut self, text: &str) -> Result<(), Error> {
        let length =
            u32::try_from(text.len()).map_err(|_| Error::WriteText { size: text.len() })?;
        self.code.push(opcode::BINUNICODE);
        self.code.extend(length.to_le_bytes());
        self.code.extend(text.as_bytes());
        Ok(())
    }

    fn global(&mut self, module: &str, name: &str) {
        self.code.push(opcode::GLOBAL);
        self.code.extend(format!("{module}\n{name}\n").as_bytes());
    }

    /// An empty `OrderedDict`.
    fn ordered_dict(&mut self) {
        self.global("collections", "OrderedDict");
        self.code.extend([opcode::EMPTY_TUPLE, opcode::REDUCE]);
    }

    fn ints(&mut self, ints: &[usize]) {
        self.code.push(opcode::MARK);
        for &int in ints {
            self.int(int as i64); // no shape that has data is longer than memory
        }
        self.code.push(opcode::TUPLE);
    }

    /// `_rebuild_tensor_v2(storage, 0, shape, strides, False, OrderedDict())`, with a storage of
    /// the tensor's own.
    fn tensor(&mut self, tensor: &'v Stored) -> Result<(), Error> {
        let Stored {
            dtype,
            shape,
            bytes,
        } = tensor;
        let Some((storage, _)) = STORAGES.iter().find(|(_, known)| known == dtype) else {
            return Err(Error::WriteDtype { dtype: *dtype });
        };
        let strides = strides(shape).filter(|_| byte_size(tensor) == Some(bytes.len()));
        let Some(strides) = strides else {
            return Err(Error::WriteTensor {
                shape: shape.clone(),
                dtype: *dtype,
                size: bytes.len(),
            });
        };
        self.global("torch._utils", "_rebuild_tensor_v2");
        self.code.extend([opcode::MARK, opcode::MARK]);
        self.text("storage")?;
        self.global("torch", storage);
        self.text(&self.tensors.len().to_string())?;
        self.text("cpu")?;
        self.int((bytes.len() / item_size(*dtype)) as i64);
        self.code.extend([opcode::TUPLE, opcode::BINPERSID]);
        self.int(0);
        self.ints(shape);
        self.ints(&strides);
        self.code.push(opcode::NEWFALSE);
        self.ordered_dict();
        self.code.extend([opcode::TUPLE, opcode::REDUCE]);
        self.tensors.push(tensor);
        Ok(())
    }
}

fn byte_size(tensor: &Stored) -> Option<usize> {
    let item = item_size(tensor.dtype);
    tensor
        .shape
        .iter()
        .try_fold(item, |size, &length| size.checked_mul(length))
}

/// Row-major strides in elements. PyTorch counts an axis of length 0 as 1 here, and so do we.
/// `None` on overflow.
fn strides(shape: &[usize]) -> Option<Vec<usize>> {
    let mut strides = vec![0; shape.len()];
    let mut stride = 1usize;
    for (axis, &length) in shape.iter().enumerate().rev() {
        strides[axis] = stride;
        stride = stride.checked_mul(length.max(1))?;
    }
    (stride <= i64::MAX as usize).then_some(strides)
}
