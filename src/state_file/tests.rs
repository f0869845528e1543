//! Every format against itself and against files that PyTorch and safetensors wrote (`tests/oracle/make_states.py`).

use std::path::PathBuf;

use candle_core::{Device, Tensor};

use super::*;
use crate::model::Version;
use crate::tensors::pth::{self, Value};
use crate::tensors::{Element, Stored};

const CONFIG: Config = Config {
    version: Version::V5_2,
    vocab_size: 10,
    n_layer: 2,
    n_embd: 6,
    n_head: 2,
    head_size: 3,
    n_ffn: 8,
};

fn counted(shape: &[usize]) -> Tensor {
    let count = shape.iter().product::<usize>();
    let numbers: Vec<f32> = (0..count).map(|i| i as f32 / 8.0).collect();
    Tensor::from_vec(numbers, shape, &Device::Cpu).unwrap()
}

/// Numbers that every type holds exactly, and no matrix that equals its transpose.
fn state(soft_prompt: bool) -> State {
    State {
        soft_prompt: soft_prompt.then(|| counted(&[6])),
        shifts: counted(&[4, 6]),
        wkv: counted(&[2, 2, 3, 3]),
    }
}

fn flat(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

/// A file that Python wrote. It holds the numbers of [`state`].
fn from_python(name: &str) -> PathBuf {
    let states = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/states");
    states.join(name)
}

const PYTHON: [(&str, Format); 6] = [
    ("state.pth", Format::State),
    ("original.pth", Format::Original),
    ("time_state.pth", Format::TimeState),
    ("web-rwkv.st", Format::WebRwkv),
    ("rwkv-live.pth", Format::RwkvLive),
    ("model.pth", Format::Model),
];

/// What is left of [`state`] in a format: matrices always, the rest where there is a place for it.
#[track_caller]
fn is_the_state(found: &Found) {
    let (whole, format) = (state(true), found.format);
    assert_eq!(
        flat(&found.state.wkv),
        flat(&whole.wkv),
        "{format}: a transpose is off"
    );
    let lost = format.loses(&whole).unwrap();
    let shifts = if lost.contains(&"the token shifts") {
        vec![0.0; 24]
    } else {
        flat(&whole.shifts)
    };
    assert_eq!(flat(&found.state.shifts), shifts, "{format}");
    let soft_prompt = (!lost.contains(&"the soft prompt")).then(|| flat(&counted(&[6])));
    assert_eq!(
        found.state.soft_prompt.as_ref().map(flat),
        soft_prompt,
        "{format}"
    );
}

#[test]
fn what_python_wrote_is_recognised_and_read() {
    for (name, format) in PYTHON {
        let found = open(&from_python(name), None).unwrap();
        assert_eq!((found.format, found.tag.clone()), (format, None), "{name}");
        is_the_state(&found);
        found.fit(&CONFIG).unwrap();
    }
}

#[test]
fn what_is_written_reads_back_with_its_tag() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state");
    for (_, format) in PYTHON {
        if format == Format::Model {
            write_into_model(&path, &state(true), &from_python("model.pth"), "f00d").unwrap();
        } else {
            write(&path, &state(true), Element::Bf16, format, Some("f00d")).unwrap();
        }
        let found = open(&path, None).unwrap();
        assert_eq!(found.format, format);
        is_the_state(&found);
        let tag = found.tag.clone().unwrap();
        assert_eq!(
            (tag.format, tag.model.as_deref()),
            (format.to_string(), Some("f00d"))
        );
        found.check_model("f00d").unwrap();
        let error = found.check_model("beef").unwrap_err().to_string();
        assert!(
            error.contains("f00d") && error.contains("--force"),
            "{error}"
        );
    }
}

#[test]
fn a_model_keeps_its_tensors_and_has_one_state() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("model.pth");
    let names = |path: &Path| {
        let Value::Dict(pairs) = pth::read(path).unwrap() else {
            panic!("a model is a dictionary");
        };
        let mut names: Vec<String> = pairs
            .into_iter()
            .map(|(name, _)| format!("{name:?}"))
            .collect();
        names.sort();
        names
    };
    write_into_model(&path, &state(false), &from_python("model.pth"), "f00d").unwrap();
    assert_eq!(names(&path), names(&from_python("model.pth")));
}

