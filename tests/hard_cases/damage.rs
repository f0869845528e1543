//! Files that are not what was written: damaged ones, and those of a later version.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use state_tune::state_file;
use state_tune::tensors::pth::{self, Value};
use state_tune::tensors::{self, Content, Stored, TensorFile, safetensors};

use crate::common::Dir;

const SHORT: &str = "--max_epochs=0.01";
const TAG: &str = "state-tune-checkpoint";
const NOTE: &str = "state-tune.json";

/// All tensors of a file, to be compared: names, types and shapes, bytes. Its note must be whole.
fn content(path: &Path, note: &str) -> Result<Vec<(String, String, Vec<u8>)>, tensors::Error> {
    let tensors = match TensorFile::open_with_note(path, note)?.content {
        Content::Safetensors(tensors) => tensors.into_iter().collect(),
        Content::Pth(value) => leaves("", value),
    };
    let tensors = tensors.into_iter().map(|(name, tensor)| {
        let kind = format!("{:?} {:?}", tensor.dtype, tensor.shape);
        (name, kind, tensor.bytes.to_vec())
    });
    Ok(tensors.collect())
}

fn leaves(name: &str, value: Value) -> Vec<(String, Stored)> {
    let all = |values: Vec<Value>| {
        let values = values.into_iter().enumerate();
        values
            .flat_map(|(i, value)| leaves(&format!("{name}.{i}"), value))
            .collect()
    };
    match value {
        Value::Tensor(tensor) => vec![(name.to_string(), tensor)],
        Value::List(values) | Value::Tuple(values) => all(values),
        _ => Vec::new(),
    }
}

#[test]
fn a_bit_that_flips_is_noticed_or_makes_no_difference() {
    let dir = Dir::new();
    dir.succeeds(&[SHORT, "--tune=softprompt,shift"]);
    for (file, note) in [("state.pth", NOTE), ("state.pth.ckpt", TAG)] {
        let path = dir.path(file);
        let whole = fs::read(&path).unwrap();
        let before = content(&path, note).unwrap();
        let mut noticed = 0;
        // Everything near both ends, where names and lengths stand, and some of what lies between.
        let far = |at: &usize| *at < 1500 || whole.len() - at < 1500 || at.is_multiple_of(1009);
        for at in (0..whole.len()).filter(far) {
            let mut damaged = whole.clone();
            damaged[at] ^= 1 << (at % 8);
            fs::write(dir.path("damaged"), &damaged).unwrap();
            match content(&dir.path("damaged"), note) {
                Err(_) => noticed += 1,
                Ok(now) => assert!(now == before, "{file}, byte {at}"),
            }
        }
        assert!(noticed > 1000, "{file}: {noticed}");
    }
}

#[test]
fn a_damaged_checkpoint_or_state_is_refused_with_its_reason() {
    let dir = Dir::new();
    dir.succeeds(&[SHORT]);
    for (file, flags) in [
        ("state.pth.ckpt", ["--resume", "--max_epochs=0.1"]),
        ("state.pth", ["--init=state.pth", "--save_filename=new.pth"]),
    ] {
        let path = dir.path(file);
        let whole = fs::read(&path).unwrap();
        let mut damaged = whole.clone();
        damaged[whole.len() / 2] ^= 4;
        fs::write(&path, &damaged).unwrap();
        dir.refuses(&flags, 1, &[file, "checksum"]);
        fs::write(&path, &whole).unwrap();
    }
}

#[test]
fn an_empty_checkpoint_is_none_and_called_empty() {
    let dir = Dir::new();
    dir.write("state.pth.ckpt", "");
    let said = dir.succeeds(&[SHORT, "--resume"]);
    assert!(
        said.contains("resume state.pth.ckpt is empty; starting from the beginning"),
        "{said}"
    );
}

fn tensors(path: &Path) -> BTreeMap<String, Stored> {
    let Content::Safetensors(tensors) = TensorFile::open(path).unwrap().content else {
        panic!("a checkpoint is a safetensors file")
    };
    tensors
}

#[test]
fn a_checkpoint_of_a_later_version_is_refused() {
    let dir = Dir::new();
    dir.succeeds(&[SHORT]);
    let path = dir.path("state.pth.ckpt");
    let own = tensors(&path);
    let resume = ["--resume", "--max_epochs=0.1"];
    for version in [
        "state-tune 99.0.0",
        "state-tune 0.99.0-beta",
        "another program",
    ] {
        safetensors::write_with_checksum(&path, &own, (TAG, version)).unwrap();
        dir.refuses(&resume, 1, &["state.pth.ckpt", version, "--resume"]);
    }
    let program = concat!("state-tune ", env!("CARGO_PKG_VERSION"));
    let record: serde_json::Value = serde_json::from_slice(&own["run"].bytes).unwrap();
    for place in [
        "",
        "/identity",
        "/plan",
        "/settings",
        "/history",
        "/history/steps/0",
    ] {
        let mut record = record.clone();
        record.pointer_mut(place).unwrap()["learnt_later"] = 1.into();
        let bytes = serde_json::to_vec(&record).unwrap();
        let mut changed = own.clone();
        let run = changed.get_mut("run").unwrap();
        (run.shape, run.bytes) = (vec![bytes.len()], bytes.into());
        safetensors::write_with_checksum(&path, &changed, (TAG, program)).unwrap();
        dir.refuses(&resume, 1, &["state.pth.ckpt", "learnt_later"]);
    }
    for (name, like) in [
        ("learnt_later", "run"),
        ("learnt_later", "wkv"),
        ("start.quantum", "wkv"),
        ("start.wkv.first_moment", "wkv"),
        // This run has no best state.
        ("best.wkv", "wkv"),
    ] {
        let mut more = own.clone();
        more.insert(name.to_string(), own[like].clone());
        safetensors::write_with_checksum(&path, &more, (TAG, program)).unwrap();
        dir.refuses(&resume, 1, &["state.pth.ckpt", name]);
    }
    safetensors::write(&path, &own, (TAG, program)).unwrap();
    dir.refuses(&resume, 1, &["state.pth.ckpt", "no checksum"]);
    safetensors::write_with_checksum(&path, &own, (TAG, program)).unwrap();
    dir.succeeds(&resume);
}

#[test]
fn a_broken_tag_is_not_taken_for_none() {
    let dir = Dir::new();
    dir.succeeds(&[SHORT]);
    let path = dir.path("state.pth");
    let tag = TensorFile::open_with_note(&path, NOTE)
        .unwrap()
        .note
        .unwrap();
    let tag = String::from_utf8(tag.to_vec()).unwrap();
    let value = pth::read(&path).unwrap();
    let changed = [
        tag[..tag.len() / 2].to_string(),
        String::new(),
        tag.replacen('{', "{\"learnt_later\": 1, ", 1),
        tag.replacen("\"state\"", "\"state_of_later\"", 1),
    ];
    for text in changed {
        pth::write_with_note(&path, &value, (NOTE, &text)).unwrap();
        let error = state_file::open(&path, None).unwrap_err().to_string();
        assert!(
            error.starts_with("its tag, state-tune.json"),
            "{text}: {error}"
        );
        dir.refuses(
            &["--init=state.pth", "--save_filename=new.pth"],
            1,
            &["state.pth", "tag"],
        );
    }
    pth::write_with_note(&path, &value, (NOTE, &tag)).unwrap();
    assert!(state_file::open(&path, None).unwrap().tag.is_some());
}
