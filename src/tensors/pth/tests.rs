//! `.pth` files read and written: round trips, a file that PyTorch wrote, and damage at every byte.

mod archive;
mod pickle;
mod tensor;

use half::{bf16, f16};
use proptest::prelude::*;
use safetensors::Dtype;
use zip::CompressionMethod::{self, Deflated, Stored};
use zip::write::SimpleFileOptions;

use super::value::{MOST_DEEP, STORAGES};
use super::*;

/// Reads a file from memory.
fn parsed(file: &[u8]) -> Result<Value, Error> {
    parse(&Bytes::from(file.to_vec()))
}

/// A zip archive of entries.
fn zip(entries: &[(&str, &[u8])], method: CompressionMethod) -> Vec<u8> {
    use std::io::Write;
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, bytes) in entries {
        zip.start_file(
            name,
            SimpleFileOptions::default().compression_method(method),
        )
        .unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

/// A file of a pickle and of storage "0".
fn pth(pickle: &[u8], storage: &[u8], method: CompressionMethod) -> Vec<u8> {
    zip(&[("a/data.pkl", pickle), ("a/data/0", storage)], method)
}

fn tensor(dtype: Dtype, shape: &[usize], data: impl AsRef<[u8]>) -> crate::tensors::Stored {
    crate::tensors::Stored {
        dtype,
        shape: shape.to_vec(),
        bytes: Bytes::from(data.as_ref().to_vec()),
    }
}

fn floats(shape: &[usize], numbers: &[f32]) -> Value {
    let bytes: Vec<u8> = numbers
        .iter()
        .flat_map(|number| number.to_le_bytes())
        .collect();
    Value::Tensor(tensor(Dtype::F32, shape, bytes))
}

fn text(text: &str) -> Value {
    Value::Str(text.to_owned())
}

fn dict<const N: usize>(pairs: [(&str, Value); N]) -> Value {
    Value::Dict(
        pairs
            .into_iter()
            .map(|(key, value)| (text(key), value))
            .collect(),
    )
}

/// The bytes of the file that [`write`] makes.
fn written(value: &Value) -> Vec<u8> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state.pth");
    write(&path, value).unwrap();
    assert_eq!(read(&path).unwrap(), *value);
    std::fs::read(&path).unwrap()
}

/// One of every kind, the state's own layout among them.
fn sample() -> Value {
    let halves = |numbers: &[f32]| -> Vec<u8> {
        numbers
            .iter()
            .flat_map(|&number| bf16::from_f32(number).to_le_bytes())
            .collect()
    };
    let soft = Value::Tensor(tensor(Dtype::BF16, &[1, 1, 3], halves(&[1.0, -2.5, 0.0])));
    let shifts = Value::Tensor(tensor(Dtype::BF16, &[2, 1, 1, 1], halves(&[4.0, 5.0])));
    let state = Value::List(vec![
        soft,
        Value::Tuple(vec![shifts, floats(&[1, 1, 2, 2], &[1.0, 2.0, 3.0, 4.0])]),
    ]);
    let half = tensor(Dtype::F16, &[], f16::from_f32(0.5).to_le_bytes());
    let integers = [0, 255, 256, 65536, -1, i32::MIN.into(), i64::MAX, i64::MIN].map(Value::Int);
    dict([
        ("state", state),
        ("empty", Value::Tensor(tensor(Dtype::F32, &[1, 0, 4], []))),
        ("number", Value::Tensor(half)),
        ("flags", Value::Tensor(tensor(Dtype::BOOL, &[2], [1, 0]))),
        ("integers", Value::Tuple(integers.to_vec())),
        (
            "floats",
            Value::List(vec![Value::Float(-0.1), Value::Float(f64::INFINITY)]),
        ),
        (
            "",
            Value::List(vec![
                Value::Bool(true),
                Value::Bool(false),
                Value::None,
                text("ä\n\0"),
            ]),
        ),
        (
            "nothing",
            Value::Tuple(vec![
                Value::List(vec![]),
                Value::Tuple(vec![]),
                Value::Dict(vec![]),
            ]),
        ),
    ])
}

#[test]
fn every_kind_of_value_comes_back() {
    written(&sample());
}

#[test]
fn tensors_are_written_aligned() {
    let file = written(&sample());
    let mut zip = zip::ZipArchive::new(std::io::Cursor::new(&file)).unwrap();
    for index in 0..zip.len() {
        let entry = zip.by_index_raw(index).unwrap();
        assert_eq!(entry.compression(), Stored);
        assert_eq!(entry.data_start().unwrap() % 64, 0, "{:?}", entry.name());
    }
}

#[test]
fn stored_tensors_point_into_the_file() {
    let file = Bytes::from(written(&floats(&[2], &[1.0, 2.0])));
    let Value::Tensor(tensor) = parse(&file).unwrap() else {
        panic!("a tensor was written")
    };
    assert!(file.as_ptr_range().contains(&tensor.bytes.as_ptr()));
}

#[test]
fn the_same_value_makes_the_same_file() {
    assert_eq!(written(&sample()), written(&sample()));
}

