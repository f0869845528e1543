//! Pickles made by hand: what the machine accepts beyond what PyTorch writes today, and everything
//! it refuses.

use super::*;

/// A whole program: the protocol, the code, STOP.
pub fn program(code: &[u8]) -> Vec<u8> {
    [b"\x80\x02", code, b"."].concat()
}

fn run(code: &[u8]) -> Result<Value, Error> {
    parsed(&pth(&program(code), &[], Stored))
}

fn ints(ints: impl IntoIterator<Item = i64>) -> Vec<Value> {
    ints.into_iter().map(Value::Int).collect()
}

#[test]
fn protocols_up_to_5_are_read() {
    let frame = b"\x80\x04\x95\x0a\0\0\0\0\0\0\0]\x94(\x8c\x01x\x94h\x01\x8d\x01\0\0\0\0\0\0\0ye.";
    let expected = Value::List(vec![text("x"), text("x"), text("y")]);
    assert_eq!(parsed(&pth(frame, &[], Stored)).unwrap(), expected);
    let ordered = b"\x8c\x0bcollections\x8c\x0bOrderedDict\x93)R\x8c\x01kK\x01s";
    assert_eq!(run(ordered).unwrap(), dict([("k", Value::Int(1))]));
    assert!(matches!(
        parsed(&pth(b"\x80\x06N.", &[], Stored)),
        Err(Error::Protocol(6))
    ));
}

#[test]
fn integers_of_every_width_are_read() {
    let code = b"(K\xffM\xff\xffJ\xff\xff\xff\xff\x8a\x00\x8a\x01\x80\x8a\x09\0\0\0\0\0\0\0\x80\0t";
    assert!(
        matches!(run(code), Err(Error::Integer { .. })),
        "2^63 does not fit"
    );
    let code = b"(K\xffM\xff\xffJ\xff\xff\xff\xff\x8a\x00\x8a\x01\x80\x8a\x08\0\0\0\0\0\0\0\x80t";
    assert_eq!(
        run(code).unwrap(),
        Value::Tuple(ints([255, 65535, -1, 0, -128, i64::MIN]))
    );
}

#[test]
fn a_list_filled_after_it_was_shared_is_full_everywhere() {
    let shared = run(b"(]q\x00h\x00K\x01at").unwrap();
    assert_eq!(
        shared,
        Value::Tuple(vec![Value::List(ints([1])), Value::List(ints([1]))])
    );
}

#[test]
fn nothing_outside_the_list_is_called() {
    for (code, expected) in [
        (&b"cos\nsystem\nX\x02\0\0\0ls\x85R"[..], "os.system"),
        (b"c__builtin__\neval\n)R", "__builtin__.eval"),
        (b"ctorch\nload\n)R", "torch.load"),
        (
            b"ctorch._utils\nFloatStorage\n",
            "torch._utils.FloatStorage",
        ),
        (b"\x8c\x05posix\x8c\x06system\x93", "posix.system"),
        (b"c\x1b[2J\n\n", "\\u{1b}[2J."),
    ] {
        let Err(Error::Global { name }) = run(code) else {
            panic!("{expected} was accepted")
        };
        assert_eq!(name, expected);
    }
    let long = [b"c", &[b'x'; 1000][..], b"\ny\n"].concat();
    assert!(matches!(run(&long), Err(Error::Global { name }) if name.len() == 83));
}

#[test]
fn functions_take_only_the_arguments_they_should() {
    for code in [
        &b"ccollections\nOrderedDict\n]\x85R"[..],
        b"ccollections\nOrderedDict\n]R",
        b"ctorch._utils\n_rebuild_tensor_v2\n)R",
        b"ctorch._utils\n_rebuild_tensor_v2\n(K\0K\0))NNtR",
        b"ctorch._utils\n_rebuild_parameter\n(NNNtR",
        b"ctorch\nFloatStorage\n)R",
    ] {
        assert!(
            matches!(run(code), Err(Error::Call { .. })),
            "{}",
            code.escape_ascii()
        );
    }
    assert!(matches!(
        run(b"ctorch\nFloatStorage\n"),
        Err(Error::NotAValue { .. })
    ));
    let storage = b"(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpuK\0tQ";
    assert!(matches!(run(storage), Err(Error::NotAValue { .. })));
}

#[test]
fn instructions_find_what_they_need_or_fail() {
    for code in [
        &b""[..],
        b"a",
        b"t",
        b"e",
        b"u",
        b"Na",
        b"NNa",
        b"]NNs",
        b"}(Nu",
        b"}N(b",
        b"N\x86",
        b"N(\x85",
        b"N(a",
        b"(q\0",
        b"Q",
        b"NQ",
        b")Q",
        b"(NNNNNtQ",
        b"N)R",
        b"Nb",
        b"]Nb",
        b"NN\x93",
        b"(",
    ] {
        assert!(
            matches!(run(code), Err(Error::Stack { .. })),
            "{}",
            code.escape_ascii()
        );
    }
    assert!(matches!(run(b"h\x05"), Err(Error::Memo { index: 5, .. })));
    assert!(matches!(
        run(b"j\x05\0\0\0"),
        Err(Error::Memo { index: 5, .. })
    ));
    assert!(matches!(run(b"X\x01\0\0\0\xff"), Err(Error::Text { .. })));
    assert!(matches!(
        run(b"ios\nsystem\n"),
        Err(Error::Opcode {
            opcode: b'i',
            at: 2
        })
    ));
}

#[test]
fn lengths_beyond_the_pickle_are_cut_short() {
    for code in [
        &b"X\xff\xff\xff\xff"[..],
        b"\x8d\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\x8c\xff",
        b"\x8a\xff",
        b"J",
        b"G\0",
        b"cos",
        b"\x95\0",
        b"q",
        b"\x80",
    ] {
        let result = parsed(&pth(&[b"\x80\x02N", code].concat(), &[], Stored));
        assert!(
            matches!(result, Err(Error::PickleCut { .. })),
            "{}",
            code.escape_ascii()
        );
    }
}

#[test]
fn a_key_may_not_stand_twice() {
    let result = run(b"}X\x01\0\0\0kNsX\x01\0\0\0kNs");
    assert!(matches!(result, Err(Error::DuplicateKey { key }) if key == "k"));
}

#[test]
fn nesting_is_limited_even_where_it_is_endless() {
    let nested = |levels: usize| run(&[vec![b']'; levels], vec![b'a'; levels - 1]].concat());
    assert!(nested(MOST_DEEP).is_ok());
    assert!(matches!(nested(MOST_DEEP + 1), Err(Error::TooDeep { .. })));
    assert!(matches!(nested(100_000), Err(Error::TooDeep { .. })));
    assert!(
        matches!(run(b"]q\0h\0a"), Err(Error::TooDeep { .. })),
        "a list that holds itself"
    );
}

#[test]
fn doubling_is_counted() {
    // Each round makes a pair of the last pair: 2^40 values from 160 bytes.
    let doubling = [b"N".to_vec(), b"q\0h\0\x86".repeat(40)].concat();
    assert!(matches!(run(&doubling), Err(Error::TooManyValues { .. })));
    let many = b"N".repeat(2_000_000);
    assert!(matches!(run(&many), Err(Error::TooManyValues { .. })));
    // One long text, a hundred thousand times.
    let long = [
        &b"X\0\0\x10\0"[..],
        &b"x".repeat(1 << 20),
        b"q\0](",
        &b"h\0".repeat(100_000),
        b"e",
    ]
    .concat();
    assert!(matches!(run(&long), Err(Error::TooManyValues { .. })));
}
