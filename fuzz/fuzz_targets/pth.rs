//! Any bytes are a value or an error, and a value that is written and read again makes the same
//! file.

#![no_main]

use std::fs;

use libfuzzer_sys::fuzz_target;
use state_tune::model::ModelFile;
use state_tune::tensors::pth::{self, Value};
use state_tune_fuzz::{file, path};

fuzz_target!(|data: &[u8]| {
    let input = file(data);
    let _ = ModelFile::open(&input);
    let Ok(value) = pth::read(&input) else {
        return;
    };
    // A storage may be shared, and is written once for every tensor.
    if bytes(&value) > 1 << 20 {
        return;
    }
    let (first, second) = (path("first"), path("second"));
    // What no file of ours holds, such as a number for a key, is an error.
    if pth::write(&first, &value).is_ok() {
        let again = pth::read(&first).expect("what is written can be read");
        pth::write(&second, &again).expect("and written again");
        assert!(fs::read(&first).unwrap() == fs::read(&second).unwrap());
    }
});

fn bytes(value: &Value) -> usize {
    match value {
        Value::Tensor(tensor) => tensor.bytes.len(),
        Value::List(items) | Value::Tuple(items) => items.iter().map(bytes).sum(),
        Value::Dict(pairs) => pairs.iter().map(|(k, v)| bytes(k) + bytes(v)).sum(),
        _ => 0,
    }
}