#[test]
fn a_file_by_pytorch_reads_as_its_script_says() {
    let base = || floats(&[2, 3], &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
    let ones = [bf16::ONE, bf16::from_f32(2.0)]
        .map(|number| number.to_le_bytes())
        .concat();
    let one_to = |last: i64| Value::Tuple((1..=last).map(Value::Int).collect());
    let integers = [-1, 300, 70000, 1 << 40].map(Value::Int);
    let mut rest = vec![Value::None, Value::Bool(true)];
    rest.extend(integers);
    rest.extend([
        Value::Float(0.25),
        text("é"),
        one_to(0),
        one_to(1),
        one_to(4),
    ]);
    let expected = dict([
        (
            "module",
            dict([
                ("weight", floats(&[1, 2], &[0.5, -2.0])),
                ("bias", floats(&[1], &[3.0])),
            ]),
        ),
        ("ordered", dict([("a", Value::Int(1))])),
        ("base", base()),
        ("tied", base()),
        (
            "transposed",
            floats(&[3, 2], &[0.0, 3.0, 1.0, 4.0, 2.0, 5.0]),
        ),
        ("row", floats(&[3], &[3.0, 4.0, 5.0])),
        ("column", floats(&[2], &[2.0, 5.0])),
        ("expanded", floats(&[2, 3], &[0.0, 1.0, 2.0, 0.0, 1.0, 2.0])),
        ("parameter", Value::Tensor(tensor(Dtype::BF16, &[2], ones))),
        (
            "scalar",
            Value::Tensor(tensor(Dtype::I64, &[], 7i64.to_le_bytes())),
        ),
        ("empty", Value::Tensor(tensor(Dtype::F16, &[1, 0, 4], []))),
        ("rest", Value::List(rest)),
    ]);
    assert_eq!(
        parsed(include_bytes!("testdata/torch.pth")).unwrap(),
        expected
    );
}

#[test]
fn what_a_file_cannot_hold_is_not_written() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state.pth");
    let keys = Value::Dict(vec![(Value::Int(1), Value::None)]);
    assert!(matches!(write(&path, &keys), Err(Error::WriteKey { .. })));
    let short = Value::Tensor(tensor(Dtype::F32, &[2], [0; 7]));
    assert!(matches!(
        write(&path, &short),
        Err(Error::WriteTensor { size: 7, .. })
    ));
    let giant = Value::Tensor(tensor(Dtype::F32, &[0, usize::MAX, 2], []));
    assert!(matches!(
        write(&path, &giant),
        Err(Error::WriteTensor { .. })
    ));
    let unsigned = Value::Tensor(tensor(Dtype::U16, &[1], [0; 2]));
    assert!(matches!(
        write(&path, &unsigned),
        Err(Error::WriteDtype { dtype: Dtype::U16 })
    ));
    let deep = |levels: usize| (0..levels).fold(Value::None, |value, _| Value::List(vec![value]));
    assert!(matches!(
        write(&path, &deep(MOST_DEEP)),
        Err(Error::TooDeep { .. })
    ));
    assert!(!path.exists());
    write(&path, &deep(MOST_DEEP - 1)).unwrap();
    assert_eq!(
        read(&path).unwrap(),
        deep(MOST_DEEP - 1),
        "what is written can be read"
    );
}

#[test]
fn a_file_cut_at_any_byte_is_an_error() {
    let value = Value::List(vec![floats(&[2], &[1.0, 2.0]), text("x")]);
    for file in [
        written(&value),
        include_bytes!("testdata/torch.pth").to_vec(),
    ] {
        for length in 0..file.len() {
            assert!(parsed(&file[..length]).is_err(), "cut to {length} bytes");
        }
    }
}

#[test]
fn a_flipped_byte_never_panics() {
    let bytes: Vec<u8> = (0..64).collect();
    let pickle = tensor::rebuild("FloatStorage", 16, 0, &[4, 4], &[1, 4]);
    for file in [
        pth(&pickle, &bytes, Deflated),
        pth(&pickle, &bytes, Stored),
        written(&sample()),
    ] {
        assert!(parsed(&file).is_ok());
        for at in 0..file.len() {
            for flip in [1, 0x80, 0xff] {
                let mut file = file.clone();
                file[at] ^= flip;
                let _ = parsed(&file);
            }
        }
    }
}

#[test]
fn no_byte_anywhere_in_a_pickle_panics() {
    let pickle = pickle::program(&tensor::rebuild("FloatStorage", 16, 0, &[4, 4], &[1, 4]));
    for at in 0..pickle.len() {
        for byte in 0..=255 {
            let mut pickle = pickle.clone();
            pickle[at] = byte;
            let _ = parsed(&pth(&pickle, &[0; 64], Stored));
        }
    }
}

fn any_tensor() -> impl Strategy<Value = Value> {
    let shape = prop::collection::vec(0usize..4, 0..5);
    (prop::sample::select(STORAGES.to_vec()), shape, any::<u8>()).prop_map(
        |((_, dtype), shape, seed)| {
            let size = shape.iter().product::<usize>() * dtype.bitsize() / 8;
            let data: Vec<u8> = (0..size)
                .map(|i| (i as u8).wrapping_mul(31) ^ seed)
                .collect();
            Value::Tensor(tensor(dtype, &shape, data))
        },
    )
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        any_tensor(),
        any::<String>().prop_map(Value::Str),
        any::<i64>().prop_map(Value::Int),
        any::<i16>().prop_map(|int| Value::Int(int.into())),
        any::<f64>()
            .prop_filter("NaN equals nothing", |float| !float.is_nan())
            .prop_map(Value::Float),
        any::<bool>().prop_map(Value::Bool),
        Just(Value::None),
    ];
    leaf.prop_recursive(6, 32, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::List),
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::Tuple),
            prop::collection::btree_map(any::<String>(), inner, 0..6).prop_map(|map| Value::Dict(
                map.into_iter()
                    .map(|(key, value)| (Value::Str(key), value))
                    .collect()
            )),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_value_comes_back(value in any_value()) {
        written(&value);
    }

    #[test]
    fn no_pickle_of_random_bytes_panics(pickle in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = parsed(&pth(&pickle, &[0; 64], Stored));
    }
}