#[test]
fn round_trip_with_and_without_a_soft_prompt_in_each_type() {
    let directory = tempfile::tempdir().unwrap();
    for (soft, element) in [
        (true, Element::Bf16),
        (false, Element::Bf16),
        (true, Element::F32),
        (true, Element::F16),
    ] {
        let path = directory.path().join("state.pth");
        let state = state(soft);
        write(&path, &state, element, Format::State, None).unwrap();
        let found = open(&path, None).unwrap();
        assert_eq!(found.element, element);
        let again = found.fit(&CONFIG).unwrap();
        let soft_prompt = |state: &State| state.soft_prompt.as_ref().map(flat);
        assert_eq!(soft_prompt(&again), soft_prompt(&state));
        assert_eq!(flat(&again.shifts), flat(&state.shifts));
        assert_eq!(flat(&again.wkv), flat(&state.wkv));
    }
}

#[test]
fn the_matrix_stands_as_value_key() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state.pth");
    write(&path, &state(false), Element::Bf16, Format::State, None).unwrap();
    let Value::List(items) = pth::read(&path).unwrap() else {
        panic!("a state is a list");
    };
    let [Value::Tensor(soft_prompt), Value::Tuple(rest)] = items.as_slice() else {
        panic!("of a tensor and a tuple");
    };
    let [_, Value::Tensor(wkv)] = rest.as_slice() else {
        panic!("of two");
    };
    assert_eq!(soft_prompt.shape, [1, 0, 6]);
    assert_eq!(
        (wkv.shape.as_slice(), wkv.dtype),
        ([2, 1, 2, 3, 3].as_slice(), Dtype::F32)
    );
    // Counted along [key, value], the second number of the file is key 1, value 0.
    let start = Element::F32.decode(&wkv.bytes)[..4].to_vec();
    assert_eq!(start, [0.0, 3.0 / 8.0, 6.0 / 8.0, 1.0 / 8.0]);
}

#[test]
fn a_state_of_another_model_is_refused_with_both_shapes() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state.pth");
    write(&path, &state(true), Element::Bf16, Format::State, None).unwrap();
    let other = Config {
        n_layer: 3,
        ..CONFIG
    };
    let error = read(&path, &other).unwrap_err();
    let is_shifts = matches!(
        &error,
        Error::Misfit {
            part: "time_shifts",
            ..
        }
    );
    let text = error.to_string();
    assert!(
        is_shifts && text.contains("[4, 6]") && text.contains("[6, 6]"),
        "{text}"
    );
}

#[test]
fn numbers_that_are_not_finite_are_never_written() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state.pth");
    let bad = State {
        shifts: (counted(&[4, 6]) / 0.0).unwrap(),
        ..state(true)
    };
    let large = State {
        shifts: (counted(&[4, 6]) * 1e6).unwrap(),
        ..state(true)
    };
    for (state, element) in [(bad, Element::Bf16), (large, Element::F16)] {
        let error = write(&path, &state, element, Format::State, None).unwrap_err();
        assert!(
            matches!(
                error,
                Error::NotFinite {
                    part: "time_shifts"
                }
            ),
            "{error}"
        );
    }
    let large = State {
        wkv: (counted(&[2, 2, 3, 3]) * 1e6).unwrap(),
        ..state(true)
    };
    let error = write(&path, &large, Element::F32, Format::WebRwkv, None).unwrap_err();
    assert!(
        matches!(error, Error::NotFinite { part: "time_mix" }),
        "{error}"
    );
    assert!(!path.exists());
}

#[test]
fn safetensors_of_another_type_could_stand_either_way() {
    let path = from_python("unclear.safetensors");
    let error = open(&path, None).unwrap_err().to_string();
    assert!(error.contains("--from"), "{error}");
    let said = open(&path, Some(Format::TimeState)).unwrap();
    assert_eq!(flat(&said.state.wkv), flat(&state(true).wkv));
    let other = open(&path, Some(Format::WebRwkv)).unwrap();
    assert_ne!(flat(&other.state.wkv), flat(&state(true).wkv));
}

#[test]
fn what_is_said_must_not_contradict_what_is_there() {
    let error = open(&from_python("original.pth"), Some(Format::TimeState)).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("of the format original, not time_state"),
        "{error}"
    );
}

