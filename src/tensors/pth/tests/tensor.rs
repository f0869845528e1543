//! Tensors as windows into storages: every window inside is read right, every window outside is
//! refused.

use super::*;

/// The pickle of a call to `_rebuild_tensor_v2` on storage "0", STOP included.
pub fn rebuild(kind: &str, count: i64, offset: i64, shape: &[i64], strides: &[i64]) -> Vec<u8> {
    fn tuple(code: &mut Vec<u8>, numbers: &[i64]) {
        code.push(opcode::MARK);
        for number in numbers {
            code.extend([opcode::LONG1, 8]);
            code.extend(number.to_le_bytes());
        }
        code.push(opcode::TUPLE);
    }
    let mut code =
        b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n((X\x07\0\0\0storagectorch\n".to_vec();
    code.extend(kind.as_bytes());
    code.extend(b"\nX\x01\0\0\x000X\x06\0\0\0cuda:1\x8a\x08");
    code.extend(count.to_le_bytes());
    code.extend(b"tQ\x8a\x08");
    code.extend(offset.to_le_bytes());
    tuple(&mut code, shape);
    tuple(&mut code, strides);
    code.extend(b"\x89ccollections\nOrderedDict\n)RtR.");
    code
}

/// The same of `_rebuild_tensor_v3`, as PyTorch writes types that have no storage of their own: two
/// by two elements of this type, in so many bytes.
fn rebuild_of_type(dtype: &str, bytes: i64) -> Vec<u8> {
    let code = rebuild("ByteStorage", bytes, 0, &[2, 2], &[2, 1]);
    let code = replaced(&code, b"_rebuild_tensor_v2", b"_rebuild_tensor_v3");
    let code = replaced(
        &code,
        b"ctorch\nByteStorage",
        b"ctorch.storage\nUntypedStorage",
    );
    let end = [b")Rctorch\n", dtype.as_bytes(), b"\ntR."].concat();
    replaced(&code, b")RtR.", &end)
}

fn replaced(code: &[u8], old: &[u8], new: &[u8]) -> Vec<u8> {
    let at = code.windows(old.len()).position(|window| window == old);
    let (before, after) = code.split_at(at.unwrap());
    [before, new, &after[old.len()..]].concat()
}

#[test]
fn a_storage_of_bytes_holds_the_type_that_its_tensor_names() {
    for (name, dtype, bytes) in [
        ("float8_e4m3fn", Dtype::F8_E4M3, 4),
        ("float8_e5m2", Dtype::F8_E5M2, 4),
        ("uint16", Dtype::U16, 8),
    ] {
        let storage: Vec<u8> = (0..bytes as u8).collect();
        let value = parsed(&pth(&rebuild_of_type(name, bytes), &storage, Stored)).unwrap();
        let Value::Tensor(tensor) = value else {
            panic!("{name}: a tensor")
        };
        assert_eq!((tensor.dtype, &tensor.shape[..]), (dtype, &[2, 2][..]));
        assert_eq!(&*tensor.bytes, storage);
    }
    let refused = |name, bytes: i64| {
        let file = pth(
            &rebuild_of_type(name, bytes),
            &vec![0; bytes as usize],
            Stored,
        );
        parsed(&file).unwrap_err()
    };
    assert!(matches!(refused("uint16", 9), Error::Call { .. }));
    assert!(matches!(refused("uint16", 6), Error::Outside { .. }));
    assert!(matches!(refused("ones", 4), Error::Global { .. }));
}

/// A window into a storage of the bytes 0, 1, 2, ...
fn window(count: i64, offset: i64, shape: &[i64], strides: &[i64]) -> Result<Value, Error> {
    let storage: Vec<u8> = (0..count as u8).collect();
    parsed(&pth(
        &rebuild("ByteStorage", count, offset, shape, strides),
        &storage,
        Stored,
    ))
}

#[test]
fn the_storage_must_have_the_size_it_claims() {
    for (kind, count) in [
        ("FloatStorage", 5),
        ("FloatStorage", -1),
        ("FloatStorage", i64::MAX),
        ("HalfStorage", 4),
    ] {
        let file = pth(&rebuild(kind, count, 0, &[1], &[1]), &[0; 16], Stored);
        assert!(
            matches!(parsed(&file), Err(Error::StorageSize { size: 16, .. })),
            "{kind} {count}"
        );
    }
}

#[test]
fn windows_outside_their_storage_are_refused() {
    let max = i64::MAX;
    for (offset, shape, strides) in [
        (0, &[9][..], &[1][..]),
        (1, &[8], &[1]),
        (8, &[], &[]),
        (8, &[1], &[1]),
        (-1, &[1], &[1]),
        (0, &[-1], &[1]),
        (7, &[2], &[-1]),
        (0, &[2], &[8]),
        (0, &[2, 2], &[1]),
        (0, &[2], &[1, 1]),
        (max, &[2], &[max]),
        (0, &[max, max, max], &[0, 0, 0]),
        (0, &[max, 0, max], &[1, 1, 1]),
        (0, &[2, 2], &[max, max]),
    ] {
        let result = window(8, offset, shape, strides);
        assert!(
            matches!(result, Err(Error::Outside { count: 8, .. })),
            "{offset} {shape:?} {strides:?}"
        );
    }
}

#[test]
fn one_number_expanded_to_gigabytes_is_refused() {
    for shape in [&[1 << 40][..], &[1 << 14, 1 << 14]] {
        let result = window(8, 0, shape, &[0, 0][..shape.len()]);
        assert!(
            matches!(result, Err(Error::Spread { bytes, .. }) if bytes >= 1 << 28),
            "{shape:?}"
        );
    }
}

#[test]
fn many_expansions_share_one_budget() {
    let one = rebuild("ByteStorage", 8, 0, &[1 << 20], &[0]);
    let one = &one[2..one.len() - 1];
    let list = [b"\x80\x02](", &one.repeat(65)[..], b"e."].concat();
    assert!(matches!(
        parsed(&pth(&list, &[0; 8], Stored)),
        Err(Error::Spread { .. })
    ));
}

#[test]
fn dimensions_are_limited_as_in_pytorch() {
    assert!(window(8, 0, &[1; 64], &[1; 64]).is_ok());
    assert!(matches!(
        window(8, 0, &[1; 65], &[1; 65]),
        Err(Error::Rank { rank: 65, .. })
    ));
    assert!(matches!(
        window(8, 0, &[1], &[1; 65]),
        Err(Error::Rank { rank: 65, .. })
    ));
}

#[test]
fn an_axis_of_length_1_may_have_any_stride() {
    let file = Bytes::from(pth(
        &rebuild("ByteStorage", 8, 2, &[2, 1, 3], &[3, 99, 1]),
        b"01234567",
        Stored,
    ));
    let Value::Tensor(tensor) = parse(&file).unwrap() else {
        panic!("a tensor was written")
    };
    assert_eq!(*tensor.bytes, *b"234567");
    assert!(
        file.as_ptr_range().contains(&tensor.bytes.as_ptr()),
        "it is contiguous, so it is not copied"
    );
}

proptest! {
    #[test]
    fn windows_are_read_element_by_element(
        axes in prop::collection::vec((0i64..4, 0i64..6), 0..4),
        offset in 0i64..10,
        item in 0usize..3,
    ) {
        let (kind, dtype) = [
            ("ByteStorage", Dtype::U8),
            ("HalfStorage", Dtype::F16),
            ("LongStorage", Dtype::I64),
        ][item];
        let (shape, strides): (Vec<i64>, Vec<i64>) = axes.iter().copied().unzip();
        let size = dtype.bitsize() / 8;
        let storage: Vec<u8> = (0..24 * size).map(|i| i as u8).collect();
        let mut places = vec![offset];
        for (length, stride) in axes {
            let along = |place| (0..length).map(move |i| place + i * stride);
            places = places.into_iter().flat_map(along).collect();
        }
        let result = parsed(&pth(&rebuild(kind, 24, offset, &shape, &strides), &storage, Deflated));
        if places.iter().all(|&place| place < 24) {
            let places = places.iter().map(|&place| place as usize * size);
            let element = |place| storage[place..place + size].to_vec();
            let expected: Vec<u8> = places.flat_map(element).collect();
            let shape: Vec<usize> = shape.iter().map(|&length| length as usize).collect();
            prop_assert_eq!(result.unwrap(), Value::Tensor(super::tensor(dtype, &shape, expected)));
        } else {
            let outside = matches!(result, Err(Error::Outside { .. }));
            prop_assert!(outside);
        }
    }
}
