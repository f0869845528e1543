//! States among a model's tensors.

use super::*;

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
    write_into_model(&path, &state(false), &from_python("model.pth"), F00D).unwrap();
    assert_eq!(names(&path), names(&from_python("model.pth")));
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
    write_into_model(&merged, &state(false), &compiled, F00D).unwrap();
    let found = open(&merged, None).unwrap();
    assert_eq!(found.format, Format::MODEL);
    is_the_state(&found);
}
