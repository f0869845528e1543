//! The same model by other names: the hub's, web-rwkv's, wrappers'.

use state_tune::model::is_same_model;

use super::*;

/// As `RWKV/rwkv-5-world-*` on the hub has it.
fn transformers(name: &str) -> String {
    let name = name
        .replace("emb.weight", "embeddings.weight")
        .replace(".ln0.", ".pre_ln.")
        .replace(".att.", ".attention.")
        .replace(".ffn.", ".feed_forward.")
        .replace("time_mix_k", "time_mix_key")
        .replace("time_mix_v", "time_mix_value")
        .replace("time_mix_r", "time_mix_receptance")
        .replace("time_mix_g", "time_mix_gate");
    match name.starts_with("head.") {
        true => name,
        false => format!("rwkv.{name}"),
    }
}

/// As flash-linear-attention's `convert_from_rwkv7.py` makes it; the first layer's unused v is left
/// out.
fn fla((name, tensor): (String, Stored)) -> Option<(String, Stored)> {
    let outside = match name.as_str() {
        "emb.weight" => Some("model.embeddings.weight"),
        "head.weight" => Some("lm_head.weight"),
        "ln_out.weight" => Some("model.norm.weight"),
        "ln_out.bias" => Some("model.norm.bias"),
        "blocks.0.att.v0" | "blocks.0.att.v1" | "blocks.0.att.v2" => return None,
        _ => None,
    };
    if let Some(outside) = outside {
        return Some((outside.to_string(), tensor));
    }
    let words: Vec<&str> = name.splitn(4, '.').collect();
    let part = match words[2] {
        "att" => "attn",
        "ln0" => "pre_norm",
        "ln1" => "attn_norm",
        "ln2" => "ffn_norm",
        part => part,
    };
    let rest = words[3];
    let low_rank = rest.len() == 2 && rest.ends_with(|c: char| c.is_ascii_digit());
    let (rest, tensor) = match (part, rest) {
        ("attn", rest) if low_rank => {
            let (letter, number) = rest.split_at(1);
            let (end, tensor) = match number {
                "0" => ("2.bias", tensor),
                "1" => ("0.weight", transposed(&tensor)),
                _ => ("2.weight", transposed(&tensor)),
            };
            (format!("{letter}_lora.lora.{end}"), tensor)
        }
        ("attn", rest) => {
            let rest = rest
                .replace("receptance", "r_proj")
                .replace("key", "k_proj")
                .replace("value", "v_proj")
                .replace("ln_x", "g_norm")
                .replace("output", "o_proj");
            (rest, tensor)
        }
        (_, rest) => (rest.to_string(), tensor),
    };
    let mut tensor = tensor;
    tensor.shape.retain(|&length| length > 1); // [1, 1, C] is squeezed
    Some((format!("model.layers.{}.{part}.{rest}", words[1]), tensor))
}

/// With the mixes of each layer as the rows of one `x_x`, in the order in which the library's
/// `forward` takes them apart: xr, xw, xk, xv, xa, xg.
fn mixes_together(tensors: Tensors) -> Tensors {
    let (mixes, mut others): (Tensors, Tensors) = tensors
        .into_iter()
        .partition(|(name, _)| name.contains(".attn.x_"));
    let layers = mixes
        .iter()
        .filter_map(|(name, _)| name.strip_suffix("x_r"));
    for layer in layers {
        let row = |letter: &str| {
            let name = format!("{layer}x_{letter}");
            let mut mixes = mixes.iter();
            mixes.find(|(found, _)| *found == name).unwrap().1.clone()
        };
        let rows = ["r", "w", "k", "v", "a", "g"].map(row);
        let bytes: Vec<u8> = rows.iter().flat_map(|row| row.bytes.to_vec()).collect();
        let together = Stored {
            dtype: rows[0].dtype,
            shape: vec![6, rows[0].shape[0]],
            bytes: bytes.into(),
        };
        others.push((format!("{layer}x_x"), together));
    }
    others
}

