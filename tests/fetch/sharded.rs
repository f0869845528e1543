//! Models that are spread over several files: the address of the list brings the parts, too.

use std::collections::BTreeMap;
use std::fs;

use serde_json::json;
use state_tune::tensors::pth::{self, Value};
use state_tune::tensors::{self, Content};

use crate::common::{Dir, golden, losses};
use crate::hub::{COMMIT, Shelf, command, run};
use crate::server::{Answer, Server};

const LIST: &str = "model.safetensors.index.json";
const PARTS: [&str; 2] = [
    "model-00001-of-00002.safetensors",
    "model-00002-of-00002.safetensors",
];

/// What the program is to make of it: `tests/models` has the same loss of the model in one file.
const LOSS: f64 = 5.764182957;
const DATA: &str = "{\"input\": \"k~J3$E$q^\", \"output\": \"jX$~^$5KjK@4\"}\n\
                    {\"input\": \"A$4|8J3GJ\", \"output\": \"%Zq7z6&4|2~6\"}\n";

/// The golden model's two parts and their list.
fn files() -> BTreeMap<&'static str, Vec<u8>> {
    let Value::Dict(pairs) = pth::read(&golden("model_5.2.pth")).unwrap() else {
        panic!("a model is a dictionary")
    };
    let (mut parts, mut map) = ([BTreeMap::new(), BTreeMap::new()], BTreeMap::new());
    for (number, pair) in pairs.into_iter().enumerate() {
        let (Value::Str(name), Value::Tensor(tensor)) = pair else {
            panic!("{pair:?} in a model")
        };
        map.insert(name.clone(), PARTS[number % 2]);
        parts[number % 2].insert(name, tensor);
    }
    let dir = Dir::new();
    let list = json!({"metadata": {"total_size": 1}, "weight_map": map});
    let mut files = BTreeMap::from([(LIST, list.to_string().into_bytes())]);
    for (name, tensors) in PARTS.into_iter().zip(parts) {
        let path = dir.path(name);
        tensors::write(&path, &Content::Safetensors(tensors), ("format", "pt")).unwrap();
        files.insert(name, fs::read(path).unwrap());
    }
    files
}

fn shelf() -> Shelf {
    let place = |name| format!("me/mine/{name}");
    let files = files().into_iter();
    files.fold(Shelf::default(), |shelf, (name, file)| {
        shelf.file(&place(name), file)
    })
}

/// One step from the hub's list to the model in `m`.
fn flags<'a>(dir: &Dir, model: &'a str) -> Vec<&'a str> {
    dir.write("data.jsonl", DATA);
    if !fs::exists(dir.path("m")).unwrap() {
        fs::create_dir(dir.path("m")).unwrap();
    }
    vec![
        "--data_path=data.jsonl",
        "--prompt_formatter={input}",
        "--response_formatter={output}",
        "--dtype=f32",
        "--tune=wkv",
        "--init=zeros",
        "--max_epochs=1",
        "--log_file=log",
        "--model_location",
        model,
        "--model_url=hf://me/mine/model.safetensors.index.json",
    ]
}

#[test]
fn the_address_of_a_list_brings_all_parts() {
    let server = shelf().serve();
    let dir = Dir::new();
    let path = format!("m/{LIST}");
    let flags = flags(&dir, &path);
    let dry = [flags.as_slice(), &["--dry_run"]].concat();
    let (code, said) = run(&mut command(&dir, &server, &dry));
    assert!(
        code == Some(0) && said.contains("it will come from"),
        "{said}"
    );

    let (code, said) = run(&mut command(&dir, &server, &flags));
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("fetch  part 2 of 2"), "{said}");
    assert!((losses(&dir.path("log"))[0] - LOSS).abs() < 1e-6);
    for (name, file) in files() {
        assert!(
            fs::read(dir.path("m").join(name)).unwrap() == file,
            "{name}"
        );
    }

    // What is there is not asked for, and what was not brought is.
    let asked = server.asked().len();
    fs::remove_file(dir.path("m").join(PARTS[0])).unwrap();
    fs::remove_file(dir.path("state.pth")).unwrap();
    let (code, said) = run(&mut command(&dir, &server, &dry));
    assert!(
        code == Some(0) && said.contains("it will come from"),
        "{said}"
    );
    let (code, said) = run(&mut command(&dir, &server, &flags));
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("fetch  part 1 of 1"), "{said}");
    let asked = &server.asked()[asked..];
    assert!(asked.iter().all(|asked| asked.path.contains(PARTS[0])));
}