#[test]
fn other_files_are_no_states() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state.pth");
    let tensor = |shape: &[usize]| {
        let count: usize = shape.iter().product();
        Value::Tensor(Stored {
            dtype: Dtype::F32,
            shape: shape.to_vec(),
            bytes: vec![0; 4 * count].into(),
        })
    };
    let pair = |name: &str, value| (Value::Str(name.to_string()), value);
    for value in [
        Value::Dict(vec![]),
        Value::List(vec![]),
        Value::List(vec![Value::Int(1)]),
        Value::None,
        tensor(&[1]),
        // One tensor too few, and one that belongs elsewhere.
        Value::List(vec![tensor(&[6]), tensor(&[2, 3, 3])]),
        Value::Dict(vec![pair("blocks.1.att.time_state", tensor(&[2, 3, 3]))]),
        Value::Dict(vec![
            pair("blocks.0.att.time_state", tensor(&[2, 3, 3])),
            pair("something", tensor(&[1])),
        ]),
        // No square, no layers, layers unlike.
        Value::Dict(vec![pair("blocks.0.att.time_state", tensor(&[2, 3, 4]))]),
        Value::Dict(vec![pair("blocks.0.att.time_state", tensor(&[0, 3, 3]))]),
        Value::Dict(vec![
            pair("blocks.0.att.time_state", tensor(&[2, 3, 3])),
            pair("blocks.1.att.time_state", tensor(&[3, 2, 2])),
        ]),
        Value::Dict(vec![
            pair("blocks.0.att.wkvstate", tensor(&[2, 3, 3])),
            pair("blocks.0.att.shift.state", tensor(&[1, 1, 6])),
        ]),
    ] {
        pth::write(&path, &value).unwrap();
        assert!(open(&path, None).is_err(), "{value:?}");
    }
    // Shifts that would have to be guessed at.
    let original = |att: &[usize], ffn: &[usize], more: bool| {
        let mut pairs = vec![
            pair("blocks.0.att.wkvstate", tensor(&[2, 3, 3])),
            pair("blocks.0.att.shift.state", tensor(att)),
            pair("blocks.0.ffn.shift.state", tensor(ffn)),
        ];
        if more {
            pairs.push(pair("blocks.1.att.shift.state", tensor(att)));
        }
        Value::Dict(pairs)
    };
    let ours = |shifts: &[usize]| {
        let rest = vec![tensor(shifts), tensor(&[2, 1, 2, 3, 3])];
        Value::List(vec![tensor(&[1, 0, 6]), Value::Tuple(rest)])
    };
    let good = [original(&[1, 1, 6], &[1, 1, 6], false), ours(&[4, 1, 1, 6])];
    for value in good {
        pth::write(&path, &value).unwrap();
        open(&path, None).unwrap();
    }
    for value in [
        original(&[1, 1, 7], &[1, 1, 5], false),
        original(&[1, 1, 6], &[1, 1, 6], true),
        ours(&[6, 1, 1, 4]),
        ours(&[2, 2, 1, 6]),
    ] {
        pth::write(&path, &value).unwrap();
        assert!(open(&path, None).is_err(), "{value:?}");
    }
    std::fs::write(&path, b"\x08\0\0\0\0\0\0\0{}      ").unwrap();
    assert!(open(&path, None).is_err(), "safetensors without a tensor");
}

#[test]
fn a_small_file_does_not_become_a_large_state() {
    let found = |copies: usize, file: usize| {
        let matrix = Stored {
            dtype: Dtype::F32,
            shape: vec![1, 1024, 1024],
            bytes: vec![0; 4 << 20].into(), // shared by all, as a pickle can say
        };
        let parts = (0..copies).map(|_| matrix.clone()).collect();
        read::check_size_of(parts, file)
    };
    found(16, 1000).unwrap();
    assert!(matches!(found(17, 1000), Err(Error::Swollen { .. })));
    found(17, 4 << 20).unwrap();
}

#[test]
fn a_compiled_models_names_are_put_right() {
    let directory = tempfile::tempdir().unwrap();
    let (compiled, merged) = (
        directory.path().join("c.pth"),
        directory.path().join("m.pth"),
    );
    let Value::Dict(pairs) = pth::read(&from_python("model.pth")).unwrap() else {
        panic!("a model is a dictionary");
    };
    let pairs = pairs.into_iter().map(|(name, tensor)| match name {
        Value::Str(name) => (Value::Str(format!("_orig_mod.{name}")), tensor),
        other => (other, tensor),
    });
    pth::write(&compiled, &Value::Dict(pairs.collect())).unwrap();
    write_into_model(&merged, &state(false), &compiled, "f00d").unwrap();
    let found = open(&merged, None).unwrap();
    assert_eq!(found.format, Format::Model);
    is_the_state(&found);
}