/// As the newer `convert_safetensors.py` of Ai00 makes it: all that it does to RWKV-5 and 7.
fn web_rwkv((name, tensor): (String, Stored), n_embd: usize) -> (String, Stored) {
    const TRANSPOSED: [&str; 9] = ["w1", "w2", "a1", "a2", "g1", "g2", "v1", "v2", "time_state"];
    let mut tensor = half(&tensor);
    let is_per_head = name.contains("time_decay") || name.contains("time_faaaa");
    if is_per_head && tensor.shape.len() == 1 {
        let numbers = Element::F16.decode(&tensor.bytes);
        let size = n_embd / numbers.len();
        let wide: Vec<f32> = numbers
            .iter()
            .flat_map(|&x| std::iter::repeat_n(x, size))
            .collect();
        tensor = Stored::new(Element::F16, vec![numbers.len(), size], &wide);
    }
    if TRANSPOSED.iter().any(|end| name.ends_with(end)) {
        tensor = transposed(&tensor);
    }
    (
        name.replace("time_faaaa", "time_first").to_lowercase(),
        tensor,
    )
}

#[test]
fn the_hubs_models_are_those_that_they_were_made_from() {
    let dir = Dir::new();
    let five = tensors("model_5.2.pth").into_iter();
    let five: Tensors = five
        .map(|(name, tensor)| (transformers(&name), tensor))
        .collect();
    write_safetensors(&dir.path("five.safetensors"), five.clone());
    write_pth(&dir.path("five.bin"), five);
    for file in ["five.safetensors", "five.bin"] {
        is_the_same(&dir.path(file), &golden("model_5.2.pth"));
        let (loss, _) = trained(&dir, &dir.path(file), &["--init=zeros"]);
        assert!((loss - LOSS).abs() < 1e-6, "{file}: {loss}");
    }
    let seven: Tensors = tensors("model_7.pth").into_iter().filter_map(fla).collect();
    assert!(
        seven
            .iter()
            .any(|(name, _)| name == "model.layers.1.attn.v_lora.lora.0.weight")
    );
    write_safetensors(&dir.path("seven.safetensors"), seven.clone());
    is_the_same(&dir.path("seven.safetensors"), &golden("model_7.pth"));
    // Until the spring of 2025 the six mixes of a layer were one tensor.
    let old = mixes_together(seven);
    assert!(
        old.iter()
            .any(|(name, _)| name == "model.layers.1.attn.x_x")
    );
    write_safetensors(&dir.path("old.safetensors"), old);
    is_the_same(&dir.path("old.safetensors"), &golden("model_7.pth"));
}

#[test]
fn what_web_rwkvs_converter_does_is_undone() {
    let dir = Dir::new();
    for version in ["5.1", "5.2", "7"] {
        let own = tensors(&format!("model_{version}.pth"));
        let n_embd = own[0].1.shape[1];
        let control = own
            .iter()
            .map(|(name, tensor)| (name.clone(), half(tensor)));
        write_safetensors(&dir.path("control.st"), control.collect());
        let converted: Tensors = own.into_iter().map(|pair| web_rwkv(pair, n_embd)).collect();
        let names: Vec<&str> = converted.iter().map(|(name, _)| name.as_str()).collect();
        assert!(!names.contains(&"blocks.0.att.time_faaaa"));
        write_safetensors(&dir.path("model.st"), converted);
        is_the_same(&dir.path("model.st"), &dir.path("control.st"));
        if version == "5.2" {
            let (loss, _) = trained(&dir, &dir.path("model.st"), &["--init=zeros"]);
            assert!((loss - LOSS).abs() < 1e-6, "{loss}");
        }
    }
}

