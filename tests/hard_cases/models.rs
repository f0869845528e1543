//! Models and states that are hostile, damaged, or of another size.

use std::fs;
use std::io::Write;

use state_tune::tensors::pth::{self, Value};

use crate::common::{Dir, golden};
use crate::{LINE, small_entries, small_model, with};

/// A pickle's text.
fn text(text: &str) -> Vec<u8> {
    [
        b"X",
        &(text.len() as u32).to_le_bytes()[..],
        text.as_bytes(),
    ]
    .concat()
}

/// A pickle's integers, in a tuple.
fn tuple(ints: &[i64]) -> Vec<u8> {
    let ints: Vec<u8> = ints.iter().flat_map(|&int| integer(int)).collect();
    [b"(", &ints[..], b"t"].concat()
}

fn integer(int: i64) -> Vec<u8> {
    [&[0x8a, 8], &int.to_le_bytes()[..]].concat()
}

/// The pickle of a dictionary of one tensor, in a storage that claims to have `count` floats.
fn tensor(count: i64, offset: i64, shape: &[i64], strides: &[i64]) -> Vec<u8> {
    [
        b"\x80\x02}".as_slice(),
        &text("emb.weight"),
        b"ctorch._utils\n_rebuild_tensor_v2\n((",
        &text("storage"),
        b"ctorch\nFloatStorage\n",
        &text("0"),
        &text("cpu"),
        &integer(count),
        b"tQ",
        &integer(offset),
        &tuple(shape),
        &tuple(strides),
        b"\x89ccollections\nOrderedDict\n)RtRs.",
    ]
    .concat()
}

/// A checkpoint of a pickle and a storage of four floats.
fn checkpoint(dir: &Dir, pickle: &[u8]) {
    let mut zip = zip::ZipWriter::new(fs::File::create(dir.path("model.pth")).unwrap());
    for (name, bytes) in [("a/data.pkl", pickle), ("a/data/0", &[0; 16])] {
        zip.start_file(name, zip::write::SimpleFileOptions::default())
            .unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap();
}

#[test]
fn a_hostile_model_is_refused_and_nothing_it_says_is_done() {
    let dir = Dir::new();
    let call = [
        b"\x80\x02cposix\nsystem\n",
        &text("touch owned")[..],
        b"\x85R.",
    ]
    .concat();
    let deep = [vec![b']'; 200_000], vec![b'a'; 199_999], vec![b'.']].concat();
    let far = 1 << 40;
    for (pickle, word) in [
        (call, "posix.system"),
        (tensor(4, 0, &[5], &[1]), "outside storage"),
        (tensor(4, 4, &[1], &[1]), "outside storage"),
        (tensor(4, 0, &[2, 2], &[-1, 1]), "storage"),
        (tensor(4000, 0, &[4000], &[1]), "16 bytes"),
        (tensor(4, 0, &[far, far], &[far, 1]), "storage"),
        (tensor(4, 0, &[far, 4], &[0, 1]), "too large"),
        (deep, "nested"),
        (b"\x80\x02]q\x00h\x00a.".to_vec(), "hold themselves"),
        (b"\x80\x02}".to_vec(), "ends at byte"),
    ] {
        checkpoint(&dir, &pickle);
        // Refused by name and reason; nothing else may appear in the directory.
        dir.refuses(&["--model_location=model.pth"], 1, &["model.pth", word]);
    }
}

#[test]
fn a_cut_or_foreign_safetensors_file_is_refused() {
    let dir = Dir::new();
    let whole = fs::read(golden("model_5.2_orig_mod.safetensors")).unwrap();
    dir.write("cut.safetensors", &whole[..whole.len() / 2]);
    dir.refuses(
        &["--model_location=cut.safetensors"],
        1,
        &["cut.safetensors"],
    );
    let state = golden("tiny_state.pth").display().to_string();
    dir.refuses(&["--model_location", &state], 1, &["state"]);
    let directory = dir.path("").display().to_string();
    dir.refuses(&["--model_location", &directory], 1, &["directory"]);
}

#[test]
fn a_state_of_another_model_is_refused_with_both_sizes_and_left_alone() {
    let dir = Dir::new();
    fs::copy(golden("tiny_state.pth"), dir.path("state.pth")).unwrap();
    dir.write("data.jsonl", LINE);
    let before = fs::read(dir.path("state.pth")).unwrap();
    let model = small_model();
    let both = ["state.pth", "it has 4 layers, the model 2"];
    dir.refuses(&["--model_location", &model, "--prompt=1"], 1, &both);
    let train = with(&["--model_location", &model, "--data_path=data.jsonl"]);
    dir.refuses(&train, 1, &both);
    assert_eq!(fs::read(dir.path("state.pth")).unwrap(), before);
}

#[test]
fn a_token_that_the_model_does_not_have_is_named() {
    let dir = Dir::new();
    let model = small_model();
    dir.write("data.jsonl", LINE.repeat(2));
    // The default prompt ends in words, which are tokens beyond 160.
    dir.refuses(
        &["--model_location", &model, "--data_path=data.jsonl"],
        1,
        &["data.jsonl", "lines 1, 2", "160 tokens"],
    );
    dir.succeeds(&with(&[
        "--model_location",
        &model,
        "--data_path=data.jsonl",
    ]));
    dir.refuses(
        &["--model_location", &model, "--prompt=words"],
        1,
        &["prompt", "160 tokens"],
    );
}

#[cfg(unix)]
#[test]
fn a_pipe_for_a_model_is_named_and_not_waited_for() {
    let dir = Dir::new();
    let made = std::process::Command::new("mkfifo")
        .arg(dir.path("model.pth"))
        .status();
    assert!(made.is_ok_and(|status| status.success()));
    dir.refuses(
        &["--model_location=model.pth"],
        1,
        &["model.pth", "a special file"],
    );
}

#[test]
fn a_layer_number_out_of_line_is_named() {
    let dir = Dir::new();
    let mut entries = small_entries();
    let (_, some) = entries[0].clone();
    entries.push((Value::Str("blocks.18446744073709551615.x".into()), some));
    pth::write(&dir.path("model.pth"), &Value::Dict(entries)).unwrap();
    dir.refuses(
        &["--model_location=model.pth"],
        1,
        &["layer 18446744073709551615"],
    );
}
