//! What is no state, no state of this model, or cannot be written as one.

use super::*;
use crate::state_file::raw::RawState;

#[test]
fn a_state_of_another_model_is_refused_with_both_shapes() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state.pth");
    write(&path, &state(true), Element::Bf16, Format::STATE, None).unwrap();
    let deeper = Config {
        n_layer: 3,
        ..CONFIG
    };
    let error = read(&path, &deeper).unwrap_err().to_string();
    assert!(error.ends_with("it has 2 layers, the model 3"), "{error}");
    let other = Config {
        n_embd: 2 * CONFIG.n_embd,
        n_head: 2 * CONFIG.n_head,
        ..CONFIG
    };
    let error = read(&path, &other).unwrap_err();
    let is_wkv = matches!(
        &error,
        Error::Misfit {
            part: "time_mix",
            ..
        }
    );
    let text = error.to_string();
    assert!(
        is_wkv && text.contains("[2, 2, 3, 3]") && text.contains("[2, 4, 3, 3]"),
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
        let error = write(&path, &state, element, Format::STATE, None).unwrap_err();
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
    let error = write(&path, &large, Element::F32, Format::WEB_RWKV, None).unwrap_err();
    assert!(
        matches!(error, Error::NotFinite { part: "time_mix" }),
        "{error}"
    );
    assert!(!path.exists());
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
fn what_a_dictionary_lacks_or_has_too_much_of_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state.pth");
    let tensor = |shape: &[usize]| {
        let count: usize = shape.iter().product();
        Value::Tensor(Stored::new(Element::F32, shape.to_vec(), &vec![0.0; count]))
    };
    let dictionary = |names: &[&str]| {
        let shape_of = |name: &str| match name.contains("shift") {
            true => vec![1, 1, 6],
            false => vec![2, 3, 3],
        };
        let pair = |name: &&str| (Value::Str(name.to_string()), tensor(&shape_of(name)));
        Value::Dict(names.iter().map(pair).collect())
    };
    for (names, words) in [
        (
            &["blocks.0.att.time_state", "optimizer"][..],
            &[
                "optimizer beside a state's tensors",
                "save the state's alone",
            ][..],
        ),
        (
            &["blocks.0.att.time_state", "blocks.2.att.time_state"],
            &["has blocks.2.att.time_state", "no blocks.1.att.time_state"],
        ),
        (
            &["x.blocks.0.att.time_state", "blocks.1.att.time_state"],
            &["no blocks.0.att.time_state", "incomplete"],
        ),
        (
            &[
                "blocks.0.att.wkvstate",
                "blocks.1.att.wkvstate",
                "blocks.0.att.shift.state",
                "blocks.1.att.shift.state",
                "blocks.0.ffn.shift.state",
            ],
            &["no blocks.1.ffn.shift.state", "incomplete"],
        ),
    ] {
        pth::write(&path, &dictionary(names)).unwrap();
        let error = open(&path, None).unwrap_err().to_string();
        assert!(words.iter().all(|word| error.contains(word)), "{error}");
    }
    // What is no tensor is told, round a state as round a model.
    let text = |text: &str| Value::Str(text.into());
    let whole = dictionary(&["blocks.0.att.time_state"]);
    let Value::Dict(mut flat) = whole.clone() else {
        panic!("it is a dictionary")
    };
    flat.push((text("epoch"), Value::Int(3)));
    let wrapped = vec![(text("state_dict"), whole), (text("epoch"), Value::Int(3))];
    for with_epoch in [flat, wrapped] {
        pth::write(&path, &Value::Dict(with_epoch)).unwrap();
        let found = open(&path, None).unwrap();
        let told = found.unused().unwrap();
        assert!(told.contains("the state's file also holds epoch"), "{told}");
    }
}

#[test]
fn a_small_file_does_not_become_a_large_state() {
    let found = |copies: usize, file: usize| {
        let matrix = Stored {
            dtype: Dtype::F32,
            shape: vec![1, 1024, 1024],
            bytes: vec![0; 4 << 20].into(), // shared by all, as a pickle can say
        };
        let matrices = (0..copies).map(|_| matrix.clone()).collect();
        let raw = RawState::of_layers("time_state", matrices).unwrap();
        raw.check_size(file)
    };
    found(16, 1000).unwrap();
    assert!(matches!(found(17, 1000), Err(Error::Swollen { .. })));
    found(17, 4 << 20).unwrap();
}
