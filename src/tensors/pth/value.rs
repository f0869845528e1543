//! What a `.pth` file holds, and the limits that reading and writing share.

use safetensors::Dtype;

use crate::tensors::stored::Stored;

/// How deep lists, tuples and dictionaries may lie in each other. Files of tensors stay below ten.
/// The limit keeps recursion over a value, its drop included, well inside a thread's stack.
pub const MOST_DEEP: usize = 64;

/// The storages PyTorch names that the rest of this program has a dtype for.
pub const STORAGES: [(&str, Dtype); 10] = [
    ("BFloat16Storage", Dtype::BF16),
    ("HalfStorage", Dtype::F16),
    ("FloatStorage", Dtype::F32),
    ("DoubleStorage", Dtype::F64),
    ("BoolStorage", Dtype::BOOL),
    ("ByteStorage", Dtype::U8),
    ("CharStorage", Dtype::I8),
    ("ShortStorage", Dtype::I16),
    ("IntStorage", Dtype::I32),
    ("LongStorage", Dtype::I64),
];

/// What a `.pth` file holds. An OrderedDict is read as a [`Value::Dict`], a Parameter as its
/// tensor.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A tensor, laid out row-major whatever its strides in the file are.
    Tensor(Stored),
    /// A Python list.
    List(Vec<Value>),
    /// A Python tuple.
    Tuple(Vec<Value>),
    /// Pairs in the order of the file. No string stands twice as a key of what
    /// [`read`](super::read) returns.
    Dict(Vec<(Value, Value)>),
    /// A string.
    Str(String),
    /// An integer; one that needs more than 64 bits is refused.
    Int(i64),
    /// A Python float, which has 64 bits.
    Float(f64),
    /// `True` or `False`.
    Bool(bool),
    /// Python's `None`.
    None,
}