/// The converter leaves 5.0's numbers a head, and older ones 5.1's too: nothing tells a logarithm
/// from what was renamed.
#[test]
fn a_first_that_may_be_renamed_or_not_is_refused_by_the_converters_name() {
    let dir = Dir::new();
    for version in ["5.0", "5.1"] {
        let own = tensors(&format!("model_{version}.pth")).into_iter();
        let converted =
            own.map(|(name, tensor)| (name.replace("time_faaaa", "time_first"), half(&tensor)));
        write_safetensors(&dir.path("model.st"), converted.collect());
        let words = [
            "model.st",
            "blocks.0.att.time_first",
            "convert_safetensors",
            ".pth",
        ];
        refused(&dir.path("model.st"), &words);
    }
    // The same of bf16 is no converter's.
    write_safetensors(&dir.path("own.safetensors"), tensors("model_5.0.pth"));
    is_the_same(&dir.path("own.safetensors"), &golden("model_5.0.pth"));
    // But a gated model never had that name: such a file was converted, and saved again.
    let own = tensors("model_5.1.pth").into_iter();
    let renamed = own.map(|(name, tensor)| (name.replace("time_faaaa", "time_first"), tensor));
    let renamed: Tensors = renamed.collect();
    write_safetensors(&dir.path("again.safetensors"), renamed.clone());
    write_pth(&dir.path("again.pth"), renamed);
    for file in ["again.safetensors", "again.pth"] {
        let words = ["blocks.0.att.time_first", "convert_safetensors", "trainer"];
        refused(&dir.path(file), &words);
    }
}

/// A file that the converter itself wrote, by another's hand, and the same model without: what this
/// project understands of the converter does not stand between them.
#[test]
fn a_file_that_the_converter_wrote_is_the_model_that_it_was_made_from() {
    let dir = Dir::new();
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/web_rwkv.st");
    let own = tensors("model_5.2.pth").into_iter();
    let control = own.map(|(name, tensor)| (name, half(&tensor)));
    write_safetensors(&dir.path("control.st"), control.collect());
    is_the_same(&model, &dir.path("control.st"));
    let (loss, _) = trained(&dir, &model, &["--init=zeros"]);
    assert!((loss - LOSS).abs() < 1e-6, "{loss}");
}

#[test]
fn a_bonus_and_its_logarithm_make_two_models() {
    let dir = Dir::new();
    let own = tensors("model_5.0.pth").into_iter();
    let renamed = own.map(|(name, tensor)| (name.replace("time_first", "time_faaaa"), tensor));
    write_pth(&dir.path("other.pth"), renamed.collect());
    let (own, other) = (open(&golden("model_5.0.pth")), open(&dir.path("other.pth")));
    assert!(logits(&own) != logits(&other));
    assert_ne!(own.fingerprint(), other.fingerprint());
}

/// As earlier versions wrote them into the tags of states, which had nothing of the matrices.
#[test]
fn ordinary_models_are_known_by_the_fingerprints_that_they_had() {
    for (file, fingerprint) in [
        ("model_5.0.pth", "77aa3d152fb312ce"),
        ("model_5.1.pth", "2b16523e977b88a8"),
        ("model_5.2.pth", "b18df04f82b5cf5c"),
        ("model_7.pth", "rwkv7-88570bc11a13ce76"),
    ] {
        let found = open(&golden(file)).fingerprint().to_string();
        let start = format!("{fingerprint}+matrices-");
        assert!(found.starts_with(&start), "{file}: {found}");
        assert!(is_same_model(fingerprint, &found), "{file}");
        assert!(!is_same_model(&format!("{start}f00d"), &found), "{file}");
    }
}

/// Older releases of RWKV-7 have tensors in the first layer that nothing is computed with.
#[test]
fn tensors_that_nothing_uses_make_no_other_model() {
    let found = ["model_7.pth", "model_7_f16.safetensors"].map(|file| open(&golden(file)));
    assert_eq!(found[0].fingerprint(), found[1].fingerprint());
}

