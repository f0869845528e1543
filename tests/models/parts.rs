//! Models that are spread over several files, with a list of them that may be hostile.

use std::fs;

use super::*;

/// Writes a model in parts, by `write`, with their list, which it names.
fn in_parts(dir: &Dir, model: &str, ends: [&str; 2], write: fn(&Path, Tensors)) -> Vec<String> {
    let [end, list] = ends;
    let all = tensors(model);
    let each = all.len().div_ceil(3);
    let (mut map, mut names) = (serde_json::Map::new(), Vec::new());
    for (i, part) in all.chunks(each).enumerate() {
        let name = format!("{end}-{:05}-of-00003", i + 1);
        for (tensor, _) in part {
            map.insert(tensor.clone(), name.clone().into());
        }
        write(&dir.path(&name), part.to_vec());
        names.push(name);
    }
    let list_of = serde_json::json!({"metadata": {"total_size": 1}, "weight_map": map});
    dir.write(list, list_of.to_string());
    names
}

const SAFETENSORS: [&str; 2] = ["model", "model.safetensors.index.json"];
const BIN: [&str; 2] = ["pytorch_model", "pytorch_model.bin.index.json"];

#[test]
fn the_parts_of_a_model_are_put_together() {
    for model in ["model_5.2.pth", "model_7.pth"] {
        for (ends, write) in [
            (SAFETENSORS, write_safetensors as fn(&Path, Tensors)),
            (BIN, write_pth),
        ] {
            let dir = Dir::new();
            in_parts(&dir, model, ends, write);
            is_the_same(&dir.path(ends[1]), &golden(model));
            is_the_same(&dir.path(""), &golden(model));
        }
    }
    let dir = Dir::new();
    in_parts(&dir, "model_5.2.pth", SAFETENSORS, write_safetensors);
    let (loss, _) = trained(&dir, Path::new("."), &["--init=zeros"]);
    assert!((loss - LOSS).abs() < 1e-6, "{loss}");
}

type Write = fn(&Path, Tensors);

/// As the hub calls them.
const HUBS: [(&str, Write); 3] = [
    ("best-of-both-0000N-of-00003.safetensors", write_safetensors),
    ("model-0000N-of-00003.safetensors", write_safetensors),
    ("pytorch_model-0000N-of-00003.bin", write_pth),
];

#[test]
fn a_part_alone_leads_to_the_list() {
    for model in ["model_5.2.pth", "model_7.pth"] {
        for (name, write) in HUBS {
            let dir = Dir::new();
            let all = tensors(model);
            let (first, list) = (name.replace('N', "1"), name.replace("-0000N-of-00003", ""));
            let list = format!("{list}.index.json");
            for (i, part) in all.chunks(all.len().div_ceil(3)).enumerate() {
                let name = name.replace('N', &(i + 1).to_string());
                write(&dir.path(&name), part.to_vec());
                refused(
                    &dir.path(&name),
                    &[&name, "one of the parts of a model", "list", &list],
                );
            }
            refused(&dir.path(""), &[&first, "without the list", &list]);
        }
    }
    // What is no part is incomplete, as before.
    let dir = Dir::new();
    let mut all = tensors("model_5.2.pth");
    all.retain(|(name, _)| name != "emb.weight");
    write_pth(&dir.path("one-of-many.pth"), all);
    let words = [
        "lacks the tensor emb.weight",
        "the checkpoint is incomplete",
    ];
    refused(&dir.path("one-of-many.pth"), &words);
}

#[test]
fn a_directory_may_hold_a_model_in_one_file() {
    let dir = Dir::new();
    refused(
        &dir.path(""),
        &["directory", "model.safetensors.index.json", "name a file"],
    );
    write_safetensors(&dir.path("model.safetensors"), tensors("model_5.2.pth"));
    is_the_same(&dir.path(""), &golden("model_5.2.pth"));
}

