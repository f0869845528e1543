//! What a model's file holds beside what is computed with.

use super::*;
use state_tune::tensors::Dtype;

/// The 5.2 model with something more.
fn with(more: &[&str]) -> Tensors {
    let mut tensors = tensors("model_5.2.pth");
    let (_, some) = tensors[1].clone();
    tensors.extend(more.iter().map(|name| (name.to_string(), some.clone())));
    tensors
}

#[test]
fn what_would_compute_otherwise_is_refused_by_name() {
    let dir = Dir::new();
    let path = dir.path("m.pth");
    for (name, words) in [
        ("blocks.0.att.key.lora_A", "a LoRA that is not merged"),
        (
            "blocks.1.ffn.key.lora_B.default.weight",
            "a LoRA that is not merged",
        ),
        ("blocks.0.att.key.lora.0", "a LoRA that is not merged"),
        (
            "blocks.0.att.key.bone",
            "no RWKV-5 model that state-tune knows",
        ),
        (
            "blocks.1.tiny_q.weight",
            "no RWKV-5 model that state-tune knows",
        ),
        ("head_q.weight", "no RWKV-5 model that state-tune knows"),
        ("head.bias", "no RWKV-5 model that state-tune knows"),
        ("emb.bias", "no RWKV-5 model that state-tune knows"),
        ("ln_out.scale", "no RWKV-5 model that state-tune knows"),
    ] {
        write_pth(&path, with(&[name]));
        refused(&path, &["m.pth", name, words]);
    }
    // By the hub's names they are the same parts.
    for name in ["lm_head.bias", "embeddings.bias", "norm.scale"] {
        write_pth(&path, with(&[name]));
        refused(&path, &[name, "no RWKV-5 model that state-tune knows"]);
    }
    // PEFT's own names; and a LoRA without its model.
    let tensors = tensors("model_5.2.pth").into_iter();
    let mut peft: Tensors = tensors
        .map(|(name, tensor)| {
            let name = name.replace("key.weight", "key.base_layer.weight");
            (format!("base_model.model.{name}"), tensor)
        })
        .collect();
    let lora = (
        "base_model.model.blocks.0.att.key.lora_A.default.weight".to_string(),
        peft[1].1.clone(),
    );
    peft.push(lora.clone());
    write_pth(&path, peft);
    refused(&path, &["a LoRA that is not merged"]);
    write_pth(&path, vec![lora]);
    refused(&path, &["it is a LoRA and no model"]);
    let mut seven = super::tensors("model_7.pth");
    let (_, some) = seven[1].clone();
    seven.push(("blocks.2.att.x_z".into(), some));
    write_pth(&path, seven);
    refused(
        &path,
        &["blocks.2.att.x_z", "no RWKV-7 model that state-tune knows"],
    );
}