#[test]
fn the_address_of_a_repository_finds_the_list() {
    let server = shelf().file("me/mine/README.md", "a model").serve();
    let dir = Dir::new();
    let flags = flags(&dir, "m/model.pth");
    let repository = [&flags[..flags.len() - 1], &["--model_url=hf://me/mine"]].concat();
    let (code, said) = run(&mut command(&dir, &server, &repository));
    assert_eq!(code, Some(0), "{said}");
    let told = format!("fetch  hf://me/mine has its model in {LIST}\n");
    assert!(
        said.contains(&told) && said.contains("fetch  part 2 of 2"),
        "{said}"
    );
    assert!((losses(&dir.path("log"))[0] - LOSS).abs() < 1e-6);

    // What is there is not asked for; a part that lacks is.
    let asked = server.asked().len();
    fs::remove_file(dir.path("state.pth")).unwrap();
    assert_eq!(run(&mut command(&dir, &server, &repository)).0, Some(0));
    assert_eq!(server.asked().len(), asked);
    fs::remove_file(dir.path("m").join(PARTS[0])).unwrap();
    fs::remove_file(dir.path("state.pth")).unwrap();
    let (code, said) = run(&mut command(&dir, &server, &repository));
    assert!(
        code == Some(0) && said.contains("fetch  part 1 of 1"),
        "{said}"
    );
}

#[test]
fn a_repository_whose_model_is_not_clear_is_refused() {
    let dir = Dir::new();
    let flags = flags(&dir, "m/model.pth");
    let ask = |shelf: Shelf, url: &str| {
        let server = shelf.serve();
        let flags = [&flags[..flags.len() - 1], &[url]].concat();
        run(&mut command(&dir, &server, &flags))
    };
    let several = Shelf::default()
        .file("me/mine/a.pth", "a")
        .file("me/mine/b.pth", "b");
    for (shelf, word) in [
        (
            several,
            "has several models, \"a.pth\", \"b.pth\"; name one",
        ),
        (
            Shelf::default().file("me/mine/a.txt", "a"),
            "no file of a model",
        ),
    ] {
        let (code, said) = ask(shelf, "--model_url=hf://me/mine");
        assert!(code == Some(1) && said.contains(word), "{said}");
        assert!(
            said.contains("--model_url") && said.contains("hf://me/mine"),
            "{said}"
        );
    }
    // One file is the model, whatever it is called.
    let whole = fs::read(golden("model_5.2.pth")).unwrap();
    let (code, said) = ask(
        Shelf::default().file("me/mine/v2.pth", whole),
        "--model_url=hf://me/mine",
    );
    assert!(
        code == Some(0) && said.contains("has its model in v2.pth"),
        "{said}"
    );
    // Of data it cannot be told.
    let (code, said) = ask(Shelf::default(), "--data_url=hf://me/mine");
    assert!(
        code == Some(2) && said.contains("--data_url: names no file"),
        "{said}"
    );
}

#[test]
fn without_an_address_a_part_that_lacks_is_named() {
    let dir = Dir::new();
    let path = format!("m/{LIST}");
    let mut flags = flags(&dir, &path);
    flags.pop();
    for (name, file) in files() {
        dir.write(&format!("m/{name}"), file);
    }
    fs::remove_file(dir.path("m").join(PARTS[1])).unwrap();
    dir.refuses(&flags, 1, &["its part", PARTS[1]]);
}