#[test]
fn a_list_that_leads_astray_is_refused() {
    let dir = Dir::new();
    let names = in_parts(&dir, "model_5.2.pth", SAFETENSORS, write_safetensors);
    let list = std::fs::read_to_string(dir.path(SAFETENSORS[1])).unwrap();
    let outside = Dir::new();
    std::fs::copy(dir.path(&names[0]), outside.path("part")).unwrap();
    let absolute = outside.path("part").display().to_string();
    for (part, word) in [
        (absolute.as_str(), "does not lie beside it"),
        ("../part", "does not lie beside it"),
        ("./part", "does not lie beside it"),
        ("..", "does not lie beside it"),
        ("", "does not lie beside it"),
        ("nowhere", "nowhere"),
        (names[1].as_str(), "where its list of parts has it"),
        ("list", "its part list"),
    ] {
        dir.write("list", list.replace(&names[0], part));
        refused(&dir.path("list"), &["list", word]);
    }
    for text in [
        "{\"a\": 1}",
        "{\"weight_map\": {\"emb.weight\": 3}}",
        "{\"input\": \"a\"}\n{}",
    ] {
        dir.write("list", text);
        refused(&dir.path("list"), &["no list of a model's parts"]);
    }
    let many: serde_json::Map<_, _> = (0..2000)
        .map(|i| (format!("t{i}"), format!("f{i}").into()))
        .collect();
    dir.write("list", serde_json::json!({"weight_map": many}).to_string());
    refused(&dir.path("list"), &["2000 parts"]);
    // A tensor in two parts.
    std::fs::copy(dir.path(&names[0]), dir.path("again")).unwrap();
    dir.write(
        "list",
        list.replacen("{\"blocks", "{\"x\":\"again\",\"blocks", 1),
    );
    refused(&dir.path("list"), &["x is not in again"]);
    let twice = list.replacen(&format!("\"{}\"", names[0]), "\"again\"", 1);
    dir.write("list", twice);
    refused(&dir.path("list"), &["lies in several of its parts"]);
}

#[test]
fn a_part_of_another_family_is_refused_by_what_it_is() {
    let numbers = || tensors("model_5.2.pth").remove(0).1;
    for names in [
        // Llama's, GPT-NeoX's and GPT-2's.
        [
            "model.layers.0.self_attn.q_proj.weight",
            "model.norm.weight",
        ],
        [
            "gpt_neox.layers.0.attention.dense.weight",
            "gpt_neox.layers.0.mlp.dense_4h_to_h.weight",
        ],
        [
            "transformer.h.0.attn.c_attn.weight",
            "transformer.h.0.ln_1.weight",
        ],
    ] {
        let dir = Dir::new();
        let part = dir.path("model-00001-of-00002.safetensors");
        write_safetensors(
            &part,
            names.map(|name| (name.to_owned(), numbers())).to_vec(),
        );
        refused(&part, &["this is not an RWKV model"]);
    }
}

#[test]
fn what_lies_beside_the_tensors_of_a_part_is_named() {
    let dir = Dir::new();
    let names = in_parts(&dir, "model_5.2.pth", BIN, write_pth);
    let pair = |(name, tensor)| (Value::Str(name), Value::Tensor(tensor));
    let part = tensors("model_5.2.pth");
    let part = part.chunks(part.len().div_ceil(3)).next().unwrap().to_vec();
    let beside = (Value::Str("optimizer".to_owned()), Value::Int(3));
    let pairs = part.into_iter().map(pair).chain([beside]);
    pth::write(&dir.path(&names[0]), &Value::Dict(pairs.collect())).unwrap();
    let told: Vec<String> = open(&dir.path(BIN[1])).notes().collect();
    let wanted = "also holds optimizer (in pytorch_model-00001-of-00003), of which nothing is used";
    assert!(told.iter().any(|note| note.contains(wanted)), "{told:?}");
}

#[test]
fn no_output_takes_the_place_of_a_part() {
    let dir = Dir::new();
    let names = in_parts(&dir, "model_5.2.pth", SAFETENSORS, write_safetensors);
    let before: Vec<_> = names.iter().map(|name| fs::read(dir.path(name))).collect();
    for model in [".", SAFETENSORS[1]] {
        for file in [&names[2], SAFETENSORS[1]] {
            for flag in ["--log_file", "--report", "--tensorboard", "--save_filename"] {
                let flags = ["--model_location", model, flag, file];
                dir.refuses(&flags, 1, &[flag, file, "--model_location"]);
            }
        }
    }
    // The loss curve's place, by way of a link.
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(&names[0], dir.path("state.loss.svg")).unwrap();
        let words = [
            "state.loss.svg",
            "loss curve",
            "is a file of --model_location",
        ];
        dir.refuses(&["--model_location=."], 1, &words);
    }
    for (name, before) in names.iter().zip(before) {
        assert!(
            fs::read(dir.path(name)).unwrap() == before.unwrap(),
            "{name}"
        );
    }
}