#[test]
fn another_tensor_makes_another_model() {
    let dir = Dir::new();
    for (version, names) in [
        ("5.2", ["emb.weight", "blocks.1.att.gate.weight"]),
        (
            "5.2",
            ["blocks.0.att.time_mix_k", "blocks.1.ffn.time_mix_k"],
        ),
        ("5.2", ["blocks.1.att.time_faaaa", "blocks.0.att.ln_x.bias"]),
        ("5.2", ["blocks.0.ln0.weight", "ln_out.weight"]),
        ("5.0", ["blocks.1.att.time_first", "blocks.1.ln2.bias"]),
        ("7", ["head.weight", "blocks.1.ffn.value.weight"]),
        ("7", ["blocks.0.att.w1", "blocks.1.att.g2"]),
        ("7", ["blocks.0.att.x_k", "blocks.1.ffn.x_k"]),
        ("7", ["blocks.0.att.k_k", "blocks.1.att.k_a"]),
        ("7", ["blocks.0.att.a0", "blocks.1.att.v0"]),
    ] {
        let file = format!("model_{version}.pth");
        let own = open(&golden(&file)).fingerprint().to_string();
        for name in names {
            let mut changed = tensors(&file);
            let (_, tensor) = changed.iter_mut().find(|(of, _)| of == name).unwrap();
            let element = Element::of(tensor.dtype).unwrap();
            let numbers = element.decode(&tensor.bytes);
            let numbers: Vec<f32> = numbers.iter().map(|number| number * 1.5).collect();
            tensor.bytes = element.encode(&numbers).into();
            write_pth(&dir.path("other.pth"), changed);
            let other = open(&dir.path("other.pth")).fingerprint().to_string();
            assert!(!is_same_model(&own, &other), "{version}: {name}");
        }
    }
}

#[test]
fn prefixes_and_wrappings_are_taken_off() {
    let dir = Dir::new();
    for version in ["5.2", "7"] {
        let own = golden(&format!("model_{version}.pth"));
        let prefixed = |prefix: &str| -> Tensors {
            let tensors = tensors(&format!("model_{version}.pth")).into_iter();
            tensors
                .map(|(name, tensor)| (format!("{prefix}{name}"), tensor))
                .collect()
        };
        for prefix in ["module.", "_forward_module.", "_orig_mod.", "model.rwkv."] {
            write_pth(&dir.path("m.pth"), prefixed(prefix));
            is_the_same(&dir.path("m.pth"), &own);
            write_safetensors(&dir.path("m.st"), prefixed(prefix));
            is_the_same(&dir.path("m.st"), &own);
            for key in ["state_dict", "model", "module"] {
                let wrapped =
                    Value::Dict(vec![(Value::Str(key.into()), dictionary(prefixed(prefix)))]);
                pth::write(&dir.path("w.pth"), &wrapped).unwrap();
                is_the_same(&dir.path("w.pth"), &own);
            }
        }
    }
}

#[test]
fn a_copy_with_a_state_has_rwkvs_own_names() {
    let dir = Dir::new();
    let five = tensors("model_5.2.pth").into_iter();
    let five = five.map(|(name, tensor)| (transformers(&name), tensor));
    write_safetensors(&dir.path("five.safetensors"), five.collect());
    let (_, _) = trained(&dir, &dir.path("five.safetensors"), &[]);
    let run = std::process::Command::new(env!("CARGO_BIN_EXE_state-tune"))
        .current_dir(dir.path(""))
        .args([
            "convert",
            "state.pth",
            "merged.pth",
            "--to=model",
            "--model=five.safetensors",
        ])
        .output()
        .unwrap();
    assert!(run.status.success(), "{run:?}");
    let Value::Dict(pairs) = pth::read(&dir.path("merged.pth")).unwrap() else {
        panic!("a model is a dictionary")
    };
    let has = |name: &str| pairs.iter().any(|(key, _)| *key == Value::Str(name.into()));
    assert!(has("emb.weight") && has("blocks.1.att.time_faaaa") && has("blocks.1.att.time_state"));
}