#[test]
fn what_is_not_used_is_told_in_one_line() {
    let dir = Dir::new();
    write_pth(&dir.path("m.pth"), with(&["optimizer.step"]));
    let (loss, said) = trained(&dir, &dir.path("m.pth"), &["--init=zeros"]);
    assert!((loss - LOSS).abs() < 1e-6, "{loss}");
    assert!(
        said.contains(
            "note   the model's file also holds optimizer.step, of which nothing is used\n"
        ),
        "{said}"
    );
    write_pth(
        &dir.path("m.pth"),
        with(&["ema.emb.weight", "ema.a", "ema.b", "ema.c"]),
    );
    let notes = open(&dir.path("m.pth"))
        .notes()
        .collect::<Vec<_>>()
        .join("\n");
    assert!(
        notes.contains("4 other things, ema.a, ema.b, ema.c and 1 more"),
        "{notes}"
    );

    // By the names that the file has.
    let prefixed = with(&["ema.a", "teacher.emb.weight"]).into_iter();
    let prefixed = prefixed.map(|(name, tensor)| (format!("model.{name}"), tensor));
    write_pth(&dir.path("m.pth"), prefixed.collect());
    let notes = open(&dir.path("m.pth"))
        .notes()
        .collect::<Vec<_>>()
        .join("\n");
    assert!(
        notes.contains("holds model.ema.a, model.teacher.emb.weight, of"),
        "{notes}"
    );

    // Beside a dictionary that wraps it: a trainer's counters and its optimiser.
    let text = |text: &str| Value::Str(text.into());
    let adam = dictionary(vec![("exp_avg".into(), with(&[])[0].1.clone())]);
    let trainer = |wrapped: Tensors| {
        Value::Dict(vec![
            (text("epoch"), Value::Int(3)),
            (text("optimizer"), adam.clone()),
            (text("state_dict"), dictionary(wrapped)),
        ])
    };
    pth::write(&dir.path("m.pth"), &trainer(with(&[]))).unwrap();
    let (loss, said) = trained(&dir, &dir.path("m.pth"), &["--init=zeros"]);
    assert!((loss - LOSS).abs() < 1e-6, "{loss}");
    assert!(
        said.contains("also holds optimizer, epoch, of which nothing is used"),
        "{said}"
    );
    // Or in the dictionary itself.
    let mut flat = dictionary(with(&[]));
    if let Value::Dict(pairs) = &mut flat {
        pairs.extend([
            (text("epoch"), Value::Int(3)),
            (text("config"), Value::Dict(Vec::new())),
        ]);
    }
    pth::write(&dir.path("m.pth"), &flat).unwrap();
    let (loss, said) = trained(&dir, &dir.path("m.pth"), &["--init=zeros"]);
    assert!((loss - LOSS).abs() < 1e-6, "{loss}");
    assert!(
        said.contains("also holds epoch, config, of which"),
        "{said}"
    );
    // A trainer's counters may be tensors themselves.
    let mut counted = trainer(with(&[]));
    if let Value::Dict(pairs) = &mut counted {
        let loss = Value::Tensor(with(&[])[0].1.clone());
        pairs.insert(0, (text("loss"), loss));
    }
    pth::write(&dir.path("m.pth"), &counted).unwrap();
    let notes: Vec<String> = open(&dir.path("m.pth")).notes().collect();
    let told = "also holds optimizer, loss, epoch, of which nothing is used";
    assert!(notes.join("\n").contains(told), "{notes:?}");
    let nested = Value::Dict(vec![(text("checkpoint"), trainer(with(&[])))]);
    pth::write(&dir.path("m.pth"), &nested).unwrap();
    let error = match Rwkv::open(&dir.path("m.pth"), ProductType::F32) {
        Ok(_) => panic!("one level is taken off"),
        Err(error) => format!("{error:#}"),
    };
    let is_true =
        error.contains("is the model nested inside it?") && !error.contains("rwkv package");
    assert!(is_true, "{error}");
    let two = Value::Dict(vec![
        (text("model"), dictionary(with(&[]))),
        (text("ema"), dictionary(with(&[]))),
    ]);
    pth::write(&dir.path("m.pth"), &two).unwrap();
    refused(
        &dir.path("m.pth"),
        &["several dictionaries of tensors, model, ema"],
    );
    // What the rwkv package converts is transposed and rescaled.
    let mut converted = dictionary(with(&[]));
    if let Value::Dict(pairs) = &mut converted {
        pairs.push((text("_strategy"), text("cpu fp32")));
    }
    pth::write(&dir.path("m.pth"), &converted).unwrap();
    refused(&dir.path("m.pth"), &["_strategy", "rwkv package"]);
}

#[test]
fn a_tensor_of_another_type_is_named_with_its_type() {
    let dir = Dir::new();
    for (dtype, word) in [
        (Dtype::F8_E4M3, "F8_E4M3"),
        (Dtype::I8, "I8"),
        (Dtype::F64, "F64"),
    ] {
        let mut tensors = tensors("model_5.2.pth");
        let name = "blocks.0.att.key.weight";
        let found = tensors.iter_mut().find(|(found, _)| found == name);
        let (_, tensor) = found.unwrap();
        let count: usize = tensor.shape.iter().product();
        (tensor.dtype, tensor.bytes) = (dtype, vec![0; count * dtype.bitsize() / 8].into());
        write_safetensors(&dir.path("m.st"), tensors);
        refused(&dir.path("m.st"), &[name, word]);
    }
}

#[test]
fn a_vocabulary_that_is_not_worlds_is_told() {
    let dir = Dir::new();
    for (size, is_told) in [
        (50_277, true),
        (65_528, true),
        (65_529, false),
        (65_536, false),
    ] {
        let mut tensors = tensors("model_5.2.pth");
        for (name, tensor) in &mut tensors {
            if ["emb.weight", "head.weight"].contains(&name.as_str()) {
                tensor.shape[0] = size;
                let mut bytes = tensor.bytes.to_vec();
                bytes.resize(size * tensor.shape[1] * 2, 0);
                tensor.bytes = bytes.into();
            }
        }
        write_safetensors(&dir.path("m.st"), tensors);
        let notes = open(&dir.path("m.st"))
            .notes()
            .collect::<Vec<_>>()
            .join("\n");
        let told = notes.contains(&format!("has {size} tokens")) && notes.contains("65529");
        assert_eq!(told, is_told, "{notes}");
    }
    // `convert` tells it, too.
    write_pth(&dir.path("state.pth"), time_states(2, 2, 32));
    let model = golden("model_5.2.pth").display().to_string();
    let run = std::process::Command::new(env!("CARGO_BIN_EXE_state-tune"))
        .current_dir(dir.path(""))
        .args(["convert", "state.pth", "o", "--to=state", "--model", &model])
        .output();
    let said = String::from_utf8(run.unwrap().stdout).unwrap();
    assert!(
        said.contains("note   the model's vocabulary has 160 tokens"),
        "{said}"
    );
}
