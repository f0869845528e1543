//! Every format against files that PyTorch and safetensors wrote (`tests/oracle/make_states.py`),
//! and against itself.

use super::*;
use crate::data::format::TextRows;

#[test]
fn what_python_wrote_is_recognised_and_read() {
    for (name, format) in PYTHON {
        let found = open(&from_python(name), None).unwrap();
        assert_eq!((found.format, found.tag.clone()), (format, None), "{name}");
        is_the_state(&found);
        found.check_shapes(&CONFIG).unwrap();
    }
}

#[test]
fn what_is_written_reads_back_with_its_tag() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state");
    for (_, format) in PYTHON {
        if format == Format::MODEL {
            write_into_model(&path, &state(true), &from_python("model.pth"), F00D).unwrap();
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
        assert!(error.contains("f00d") && error.contains("force"), "{error}");
    }
}

#[test]
fn the_texts_that_a_state_was_tuned_with_are_part_of_its_tag() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state");
    let tuned = Texts {
        prompt_formatter: "User: {input}\n\nAssistant:".to_string(),
        response_formatter: " {output}".to_string(),
        system_formatter: String::new(),
        response_end: "<|rwkv_tokenizer_end_of_text|>\u{1b}\"".to_string(),
        text_rows: TextRows::Some,
    };
    let origin = Origin {
        texts: Some(&tuned),
        ..F00D
    };
    for (_, format) in PYTHON {
        if format == Format::MODEL {
            write_into_model(&path, &state(true), &from_python("model.pth"), origin).unwrap();
        } else {
            write_with_origin(&path, &state(true), Element::Bf16, format, origin).unwrap();
        }
        assert_eq!(open(&path, None).unwrap().texts(), Some(&tuned), "{format}");
        let tag = tag_of(&path).unwrap().unwrap();
        assert_eq!(tag.texts.as_ref(), Some(&tuned), "{format}");
    }
    // As a version without them wrote it, and as a later one may.
    let old = r#"{"program":"state-tune 0.1.0","format":"state","model":"f00d"}"#;
    let without = Tag::new(Format::STATE, F00D);
    assert_eq!(without.text(), old);
    assert_eq!(Tag::parse(old.as_bytes()).unwrap(), without);
    for (later, word) in [
        (
            old.replace("}", ",\"texts\":{\"voice\":\"loud\"}}"),
            "voice",
        ),
        // Not one of RWKV-5, whose fingerprints have no prefix.
        (old.replace("f00d", "rwkv9-f00d"), "the model rwkv9-f00d"),
        (old.replace("f00d", ""), "the model"),
    ] {
        let error = Tag::parse(later.as_bytes()).unwrap_err().to_string();
        assert!(
            error.contains(word) && error.contains("later version"),
            "{error}"
        );
    }
    for (program, is_later) in [
        ("state-tune 99.0.0", true),
        ("state-tune 0.99.0-beta", true),
        ("state-tune 0.1.99", false),
        ("state-tune 0.0.9", false),
        ("another program 99.0.0", false),
        ("state-tune", false),
    ] {
        let text = old.replace("state-tune 0.1.0", program);
        let text = text.replace("}", if is_later { ",\"more\":1}" } else { "}" });
        match Tag::parse(text.as_bytes()) {
            Err(Error::LaterVersion { program: named, .. }) => {
                assert!(is_later && named == program, "{program}");
            }
            tag => assert!(!is_later && tag.is_ok(), "{program}"),
        }
    }
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
        write(&path, &state, element, Format::STATE, None).unwrap();
        let found = open(&path, None).unwrap();
        assert_eq!(found.element, element);
        found.check_shapes(&CONFIG).unwrap();
        let again = found.state;
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
    write(&path, &state(false), Element::Bf16, Format::STATE, None).unwrap();
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
fn safetensors_of_another_type_could_stand_either_way() {
    let path = from_python("unclear.safetensors");
    let error = open(&path, None).unwrap_err().to_string();
    assert!(error.contains("from web-rwkv"), "{error}");
    let said = open(&path, Some(Format::TIME_STATE)).unwrap();
    assert_eq!(flat(&said.state.wkv), flat(&state(true).wkv));
    let other = open(&path, Some(Format::WEB_RWKV)).unwrap();
    assert_ne!(flat(&other.state.wkv), flat(&state(true).wkv));
}

#[test]
fn what_is_said_must_not_contradict_what_is_there() {
    let error = open(&from_python("original.pth"), Some(Format::TIME_STATE)).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("of the format original, not time_state"),
        "{error}"
    );
}