#[test]
#[cfg(unix)]
fn offline_all_parts_come_from_the_cache() {
    let server = shelf().serve();
    let dir = Dir::new();
    let flags = flags(&dir, "m/model");
    let cache = dir.path(".hub/hub/models--me--mine");
    let snapshot = cache.join("snapshots").join(COMMIT);
    for folder in [&cache.join("refs"), &cache.join("blobs"), &snapshot] {
        fs::create_dir_all(folder).unwrap();
    }
    fs::write(cache.join("refs/main"), COMMIT).unwrap();
    for (name, file) in files() {
        fs::write(cache.join("blobs").join(name), file).unwrap();
        let blob = format!("../../blobs/{name}");
        std::os::unix::fs::symlink(blob, snapshot.join(name)).unwrap();
    }
    let offline = || run(command(&dir, &server, &flags).env("HF_HUB_OFFLINE", "1"));
    let (code, said) = offline();
    assert_eq!(code, Some(0), "{said}");
    assert!((losses(&dir.path("log"))[0] - LOSS).abs() < 1e-6);
    assert!(server.asked().is_empty(), "offline, nobody is asked");

    // One that the cache lacks cannot be had.
    fs::remove_file(snapshot.join(PARTS[1])).unwrap();
    fs::remove_file(dir.path("m").join(PARTS[1])).unwrap();
    let (code, said) = offline();
    let is_named = said.contains(PARTS[1]) && said.contains("HF_HUB_OFFLINE is set");
    assert!(code == Some(1) && is_named, "{said}");
}

#[test]
fn parts_come_from_beside_a_list_on_the_web_and_on_disk() {
    let files = files();
    let served = files.clone();
    let server = Server::start(move |asked| {
        let name = asked.path.strip_prefix("/models/").unwrap();
        let (name, query) = name.split_once('?').unwrap();
        assert_eq!(query, "key=1");
        Answer::file(asked, &served[name], "\"1\"")
    });
    let there = Dir::new();
    for (name, file) in &files {
        there.write(name, file);
    }
    for url in [
        format!("--model_url={}/models/{LIST}?key=1", server.url),
        format!("--model_url=file://{}", there.path(LIST).display()),
    ] {
        let dir = Dir::new();
        let mut flags = flags(&dir, "m/model");
        flags.pop();
        flags.push(&url);
        let said = dir.succeeds(&flags);
        assert!(said.contains("fetch  part 2 of 2"), "{said}");
        assert!((losses(&dir.path("log"))[0] - LOSS).abs() < 1e-6);
    }
}

#[test]
fn a_list_that_leads_elsewhere_fetches_nothing() {
    let many: BTreeMap<String, String> = (0..1001)
        .map(|number| (format!("t{number}"), format!("part-{number}")))
        .collect();
    for (map, wanted) in [
        (json!({"a": "../b"}), "does not lie beside it"),
        (json!({"a": "/etc/passwd"}), "does not lie beside it"),
        (json!({"a": "b/c"}), "does not lie beside it"),
        (json!({"a": ".."}), "does not lie beside it"),
        (json!({"a": "b\nc"}), "no name that is fetched"),
        (json!(many), "names 1001 parts"),
    ] {
        let list = json!({"weight_map": map}).to_string();
        let server = Shelf::default()
            .file(&format!("me/mine/{LIST}"), list)
            .serve();
        let dir = Dir::new();
        let path = format!("m/{LIST}");
        let (code, said) = run(&mut command(&dir, &server, &flags(&dir, &path)));
        assert!(code == Some(1) && said.contains(wanted), "{said}");
        let asked = server.asked();
        assert!(
            asked.iter().all(|asked| asked.path.contains(LIST)),
            "{said}"
        );
    }
}
