//! Any bytes are a checkpoint or an error; with a checksum that is left out, or with one.

#![no_main]

use std::collections::BTreeMap;
use std::fs;

use libfuzzer_sys::fuzz_target;
use state_tune::tensors::{Dtype, Stored, safetensors};
use state_tune::train::Checkpoint;
use state_tune_fuzz::path;

fuzz_target!(|data: &[u8]| {
    let input = path("ckpt");
    // A file as it stands, or a record of a run that a file is put around.
    if data.get(8) == Some(&b'{') {
        fs::write(&input, data).expect("there is room in /dev/shm");
    } else {
        let record = Stored {
            dtype: Dtype::U8,
            shape: vec![data.len()],
            bytes: data.to_vec().into(),
        };
        let tensors = BTreeMap::from([("run".to_string(), record)]);
        let tag = ("state-tune-checkpoint", "state-tune 0.1.0");
        safetensors::write(&input, &tensors, tag).expect("it is whole");
    }
    if let Ok(checkpoint) = Checkpoint::read(&input) {
        let _ = checkpoint.steps();
    }
});
